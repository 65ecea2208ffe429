"""The present holders of a workload's slots: how they are doing, and asking them to go."""

from __future__ import annotations

from fairlead_agent.messages import Cancel, InstanceReport
from fairlead_agent.placement.condition import broken_at, judge, unclaimed_at
from fairlead_agent.placement.effects import Effect, Send
from fairlead_agent.placement.review import ReviewPolicy
from fairlead_agent.placement.slot import Condition, LeaseView, Slot
from fairlead_agent.placement.workload_state import WorkloadState


class Holders:
    """Judges the holder of each slot, and calls back those that fail or are not wanted any more."""

    def __init__(self, state: WorkloadState, review: ReviewPolicy) -> None:
        self._state = state
        self._world = state.world
        self._review = review

    def see(self, slot: Slot, view: LeaseView, now: float) -> None:
        """The authority's row of a slot."""
        newer = slot.lease is None or view.epoch > slot.lease.epoch
        confirming = slot.pursuit is not None and slot.pursuit.epoch == view.epoch
        slot.lease = view
        if newer and not confirming:
            slot.lapse()
            slot.placed_at = now

    def judge(self, slot: Slot, now: float) -> None:
        """Say how the holder is doing, and decide whether it must go."""
        state = self._state
        self._recall(slot)
        slot.condition = judge(slot, state.workload, state.desired.generation, state.digest, self._world, now)
        self._watch(slot, now)

    def retire(self, slot: Slot, now: float) -> list[Effect]:
        """A replica that is not asked for any more: call it back, and forget it once it is free."""
        state = self._state
        effects: list[Effect] = []
        if slot.pursuit is not None:
            effects.append(slot.pursuit.withdraw("no longer wanted"))
            slot.pursuit = None
        slot.condition = judge(slot, state.workload, state.desired.generation, slot.digest, self._world, now)
        if slot.condition is Condition.EMPTY:
            del state.slots[slot.key.replica]
            return effects
        slot.call_back = "the workload was deleted" if state.desired.deleted else "scaled down"
        return effects + self.call_back(slot, now)

    def call_back(self, slot: Slot, now: float) -> list[Effect]:
        """Ask the holder to drain and release, again and again until the authority has it free."""
        state, lease = self._state, slot.lease
        if not slot.call_back or lease is None or lease.node is None or slot.condition is Condition.EMPTY:
            return []
        state.wants_states = True
        if now < slot.cancel_at:
            state.at(slot.cancel_at)
            return []
        slot.cancel_at = now + state.settings.cancel_retry_s
        state.at(slot.cancel_at)
        cancel = Cancel(
            negotiation=state.negotiation, key=slot.key, epoch=lease.epoch, node=lease.node, reason=slot.call_back
        )
        return [Send(lease.node, cancel)]

    def _recall(self, slot: Slot) -> None:
        """What an earlier steward recorded of the present holder."""
        lease = slot.lease
        if lease is None or slot.digest or lease.generation == self._state.desired.generation:
            return
        recorded = self._world.recorded(slot.key, lease.epoch)
        if recorded is not None:
            slot.variant, slot.digest = recorded.variant or slot.variant, recorded.config_digest

    def _watch(self, slot: Slot, now: float) -> None:
        lease = slot.lease
        if lease is None or lease.node is None or slot.condition is Condition.EMPTY:
            slot.call_back = ""
            return
        if slot.pursuit is not None and slot.pursuit.epoch == lease.epoch:
            return
        instance = self._world.instance(lease.node, slot.key, lease.epoch)
        if instance is not None and not slot.variant:
            slot.variant = instance.variant
        self._decide(slot, lease.node, instance, now)
        if instance is not None:
            self._state.at_if_after(broken_at(instance, lease.node, self._world), now)
        self._state.at_if_after(unclaimed_at(lease, self._world), now)
        self._state.at_if_after(lease.free_at, now)

    def _decide(self, slot: Slot, node: str, instance: InstanceReport | None, now: float) -> None:
        if slot.condition is Condition.BROKEN and instance is not None and not slot.call_back:
            slot.call_back = f"the instance failed: {instance.reason or instance.state}"
            self._state.excluded.add(node, instance.variant, instance.reason or str(instance.state), now)
        elif slot.condition is Condition.UNCLAIMED and not slot.call_back:
            slot.call_back = "the holder does not report this lease"
        elif slot.condition is Condition.HEALTHY and instance is not None:
            self._review.observe(slot.key.replica, instance, self._state.workload.objectives, now)
