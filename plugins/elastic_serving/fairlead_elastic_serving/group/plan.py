"""What a group is told to become, and what each instance says of itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any

from ..errors import ElasticServingError
from ..planning.drop_plan import Group, Stage
from ..planning.overload import Demand


class PlanRefused(ElasticServingError):
    """A plan that is stale, of somebody who does not decide, or makes no sense."""


class Phase(Enum):
    """Where an instance is: solo, dropping, grouped, restoring, solo again; or recovering from a fault."""

    SOLO = "solo"
    DROPPING = "dropping"
    GROUPED = "grouped"
    RESTORING = "restoring"
    RECOVERING = "recovering"


class Kind(Enum):
    """What a plan does."""

    DROP = "drop"
    RESTORE = "restore"


@dataclass(frozen=True, slots=True)
class Plan:
    """All of the groups that result from it; instances in none of them are not touched.

    Attributes:
        epoch: above that of every plan before.
        kind: of the plan.
        groups: what forms, each with one full copy of the layers.
    """

    epoch: int
    kind: Kind
    groups: tuple[Group, ...]

    @property
    def members(self) -> tuple[str, ...]:
        """All instances that it touches."""
        return tuple(stage.instance for group in self.groups for stage in group)

    def group_of(self, instance: str) -> Group:
        """Return the group of an instance; raises PlanRefused if it is in none."""
        for group in self.groups:
            if any(stage.instance == instance for stage in group):
                return group
        raise PlanRefused(f"plan {self.epoch}: {instance!r} is in no group of it")

    def to_fields(self) -> dict[str, Any]:
        """Return it as JSON can say it."""
        groups = [[[stage.instance, stage.first, stage.end] for stage in group] for group in self.groups]
        return {"epoch": self.epoch, "kind": self.kind.value, "groups": groups}

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Plan:
        """Read it; raises PlanRefused where it is none."""
        try:
            groups = tuple(group_from(group) for group in fields["groups"])
            return cls(int(fields["epoch"]), Kind(fields["kind"]), groups)
        except (KeyError, TypeError, ValueError) as error:
            raise PlanRefused(f"plan {dict(fields)}: {error}") from error


def group_from(entries: Sequence[Sequence[Any]]) -> Group:
    """Read a group: instance, first layer and end of each stage."""
    return tuple(Stage(str(instance), int(first), int(end)) for instance, first, end in entries)


def stage_of(group: Group, instance: str) -> Stage:
    """Return an instance's stage; raises PlanRefused if it has none."""
    for stage in group:
        if stage.instance == instance:
            return stage
    raise PlanRefused(f"{instance!r} is not in {[stage.instance for stage in group]}")


@dataclass(frozen=True, slots=True)
class Report:
    """What an instance says of itself, at every poll.

    Attributes:
        phase: where it is.
        epoch: of the plan in force.
        seen: the highest epoch that it has heard of.
        group: it is in.
        settled: whether no keys and values of an exchange are under way.
        fetched: epoch of the restore plan whose layers are all here; 0: of none.
        held: pages that keys and values take here, whosever they are.
        capacity: pages for keys and values, those of dropped layers included.
        own_capacity: the same if no layer were dropped.
        queued: pages that each waiting request needs, in their order.
        coming: pages that are expected to be held beyond these when a plan that is made now is in force.
        arriving: requests a second, lately.
        alone: pages that this instance's running requests would take if it were alone.
        running: requests that run.
        running_tokens: whose keys and values are stored.
        compressible_tokens: of them, that could be compressed.
        work_s: seconds of prefill that wait.
        residence_s: how long a request holds its pages; 0: not known.
    """

    phase: Phase
    epoch: int
    seen: int
    group: Group
    settled: bool
    fetched: int
    held: int
    capacity: int
    own_capacity: int
    queued: tuple[int, ...] = ()
    coming: int = 0
    arriving: float = 0.0
    alone: int = 0
    running: int = 0
    running_tokens: int = 0
    compressible_tokens: int = 0
    work_s: float = 0.0
    residence_s: float = 0.0

    def to_fields(self) -> dict[str, Any]:
        """Return it as JSON can say it."""
        group = [[stage.instance, stage.first, stage.end] for stage in self.group]
        return asdict(self) | {"phase": self.phase.value, "group": group, "queued": list(self.queued)}

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Report:
        """Read it; raises PlanRefused where it is none."""
        try:
            known = dict(fields)
            phase, group = Phase(known.pop("phase")), group_from(known.pop("group"))
            return cls(phase=phase, group=group, queued=tuple(known.pop("queued")), **known)
        except (KeyError, TypeError, ValueError) as error:
            raise PlanRefused(f"report {dict(fields)}: {error}") from error


def demand_of(reports: Sequence[Report]) -> Demand:
    """Return what a group holds and asks for, all of its instances together."""
    held, capacity, own = (
        sum(values) for values in zip(*((r.held, r.capacity, r.own_capacity) for r in reports), strict=True)
    )
    queued = [pages for report in reports for pages in report.queued]
    coming = sum(report.coming for report in reports)
    return Demand(min(held, capacity), capacity, min(own, capacity), queued, coming)
