"""The winners of a workload's rounds on their way to a confirmed lease, and who steps in where one gives up."""

from __future__ import annotations

from fairlead_agent.messages import Cancel, InstanceReport, InstanceState, LeaseKey
from fairlead_agent.placement.choose import RankedOffer, fits
from fairlead_agent.placement.condition import BROKEN_STATES
from fairlead_agent.placement.effects import Effect, Send
from fairlead_agent.placement.pursuit import Phase, Pursuit
from fairlead_agent.placement.round import Round
from fairlead_agent.placement.slot import UNSERVED, Condition, Slot
from fairlead_agent.placement.workload_state import WorkloadState


class Pursuits:
    """At most one pursuit a slot."""

    def __init__(self, state: WorkloadState) -> None:
        self._state = state
        self._world = state.world
        self._settings = state.settings

    def of(self, key: LeaseKey, negotiation: str) -> Pursuit | None:
        """The pursuit that an answer is about."""
        slot = self._state.slots.get(key.replica)
        pursuit = slot.pursuit if slot is not None else None
        return pursuit if pursuit is not None and pursuit.negotiation == negotiation else None

    def award(
        self, slot: Slot, offer: RankedOffer, origin: Round | Pursuit, make_before_break: bool, now: float
    ) -> None:
        """Go after a winner."""
        state = self._state
        origin.batch.take(offer.node, offer.needs)
        slot.pursuit = Pursuit(
            key=slot.key,
            negotiation=origin.negotiation,
            offer=offer,
            workload=state.workload,
            generation=state.desired.generation,
            digest=state.digest,
            ttl_s=state.workload.placement.ttl_s or self._settings.ttl_s,
            started_at=now,
            trigger=origin.trigger,
            batch=origin.batch,
            make_before_break=make_before_break,
            request_id=self._world.new_id(),
            next_at=now,
        )
        state.at(now)

    def give_up(self, slot: Slot, pursuit: Pursuit, reason: str, said: str, now: float) -> list[Effect]:
        """A winner does not take it in the end (``reason``): the next best is asked, or the slot waits (``said``)."""
        name = (pursuit.node, pursuit.variant)
        self._state.outcomes = tuple(
            o.model_copy(update={"outcome": "refused", "reason": reason[:2000]}) if (o.node, o.variant) == name else o
            for o in self._state.outcomes
        )
        return self._next_best(slot, pursuit, said, now)

    def step(self, slot: Slot, pursuit: Pursuit, now: float) -> list[Effect]:
        """Everything that is due for one winner."""
        reason = self._hopeless(slot, pursuit, now)
        if reason:
            # In this order: the next best may be the same node.
            effects: list[Effect] = [pursuit.withdraw(reason)]
            return effects + self.give_up(slot, pursuit, reason, f"{pursuit.offer.name}: {reason}", now)
        if self._recovered(slot, pursuit):
            slot.pursuit = None
            return [pursuit.withdraw("the present holder is back")]
        self._watch_standby(slot, pursuit, now)
        if self._freed(slot, pursuit):
            pursuit.wait(now)
        effects = pursuit.due(slot.epoch, self._settings, now)
        self._state.at(pursuit.wakeup())
        return effects

    def confirm(self, slot: Slot) -> list[Effect]:
        """The winner serves once it reports the epoch, or renews it."""
        pursuit, lease = slot.pursuit, slot.lease
        if pursuit is None or lease is None or pursuit.phase is not Phase.CONFIRMING or lease.epoch != pursuit.epoch:
            return []
        reported = self._world.instance(pursuit.node, slot.key, pursuit.epoch) is not None
        if not reported and not lease.renewed:
            return []
        runners_up = {offer.node for offer in slot.alternatives}
        slot.pursuit, slot.alternatives, slot.call_back = None, [], ""
        slot.retries, slot.reason = 0, self._why_won(pursuit)
        if any(other.pursuit is not None and other.alternatives for other in self._state.slots.values()):
            return []
        # Nobody will be asked to step in any more: what the runners-up keep free is for others.
        cancel = Cancel(negotiation=pursuit.negotiation, reason="the negotiation has ended")
        return [Send(node, cancel) for node in sorted(runners_up)]

    def _why_won(self, pursuit: Pursuit) -> str:
        name = (pursuit.node, pursuit.variant)
        won = (o.reason for o in self._state.outcomes if (o.node, o.variant) == name and o.outcome == "won")
        return next(won, pursuit.trigger)

    def _next_best(self, slot: Slot, before: Pursuit, said: str, now: float) -> list[Effect]:
        """Award the next best offer of the same round while its reservation stands, else call again after a while."""
        slot.pursuit = None
        before.batch.give_back(before.node, before.offer.needs)
        slots = self._state.slots.values()
        busy = {s.pursuit.node for s in slots if s.pursuit} | {s.holder for s in slots}
        busy.discard(slot.holder)
        current = before.generation == self._state.desired.generation
        while slot.alternatives and now < slot.alternatives_until:
            offer = slot.alternatives.pop(0)
            if current and self._usable(offer, busy, now) and fits(offer, before.batch.left()):
                self.award(slot, offer, before, before.make_before_break, now)
                return slot.pursuit.due(slot.epoch, self._settings, now) if slot.pursuit is not None else []
        self._state.back_off(slot, said, now)
        return []

    def _usable(self, offer: RankedOffer, busy: set[str | None], now: float) -> bool:
        excluded = (offer.node, offer.offer.variant) in self._state.excluded.now(now)
        spread = self._state.workload.constraints.spread == "node"
        return self._world.online(offer.node) and not excluded and not (spread and offer.node in busy)

    def _freed(self, slot: Slot, pursuit: Pursuit) -> bool:
        """True where, since the epoch was last asked for, something was heard that makes it worth asking again."""
        lease = slot.lease
        if pursuit.phase is not Phase.GRANTING or lease is None or lease.node is None:
            return lease is not None and lease.seen_at > pursuit.asked_at
        if slot.condition is Condition.EMPTY:
            return lease.seen_at > pursuit.asked_at
        stopped = self._world.instance(lease.node, slot.key, lease.epoch) is None
        return bool(slot.call_back) and stopped and self._world.reported_at.get(lease.node, 0.0) > pursuit.asked_at

    def _watch_standby(self, slot: Slot, pursuit: Pursuit, now: float) -> None:
        if pursuit.phase is Phase.STANDBY:
            prepared = self._world.instance(pursuit.node, slot.key, 0)
            if slot.condition in UNSERVED or (prepared is not None and _in_standby(prepared, pursuit)):
                pursuit.ready(now)
        if pursuit.phase is Phase.GRANTING and slot.condition not in UNSERVED and not slot.call_back:
            slot.call_back, slot.cancel_at = f"moves to {pursuit.offer.name}: {pursuit.trigger}", now

    def _recovered(self, slot: Slot, pursuit: Pursuit) -> bool:
        unserved = slot.condition in UNSERVED or slot.call_back or pursuit.phase is Phase.CONFIRMING
        return not unserved and not pursuit.make_before_break

    def _hopeless(self, slot: Slot, pursuit: Pursuit, now: float) -> str:
        if pursuit.unanswered(self._settings, now):
            return "no answer to the award"
        if pursuit.generation != self._state.desired.generation and pursuit.digest != self._state.digest:
            return f"generation {self._state.desired.generation} asks for something else"
        status = self._world.statuses.get(pursuit.node)
        if status is None or not status.online:
            return "the node went offline"
        if pursuit.incarnation and status.incarnation > pursuit.incarnation:
            return "the node was restarted"
        if pursuit.phase is Phase.CONFIRMING:
            lease = slot.lease
            stale = lease is None or lease.epoch != pursuit.epoch or slot.condition is Condition.EMPTY
            return "the lease ran out before the node confirmed it" if stale else ""
        return self._failed_standby(slot, pursuit, now)

    def _failed_standby(self, slot: Slot, pursuit: Pursuit, now: float) -> str:
        prepared = self._world.instance(pursuit.node, slot.key, 0)
        if prepared is not None and prepared.state in BROKEN_STATES and prepared.generation == pursuit.generation:
            reason = prepared.reason or str(prepared.state)
            self._state.excluded.add(pursuit.node, pursuit.variant, reason, now)
            return f"preparation failed: {reason}"
        timeout_at = pursuit.started_at + self._settings.standby_timeout_s
        if pursuit.phase is Phase.STANDBY:
            self._state.at(timeout_at)
            if now >= timeout_at:
                return f"not in standby after {self._settings.standby_timeout_s:g} s"
        return ""


def _in_standby(prepared: InstanceReport, pursuit: Pursuit) -> bool:
    state = prepared.state in (InstanceState.STANDBY, InstanceState.READY)
    return state and (prepared.variant, prepared.generation) == (pursuit.variant, pursuit.generation)
