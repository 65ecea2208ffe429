"""One instance's side of the protocol: solo -> dropping -> grouped -> restoring -> solo, and recovering from faults.

No I/O and no clock. Messages, time, and what the instance has done come in; messages to send and things to do go out.
A plan is entered between two steps: an instance that is told to prepare sends no further microbatch, waits for those
under way, says that it is ready, and changes over when the coordinator has heard so from all.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..planning.drop_plan import Group, Stage
from .coordinator import Coordinator, Send
from .plan import Kind, Phase, Plan, PlanRefused, Report


@dataclass(frozen=True, slots=True)
class Drain:
    """Submit nothing more and finish what is under way, then call `Member.drained`."""

    epoch: int


@dataclass(frozen=True, slots=True)
class Enter:
    """Change over to a plan's group now; then serve on."""

    plan: Plan
    before: Group


@dataclass(frozen=True, slots=True)
class Resume:
    """Go on as before: a plan was abandoned. Layers that were fetched for it are given away again."""

    epoch: int


@dataclass(frozen=True, slots=True)
class Fetch:
    """Bring back the layers that the instance has in a plan, while serving; then call `Member.fetched`."""

    plan: Plan


@dataclass(frozen=True, slots=True)
class Compress:
    """Compress running requests' keys and values."""


@dataclass(frozen=True, slots=True)
class Recover:
    """The group is broken: bring back all layers and compute again what is lost, then call `Member.recovered`."""

    group: Group
    dead: tuple[str, ...]


Action = Send | Drain | Enter | Resume | Fetch | Compress | Recover


