"""Who decides for all: the lowest live replica. It plans on reports, prepares a plan, and commits it if all are ready.

No I/O and no clock: reports, answers and time come in, messages go out. A coordinator that dies leaves nothing behind:
whoever prepared a plan that is never committed abandons it, and the next one plans above every epoch that any report
names.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..planning.drop_plan import Group, Stage, plan_drop, plan_restore
from ..planning.overload import DROP_AT, RESTORE_AT, Watch, Wish, required
from .decision import Costs, decide
from .plan import Kind, Phase, Plan, Report, demand_of


@dataclass(frozen=True, slots=True)
class Timing:
    """Deadlines of the protocol.

    Attributes:
        poll_s: between two reports.
        rest_s: the same of an instance that serves alone and has nothing to say: no report means that it is still so.
            Below ``stale_s``.
        stale_s: age at which a report is no reason for a plan.
        prepare_s: for all members to be ready.
        fetch_s: for all layers of a restore plan to be there.
        pause_s: between a plan and the next one, unless that is to drop and nothing was abandoned.
        calm_s: for which what is held and asked for must have fitted without dropping, before layers come back.
    """

    poll_s: float = 0.1
    stale_s: float = 1.0
    prepare_s: float = 5.0
    fetch_s: float = 120.0
    pause_s: float = 1.0
    calm_s: float = 1.5
    rest_s: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.rest_s < self.stale_s:
            raise ValueError(f"rest_s {self.rest_s}: accepted: from 0 on, below stale_s {self.stale_s}")


@dataclass(frozen=True, slots=True)
class Send:
    """A message of the protocol, for one instance; whoever sends to itself receives it too."""

    to: str
    kind: str
    fields: dict


@dataclass(slots=True)
class _Pending:
    plan: Plan
    since: float
    ready: set[str]
    fetching: bool


class Coordinator:
    """Turns reports into plans. Every instance has one; that of the lowest live replica is listened to.

    Args:
        me: the instance.
        layer_bytes: of each layer.
        costs: of actions.
        timing: deadlines.
        drop_at, restore_at: see `planning.overload.Watch`.
        most_stages: of a group.
    """

    def __init__(
        self,
        me: str,
        layer_bytes: Sequence[int],
        costs: Costs,
        timing: Timing | None = None,
        *,
        drop_at: float = DROP_AT,
        restore_at: float = RESTORE_AT,
        most_stages: int | None = None,
    ) -> None:
        self.me = me
        self.timing = timing or Timing()
        self._layer_bytes = list(layer_bytes)
        self._costs = costs
        calm_polls = max(1, round(self.timing.calm_s / self.timing.poll_s))
        self._watch: Callable[[], Watch] = lambda: Watch(drop_at, restore_at, calm_polls)
        self._most_stages = most_stages
        self._reports: dict[str, tuple[float, Report]] = {}
        self._watches: dict[tuple[str, ...], Watch] = {}
        self._pending: _Pending | None = None
        self._epoch = 0
        self._quiet_until = self._grouped_until = float("-inf")
        self._compressed_at: dict[str, float] = {}
        self._heard = False

    @property
    def pending(self) -> Plan | None:
        """The plan that is being prepared."""
        return self._pending.plan if self._pending else None

    @property
    def due(self) -> bool:
        """Whether there is something to decide on: a plan that is prepared, or another instance's report."""
        return self._heard or self._pending is not None

    def reported(self, now: float, instance: str, report: Report) -> None:
        """Take an instance's report."""
        self._heard = self._heard or instance != self.me
        self._reports[instance] = (now, report)
        self._epoch = max(self._epoch, report.seen, report.epoch)

    def ready(self, now: float, instance: str, epoch: int) -> list[Send]:
        """Take note that an instance is ready for the plan of an epoch; commits it when all are."""
        pending = self._pending
        if pending is None or pending.fetching or pending.plan.epoch != epoch:
            return []
        pending.ready.add(instance)
        if not pending.ready >= set(pending.plan.members):
            return []
        self._end(now)
        return [Send(member, "commit", {"epoch": epoch}) for member in pending.plan.members]

    def refused(self, now: float, epoch: int, seen: int) -> list[Send]:
        """An instance will not take part in a plan."""
        self._epoch = max(self._epoch, seen)
        return self._abandon(now) if self._pending and self._pending.plan.epoch == epoch else []

    def tick(self, now: float, live: Sequence[str]) -> list[Send]:
        """Do what time and reports call for.

        Args:
            now: seconds.
            live: instances that can be reached, this one included.
        """
        self._heard = False
        self._reports = {name: item for name, item in self._reports.items() if name in live}
        if self._pending:
            return self._advance(now, live)
        if self.me != min(live) or now < self._quiet_until or set(self._reports) != set(live):
            return []
        if any(now - at > self.timing.stale_s for at, _ in self._reports.values()):
            return []
        return self._plan(now)

    def step_down(self, now: float) -> list[Send]:
        """Abandon what is prepared: another one decides now."""
        return self._abandon(now)

    def _advance(self, now: float, live: Sequence[str]) -> list[Send]:
        pending = self._pending
        assert pending is not None
        limit = self.timing.fetch_s if pending.fetching else self.timing.prepare_s
        lost = not set(pending.plan.members) <= set(live) or self.me != min(live)
        if lost or now - pending.since > limit:
            return self._abandon(now)
        if not pending.fetching:
            return []
        reports = [self._reports[name][1] for name in pending.plan.members if name in self._reports]
        if reports and self._wish(reports) is Wish.DROP:
            return self._abandon(now)
        if len(reports) == len(pending.plan.members) and all(r.fetched == pending.plan.epoch for r in reports):
            pending.fetching, pending.since = False, now
            return self._to_all(pending.plan, "prepare")
        return []

    def _plan(self, now: float) -> list[Send]:
        groups = self._groups()
        wishes = {group: self._wish([self._report(stage) for stage in group]) for group in groups}
        overloaded = [group for group, wish in wishes.items() if wish is Wish.DROP]
        if overloaded:
            return self._relieve(now, groups, overloaded)
        idle = [group for group, wish in wishes.items() if wish is Wish.RESTORE and self._fits_alone(group)]
        if idle and now >= self._grouped_until:
            plan = plan_restore(idle, len(self._layer_bytes), self._epoch + 1)
            return self._start(now, Plan(plan.epoch, Kind.RESTORE, plan.parts), "fetch")
        return []

    def _relieve(self, now: float, groups: list[Group], overloaded: list[Group]) -> list[Send]:
        missing = sum(required(demand_of([self._report(stage) for stage in group])) for group in overloaded)
        plan = plan_drop(
            groups,
            self._layer_bytes,
            max(1, missing * self._costs.page_bytes),
            self._epoch + 1,
            most_stages=self._most_stages,
        )
        merged = tuple(group for group in plan.groups if group not in groups)
        touched = [self._report(stage) for group in merged or tuple(overloaded) for stage in group]
        stages = max(map(len, merged), default=1)
        actions = decide(touched, stages, plan.freed_bytes, missing, self._costs)
        found: list[Send] = []
        if "compress" in actions:
            members = [stage.instance for group in merged or tuple(overloaded) for stage in group]
            found += [
                Send(name, "compress", {"epoch": self._epoch}) for name in members if self._may_compress(now, name)
            ]
        if "drop" in actions and merged:
            found += self._start(now, Plan(plan.epoch, Kind.DROP, merged), "prepare")
        return found

    def _may_compress(self, now: float, name: str) -> bool:
        """Whether an instance's last order to compress is long enough ago for its effect to be seen."""
        if now - self._compressed_at.get(name, float("-inf")) < self.timing.pause_s:
            return False
        self._compressed_at[name] = now
        return True

    def _start(self, now: float, plan: Plan, kind: str) -> list[Send]:
        self._epoch = plan.epoch
        self._pending = _Pending(plan, now, set(), kind == "fetch")
        return self._to_all(plan, kind)

    def _abandon(self, now: float) -> list[Send]:
        if self._pending is None:
            return []
        plan = self._pending.plan
        self._end(now)
        self._quiet_until = now + self.timing.pause_s
        return [Send(member, "abandon", {"epoch": plan.epoch}) for member in plan.members]

    def _end(self, now: float) -> None:
        self._pending = None
        self._watches.clear()
        # Whoever finds no room does not wait for a pause to be over.
        self._grouped_until = now + self.timing.pause_s

    def _to_all(self, plan: Plan, kind: str) -> list[Send]:
        return [Send(member, kind, plan.to_fields()) for member in plan.members]

    def _report(self, stage: Stage) -> Report:
        return self._reports[stage.instance][1]

    def _groups(self) -> list[Group]:
        """Groups whose members all say the same and stand ready for something new."""
        found = {report.group for _, report in self._reports.values()}
        return sorted(
            (group for group in found if group and all(self._stands(stage, group) for stage in group)),
            key=lambda group: group[0].instance,
        )

    def _stands(self, stage: Stage, group: Group) -> bool:
        if stage.instance not in self._reports:
            return False
        report = self._report(stage)
        first = self._report(group[0]) if group[0].instance in self._reports else report
        ready = report.phase in (Phase.SOLO, Phase.GROUPED) and report.settled
        return ready and report.group == group and (len(group) == 1 or report.epoch == first.epoch)

    def _wish(self, reports: Sequence[Report]) -> Wish:
        key = tuple(sorted(stage.instance for stage in reports[0].group))
        watch = self._watches.setdefault(key, self._watch())
        return watch.see(demand_of(reports))

    def _fits_alone(self, group: Group) -> bool:
        """Whether each member could hold what its own requests have: else some would be computed again."""
        return all(report.alone <= report.own_capacity for report in map(self._report, group))
