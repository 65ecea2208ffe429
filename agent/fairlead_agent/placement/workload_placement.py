"""The placement of one workload: what its steward does until every replica is where it should be, and after."""

from __future__ import annotations

from collections.abc import Sequence

from fairlead_agent.messages import (
    Accept,
    Bid,
    Cancel,
    Grant,
    GrantDenied,
    LeaseState,
    PlacementRecord,
    Refuse,
    Workload,
)
from fairlead_agent.messages.signing import DesiredWorkload
from fairlead_agent.placement.batch import Batch
from fairlead_agent.placement.effects import Effect, Record, Send
from fairlead_agent.placement.holders import Holders
from fairlead_agent.placement.pursuit import Phase, Pursuit
from fairlead_agent.placement.pursuits import Pursuits
from fairlead_agent.placement.review import ReviewPolicy
from fairlead_agent.placement.rounds import Rounds
from fairlead_agent.placement.slot import LeaseView, Slot
from fairlead_agent.placement.status_line import slot_placement
from fairlead_agent.placement.workload_state import WorkloadState, digest_of
from fairlead_agent.placement.world import World


class WorkloadPlacement:
    """A state machine that is driven by its state, not by events: messages are noted, :meth:`step` does what is due.

    Lost, late and repeated messages therefore cost time and nothing else.
    """

    def __init__(self, desired: DesiredWorkload, world: World, now: float) -> None:
        self.finished = False
        self.asked_at = now
        """Lease states that were asked for earlier say nothing: they may be older than this stewardship."""
        self._world = world
        self._state = WorkloadState(desired, world, now)
        self._review = ReviewPolicy(world.settings)
        self._holders = Holders(self._state, self._review)
        self._pursuits = Pursuits(self._state)
        self._rounds = Rounds(self._state, self._pursuits, self._review, self._step_slot)
        self._known = False
        self._states_asked_at = -1.0
        self._published: PlacementRecord | None = None
        self._seq = world.next_seq(desired.name)

    # What is heard

    @property
    def name(self) -> str:
        """Name of the workload."""
        return self._state.desired.name

    @property
    def workload(self) -> Workload:
        """What is asked for; of a deleted workload, nothing."""
        return self._state.workload

    @property
    def record(self) -> PlacementRecord | None:
        """What was last recorded."""
        return self._published

    @property
    def negotiating(self) -> bool:
        """True while a round is open."""
        return self._rounds.is_open

    @property
    def wants_states(self) -> bool:
        """True where the authority is to be asked soon how the leases stand."""
        return self._state.wants_states

    def holds_on(self, node: str) -> bool:
        """True where a node serves one of its replicas, or is to."""
        slots = self._state.slots.values()
        return any(node in (s.lease.node if s.lease else None, s.pursuit.node if s.pursuit else None) for s in slots)

    def change(self, desired: DesiredWorkload, now: float) -> None:
        """A new generation."""
        state = self._state
        if state.digest != digest_of(desired):
            state.excluded.clear()
        if self.finished:
            self._known, state.wants_states, self.asked_at = False, True, now
        state.take(desired)
        self.finished = False
        state.trigger = f"generation {desired.generation}"
        self._rounds.abandon()
        self._review.trigger(state.trigger, now)
        self.retry_soon(now)
        for slot in state.slots.values():
            slot.retries = 0

    def retry_soon(self, now: float) -> None:
        """Something has changed that may make room: waiting slots try again soon."""
        for slot in self._state.slots.values():
            slot.not_before = min(slot.not_before, now + self._state.settings.debounce_s / 4)
        self._state.at(now)

    def review(self, reason: str, now: float, *, urgent: bool = False) -> None:
        """Something has changed that may make a better place; ``urgent``: by so much that it does not wait its turn."""
        self._review.trigger(reason, now, urgent=urgent)
        self.retry_soon(now)

    def lease_states(self, states: Sequence[LeaseState], asked_at: float, now: float) -> None:
        """The authority's rows of this workload, as of a query sent at ``asked_at``."""
        if asked_at < self.asked_at or asked_at <= self._states_asked_at:
            return
        self._states_asked_at = asked_at
        self._state.wants_states = False
        for row in states:
            slot = self._state.slot(row.key)
            if row.epoch >= slot.epoch:
                self._holders.see(slot, LeaseView.of(row, asked_at, now, slot.lease), now)
        self._known = True

    def bid(self, bid: Bid, now: float) -> None:
        """A bid came."""
        self._rounds.bid(bid, now)

    def accept(self, source: str, accept: Accept, now: float) -> list[Effect]:
        """A node stands by its bid; one that was not asked to is told so, to stop preparing."""
        pursuit = self._pursuits.of(accept.key, accept.negotiation)
        if pursuit is not None and pursuit.node == accept.node:
            pursuit.accepted(accept.incarnation, now)
            return []
        slot = self._state.slots.get(accept.key.replica)
        serves = slot is not None and slot.lease is not None and slot.lease.node == accept.node
        if slot is None or not self._known or serves:
            return []
        reason = "the award is void"
        cancel = Cancel(negotiation=accept.negotiation, key=accept.key, node=accept.node, reason=reason)
        return [Send(source, cancel)]

    def refuse(self, refuse: Refuse, now: float) -> list[Effect]:
        """A node takes its bid back."""
        pursuit = self._pursuits.of(refuse.key, refuse.negotiation)
        if pursuit is None or pursuit.node != refuse.node:
            return []
        slot = self._state.slots[refuse.key.replica]
        said = f"{pursuit.offer.name} refused: {refuse.reason}"
        return self._pursuits.give_up(slot, pursuit, refuse.reason, said, now)

    def grant(self, grant: Grant, now: float) -> None:
        """The authority issued an epoch."""
        slot, pursuit = self._asked(grant)
        if slot is None or pursuit is None or grant.epoch <= slot.epoch:
            return
        row = LeaseState(
            key=grant.key,
            epoch=grant.epoch,
            node=grant.node,
            incarnation=grant.incarnation,
            generation=pursuit.generation,
            remaining_s=self._state.settings.hold_s(grant.ttl_s),
            renewed_ago_s=0.0,
        )
        pursuit.granted(grant.epoch, now)
        slot.lease = LeaseView.of(row, now, now, None)
        slot.variant, slot.digest, slot.call_back = pursuit.variant, pursuit.digest, ""
        slot.placed_at = now

    def denied(self, denied: GrantDenied, now: float) -> None:
        """The authority issued none: wait as long as it says, or look at what has changed."""
        slot, pursuit = self._asked(denied)
        if slot is None or pursuit is None:
            return
        poll_s = self._state.settings.release_poll_s
        if denied.retry_after_s is None:
            self._state.wants_states = True
            pursuit.wait(now + poll_s)
        elif slot.call_back:
            pursuit.wait(now + min(denied.retry_after_s, poll_s))
        else:
            pursuit.wait(now + denied.retry_after_s)

    def _asked(self, answer: Grant | GrantDenied) -> tuple[Slot | None, Pursuit | None]:
        """The slot and the pursuit that asked for what the authority answers."""
        slot = self._state.slots.get(answer.key.replica)
        pursuit = slot.pursuit if slot is not None else None
        asked = pursuit is not None and pursuit.request_id == answer.request_id
        return slot, pursuit if asked else None

    # What is done

    def step(self, now: float) -> list[Effect]:
        """Do everything that is due; may be called at any time."""
        state = self._state
        state.wakeup = None
        if self.finished or not self._known:
            return []
        effects: list[Effect] = []
        for slot in state.ensure_slots():
            effects += self._step_slot(slot, now)
        effects += self._rounds.step(now)
        if state.desired.deleted and not state.slots:
            self.finished = True
        return effects + self._publish(now)

    def next_wakeup(self) -> float | None:
        """When :meth:`step` has something to do next."""
        return self._state.wakeup

    def drop(self) -> list[Effect]:
        """Another node is the steward now: release the reservations; all else lapses or is taken over."""
        effects = self._rounds.free_bidders()
        for slot in self._state.slots.values():
            if slot.pursuit is not None and slot.pursuit.phase is not Phase.CONFIRMING:
                effects.append(slot.pursuit.withdraw("another node is the steward now"))
        return effects

    def wants_round(self, now: float) -> bool:
        """True where a call should be announced now."""
        return self._known and not self.finished and self._rounds.wanted(now)

    def open_round(self, batch: Batch, now: float) -> list[Effect]:
        """Announce a call for everything that is wanted now, as one of a batch."""
        if not self.wants_round(now):
            return []
        return [*self._rounds.open(batch, now), *self._publish(now)]

    def _step_slot(self, slot: Slot, now: float) -> list[Effect]:
        if slot.key.replica >= self._state.workload.replicas:
            return self._holders.retire(slot, now)
        effects = self._pursuits.confirm(slot)
        self._holders.judge(slot, now)
        if slot.pursuit is not None:
            effects += self._pursuits.step(slot, slot.pursuit, now)
        effects += self._holders.call_back(slot, now)
        if slot.not_before > now:
            self._state.at(slot.not_before)
        return effects

    def _publish(self, now: float) -> list[Effect]:
        state, calling = self._state, self._rounds.calling
        record = PlacementRecord(
            workload=self.name,
            generation=state.desired.generation,
            steward=self._world.node,
            steward_rank=self._world.rank,
            negotiation=state.negotiation,
            trigger=state.trigger[:2000],
            seq=self._seq,
            deleted=state.desired.deleted,
            slots=tuple(slot_placement(s, s.key.replica in calling, state.refusal) for s in state.sorted_slots()),
            bids=state.outcomes,
        )
        if self._published is not None and record == self._published.model_copy(update={"seq": self._seq}):
            return []
        self._seq += 1
        self._published = record
        return [Record(record, max(0.0, now - state.decided_at))]