class Member:
    """The state of one instance.

    Args:
        me: its name.
        layers: of the model.
        coordinator: this instance's.
    """

    def __init__(self, me: str, layers: int, coordinator: Coordinator) -> None:
        self.me = me
        self.phase = Phase.SOLO
        self.epoch = 0
        self.seen = 0
        self.group: Group = (Stage(me, 0, layers),)
        self._layers = layers
        self._coordinator = coordinator
        self._live: tuple[str, ...] = (me,)
        self._plan: Plan | None = None
        self._since = 0.0
        self._draining = False
        self._fetched = 0
        self._reported = float("-inf")

    @property
    def leader(self) -> str:
        """Who decides: the lowest live replica."""
        return min(self._live)

    @property
    def draining(self) -> bool:
        """Whether nothing new may be submitted."""
        return self._draining

    def peers(self, now: float, names: Collection[str]) -> list[Action]:
        """Take note of who can be reached."""
        led, self._live = self.leader == self.me, tuple(sorted({self.me, *names}))
        actions: list[Action] = []
        if led and self.leader != self.me:
            actions += self._coordinator.step_down(now)
        dead = self._dead()
        if dead:
            return [*actions, *self._break(dead)]
        if self._plan is not None and not set(self._plan.members) <= set(self._live):
            actions += self._abandoned()
        return actions

    def tick(self, now: float, report: Report) -> list[Action]:
        """Report to whoever decides, and decide if that is this instance.

        Args:
            now: seconds.
            report: of the instance; phase, epoch, seen, group and fetched are filled in here.
        """
        actions: list[Action] = []
        if self.phase is Phase.DROPPING and now - self._since > 2 * self._coordinator.timing.prepare_s:
            actions += self._abandoned()
        if self.phase is Phase.RESTORING and now - self._since > 2 * self._coordinator.timing.fetch_s:
            actions += self._abandoned()
        if now - self._reported >= self._coordinator.timing.poll_s:
            self._reported = now
            full = replace(
                report,
                phase=self.phase,
                epoch=self.epoch,
                seen=self.seen,
                group=self.group,
                fetched=self._fetched,
            )
            if self.leader == self.me:
                self._coordinator.reported(now, self.me, full)
            else:
                actions.append(Send(self.leader, "report", full.to_fields()))
            actions += self._coordinator.tick(now, self._live)
        return actions

    def receive(self, now: float, sender: str, kind: str, fields: Mapping[str, Any]) -> list[Action]:
        """Take a message of the protocol; raises PlanRefused for one that makes no sense."""
        if kind == "report":
            self._coordinator.reported(now, sender, Report.from_fields(fields))
            return []
        epoch = int(fields["epoch"])
        if kind == "ready":
            return list(self._coordinator.ready(now, sender, epoch))
        if kind == "refused":
            return list(self._coordinator.refused(now, epoch, int(fields["seen"])))
        if kind == "broken":
            return self._broken(sender, epoch)
        if sender != self.leader:
            return [Send(sender, "refused", {"epoch": epoch, "seen": self.seen})]
        return self._ordered(now, sender, kind, fields)

    def drained(self) -> list[Action]:
        """Say that nothing of this instance's is under way any more."""
        if self._plan is None or not self._draining:
            return []
        return [Send(self.leader, "ready", {"epoch": self._plan.epoch})]

    def fetched(self, epoch: int) -> list[Action]:
        """Say that all layers of a restore plan are here; the next report tells the coordinator."""
        if self._plan is not None and self._plan.epoch == epoch and self.phase is Phase.RESTORING:
            self._fetched = epoch
            self._reported = float("-inf")
        return []

    def recovered(self) -> list[Action]:
        """Say that all layers are here again after a fault."""
        self.phase = Phase.SOLO
        return []

    def stale(self, epoch: int) -> bool:
        """Return whether work of an epoch is refused: it is not that of the group that this instance is in."""
        return epoch != self.epoch or self.phase in (Phase.RECOVERING,) or len(self.group) == 1

    def ahead(self, epoch: int) -> bool:
        """Return whether work of an epoch must wait: the plan is prepared here and not committed yet."""
        return self._plan is not None and self._plan.epoch == epoch

    def broke(self, now: float, epoch: int) -> list[Action]:
        """Give up the group of an epoch, as a member of it does not take part (any more)."""
        if epoch != self.epoch or len(self.group) == 1 or self.phase is Phase.RECOVERING:
            return []
        return self._break(())

    def _ordered(self, now: float, sender: str, kind: str, fields: Mapping[str, Any]) -> list[Action]:
        epoch = int(fields["epoch"])
        if kind == "compress":
            return [Compress()]
        if kind == "abandon":
            return self._abandoned() if self._plan is not None and self._plan.epoch == epoch else []
        if kind == "commit":
            return self._commit(epoch)
        if kind not in ("prepare", "fetch"):
            raise PlanRefused(f"message {kind!r}; accepted: prepare, fetch, commit, abandon, compress")
        plan = Plan.from_fields(fields)
        fetched_before = kind == "prepare" and self._plan == plan and self._fetched == epoch
        known = self.phase in (Phase.SOLO, Phase.GROUPED) and self._plan is None and epoch > self.seen
        if not (fetched_before or (known and (kind == "prepare") == (plan.kind is Kind.DROP))):
            refusal = Send(sender, "refused", {"epoch": epoch, "seen": max(self.seen, epoch)})
            self.seen = max(self.seen, epoch)
            return [refusal]
        plan.group_of(self.me)
        self.seen, self._plan, self._since = epoch, plan, now
        if kind == "fetch":
            self.phase, self._fetched = Phase.RESTORING, 0
            return [Fetch(plan)]
        self.phase = Phase.DROPPING if plan.kind is Kind.DROP else Phase.RESTORING
        self._draining = True
        return [Drain(epoch)]

    def _commit(self, epoch: int) -> list[Action]:
        plan, before = self._plan, self.group
        if plan is None or plan.epoch != epoch or not self._draining:
            return []
        self.group, self.epoch = plan.group_of(self.me), epoch
        self.phase = Phase.GROUPED if len(self.group) > 1 else Phase.SOLO
        self._forget()
        return [Enter(plan, before)]

    def _abandoned(self) -> list[Action]:
        plan = self._plan
        if plan is None:
            return []
        self._forget()
        self.phase = Phase.GROUPED if len(self.group) > 1 else Phase.SOLO
        return [Resume(plan.epoch)]

    def _forget(self) -> None:
        self._plan, self._draining, self._fetched = None, False, 0

    def _dead(self) -> tuple[str, ...]:
        if self.phase is Phase.RECOVERING:
            return ()
        return tuple(stage.instance for stage in self.group if stage.instance not in self._live)

    def _broken(self, sender: str, epoch: int) -> list[Action]:
        in_group = any(stage.instance == sender for stage in self.group)
        return self._break(()) if in_group and epoch == self.epoch and len(self.group) > 1 else []

    def _break(self, dead: tuple[str, ...]) -> list[Action]:
        if self.phase is Phase.RECOVERING:
            return []
        group, plan = self.group, self._plan
        self._forget()
        self.phase = Phase.RECOVERING
        self.group = (Stage(self.me, 0, self._layers),)
        told: Sequence[Action] = [
            Send(stage.instance, "broken", {"epoch": self.epoch})
            for stage in group
            if stage.instance not in (self.me, *dead)
        ]
        return [*told, *([Resume(plan.epoch)] if plan else []), Recover(group, dead)]
