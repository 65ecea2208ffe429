"""The placement of one workload: what its steward does until every replica is where it should be, and after."""

from __future__ import annotations

from collections.abc import Sequence

from fairlead_agent.messages import (
    Accept,
    Bid,
    BidOutcome,
    Call,
    Cancel,
    Grant,
    GrantDenied,
    InstanceReport,
    InstanceState,
    LeaseKey,
    LeaseState,
    PlacementRecord,
    Refuse,
    Workload,
)
from fairlead_agent.messages.signing import DesiredWorkload
from fairlead_agent.placement.batch import Batch
from fairlead_agent.placement.choose import RankedOffer, Tender, choose, fits
from fairlead_agent.placement.condition import BROKEN_STATES, broken_at, judge, unclaimed_at
from fairlead_agent.placement.config_digest import config_digest
from fairlead_agent.placement.effects import Announce, Effect, Record, Send
from fairlead_agent.placement.exclusions import Exclusions
from fairlead_agent.placement.guarantee import refusal
from fairlead_agent.placement.pursuit import Phase, Pursuit
from fairlead_agent.placement.review import ReviewPolicy, stay_outcomes
from fairlead_agent.placement.round import Purpose, Round
from fairlead_agent.placement.slot import MISPLACED, UNSERVED, Condition, LeaseView, Slot
from fairlead_agent.placement.status_line import slot_placement
from fairlead_agent.placement.world import World

#: Runners-up whose reservations are kept until the winners have accepted.
RUNNERS_UP = 2


class WorkloadPlacement:
    """A state machine that is driven by its state, not by events: messages are noted, :meth:`step` does what is due.

    Lost, late and repeated messages therefore cost time and nothing else.
    """

    def __init__(self, desired: DesiredWorkload, world: World, now: float) -> None:
        self._take(desired)
        self.finished = False
        self.asked_at = now
        """Lease states that were asked for earlier say nothing: they may be older than this stewardship."""
        self.wants_states = True
        self._world = world
        self._settings = world.settings
        self._slots: dict[int, Slot] = {}
        self._round: Round | None = None
        self._known = False
        self._review = ReviewPolicy(world.settings)
        self._excluded = Exclusions(world.settings.exclusion_s)
        self._outcomes: tuple[BidOutcome, ...] = ()
        self._negotiation = ""
        self._trigger = "first seen"
        self._decided_at = now
        self._published: PlacementRecord | None = None
        self._seq = world.next_seq(desired.name)
        self._states_asked_at = -1.0
        self._wakeup: float | None = None

    # What is heard

    @property
    def name(self) -> str:
        """Name of the workload."""
        return self.desired.name

    @property
    def record(self) -> PlacementRecord | None:
        """What was last recorded."""
        return self._published

    @property
    def negotiating(self) -> bool:
        """True while a round is open."""
        return self._round is not None

    def _take(self, desired: DesiredWorkload) -> None:
        self.desired = desired
        #: What is asked for; of a deleted workload, nothing.
        self.workload = desired.workload or Workload(name=desired.name, plugin="none", replicas=0)
        self._digest = _digest(desired)
        self._refusal = refusal(self.workload.placement)

    def holds_on(self, node: str) -> bool:
        """True where a node serves one of its replicas, or is to."""
        slots = self._slots.values()
        return any(node in (s.lease.node if s.lease else None, s.pursuit.node if s.pursuit else None) for s in slots)

    def change(self, desired: DesiredWorkload, now: float) -> None:
        """A new generation."""
        if self._digest != _digest(desired):
            self._excluded.clear()
        if self.finished:
            self._known, self.wants_states, self.asked_at = False, True, now
        self._take(desired)
        self.finished = False
        self._trigger = f"generation {desired.generation}"
        self._round = None
        self._review.trigger(self._trigger, now)
        self.retry_soon(now)
        for slot in self._slots.values():
            slot.retries = 0

    def retry_soon(self, now: float) -> None:
        """Something has changed that may make room: waiting slots try again soon."""
        for slot in self._slots.values():
            slot.not_before = min(slot.not_before, now + self._settings.debounce_s / 4)
        self._at(now)

    def review(self, reason: str, now: float) -> None:
        """Something has changed that may make a better place."""
        self._review.trigger(reason, now)
        self.retry_soon(now)

    def lease_states(self, states: Sequence[LeaseState], asked_at: float, now: float) -> None:
        """The authority's rows of this workload, as of a query sent at ``asked_at``."""
        if asked_at < self.asked_at or asked_at <= self._states_asked_at:
            return
        self._states_asked_at = asked_at
        self.wants_states = False
        for state in states:
            slot = self._slot(state.key)
            if state.epoch >= slot.epoch:
                self._see(slot, LeaseView.of(state, asked_at, now, slot.lease), now)
        self._known = True

    def bid(self, bid: Bid, now: float) -> None:
        """A bid came."""
        if self._round is not None and bid.negotiation == self._round.call.negotiation:
            self._round.add(bid, now)

    def accept(self, source: str, accept: Accept, now: float) -> list[Effect]:
        """A node stands by its bid; one that was not asked to is told so, to stop preparing."""
        pursuit = self._pursuit(accept.key, accept.negotiation)
        if pursuit is not None and pursuit.node == accept.node:
            pursuit.accepted(accept.incarnation, now)
            return []
        slot = self._slots.get(accept.key.replica)
        if slot is None or not self._known or self._serves(slot, accept.node):
            return []
        reason = "the award is void"
        cancel = Cancel(negotiation=accept.negotiation, key=accept.key, node=accept.node, reason=reason)
        return [Send(source, cancel)]

    def refuse(self, refuse: Refuse, now: float) -> list[Effect]:
        """A node takes its bid back."""
        pursuit = self._pursuit(refuse.key, refuse.negotiation)
        if pursuit is None or pursuit.node != refuse.node:
            return []
        slot = self._slots[refuse.key.replica]
        self._mark(pursuit, refuse.reason)
        return self._next_best(slot, f"{pursuit.offer.name} refused: {refuse.reason}", now)

    def grant(self, grant: Grant, now: float) -> None:
        """The authority issued an epoch."""
        slot = self._slots.get(grant.key.replica)
        pursuit = slot.pursuit if slot is not None else None
        if slot is None or pursuit is None or pursuit.request_id != grant.request_id or grant.epoch <= slot.epoch:
            return
        hold_s = self._settings.hold_s(grant.ttl_s)
        state = LeaseState(
            key=grant.key,
            epoch=grant.epoch,
            node=grant.node,
            incarnation=grant.incarnation,
            generation=pursuit.generation,
            remaining_s=hold_s,
            renewed_ago_s=0.0,
        )
        pursuit.granted(grant.epoch, now)
        slot.lease = LeaseView.of(state, now, now, None)
        slot.variant, slot.digest, slot.call_back = pursuit.variant, pursuit.digest, ""
        slot.placed_at = now

    def denied(self, denied: GrantDenied, now: float) -> None:
        """The authority issued none: wait as long as it says, or look at what has changed."""
        slot = self._slots.get(denied.key.replica)
        pursuit = slot.pursuit if slot is not None else None
        if slot is None or pursuit is None or pursuit.request_id != denied.request_id:
            return
        if denied.retry_after_s is None:
            self.wants_states = True
            pursuit.wait(now + self._settings.release_poll_s)
        elif slot.call_back:
            pursuit.wait(now + min(denied.retry_after_s, self._settings.release_poll_s))
        else:
            pursuit.wait(now + denied.retry_after_s)

    # What is done

    def step(self, now: float) -> list[Effect]:
        """Do everything that is due; may be called at any time."""
        self._wakeup = None
        if self.finished or not self._known:
            return []
        effects: list[Effect] = []
        for slot in self._ensure_slots():
            effects += self._step_slot(slot, now)
        if self._round is not None:
            effects += self._step_round(self._round, now)
        if self.desired.deleted and not self._slots:
            self.finished = True
        return effects + self._publish(now)

    def next_wakeup(self) -> float | None:
        """When :meth:`step` has something to do next."""
        return self._wakeup

    def drop(self) -> list[Effect]:
        """Another node is the steward now: release the reservations; all else lapses or is taken over."""
        effects: list[Effect] = []
        if self._round is not None:
            effects = self._free_bidders(self._round, keep=set())
        for slot in self._slots.values():
            if slot.pursuit is not None and slot.pursuit.phase is not Phase.CONFIRMING:
                effects.append(slot.pursuit.withdraw("another node is the steward now"))
        return effects

    def wants_round(self, now: float) -> bool:
        """True where a call should be announced now."""
        return self._round is None and self._purpose(now) is not None

    def open_round(self, batch: Batch, now: float) -> list[Effect]:
        """Announce a call for everything that is wanted now, as one of a batch."""
        wanted = self._purpose(now)
        if wanted is None or self._round is not None:
            return []
        purpose, replicas, trigger = wanted
        if purpose is Purpose.REVIEW:
            self._review.opened(now)
        call = Call(
            negotiation=self._world.new_id(),
            steward=self._world.node,
            workload=self.workload,
            generation=self.desired.generation,
            replicas=replicas,
            deadline_s=self._settings.bid_deadline_s,
            hold_s=self._settings.bid_hold_s,
            batch=batch.id,
        )
        self._round = Round(call, purpose, trigger, now, batch)
        self._at(self._round.wakeup())
        return [Announce(call), *self._publish(now)]

    # Slots

    def _slot(self, key: LeaseKey) -> Slot:
        return self._slots.setdefault(key.replica, Slot(key))

    def _ensure_slots(self) -> list[Slot]:
        for replica in range(self.workload.replicas):
            self._slot(LeaseKey(site=self._world.site, workload=self.name, replica=replica))
        return [self._slots[replica] for replica in sorted(self._slots)]

    def _see(self, slot: Slot, view: LeaseView, now: float) -> None:
        newer = slot.lease is None or view.epoch > slot.lease.epoch
        confirming = slot.pursuit is not None and slot.pursuit.epoch == view.epoch
        slot.lease = view
        if newer and not confirming:
            slot.lapse()
            slot.placed_at = now

    def _recall(self, slot: Slot) -> None:
        """What an earlier steward recorded of the present holder."""
        lease = slot.lease
        if lease is None or slot.digest or lease.generation == self.desired.generation:
            return
        recorded = self._world.recorded(slot.key, lease.epoch)
        if recorded is not None:
            slot.variant, slot.digest = recorded.variant or slot.variant, recorded.config_digest

    def _step_slot(self, slot: Slot, now: float) -> list[Effect]:
        if slot.key.replica >= self.workload.replicas:
            return self._retire(slot, now)
        effects = self._confirm(slot, now)
        self._recall(slot)
        slot.condition = judge(slot, self.workload, self.desired.generation, self._digest, self._world, now)
        self._watch_holder(slot, now)
        if slot.pursuit is not None:
            effects += self._step_pursuit(slot, slot.pursuit, now)
        effects += self._step_call_back(slot, now)
        if slot.not_before > now:
            self._at(slot.not_before)
        return effects

    def _retire(self, slot: Slot, now: float) -> list[Effect]:
        effects: list[Effect] = []
        if slot.pursuit is not None:
            effects.append(slot.pursuit.withdraw("no longer wanted"))
            slot.pursuit = None
        slot.condition = judge(slot, self.workload, self.desired.generation, slot.digest, self._world, now)
        if slot.condition is Condition.EMPTY:
            del self._slots[slot.key.replica]
            return effects
        slot.call_back = "the workload was deleted" if self.desired.deleted else "scaled down"
        return effects + self._step_call_back(slot, now)

    def _watch_holder(self, slot: Slot, now: float) -> None:
        lease = slot.lease
        if lease is None or lease.node is None or slot.condition is Condition.EMPTY:
            slot.call_back = ""
            return
        if slot.pursuit is not None and slot.pursuit.epoch == lease.epoch:
            return
        instance = self._world.instance(lease.node, slot.key, lease.epoch)
        if instance is not None and not slot.variant:
            slot.variant = instance.variant
        if slot.condition is Condition.BROKEN and instance is not None and not slot.call_back:
            slot.call_back = f"the instance failed: {instance.reason or instance.state}"
            self._excluded.add(lease.node, instance.variant, instance.reason or str(instance.state), now)
        elif slot.condition is Condition.UNCLAIMED and not slot.call_back:
            slot.call_back = "the holder does not report this lease"
        elif slot.condition is Condition.HEALTHY and instance is not None:
            self._review.observe(slot.key.replica, instance, self.workload.objectives, now)
        if instance is not None:
            self._at_if_after(broken_at(instance, lease.node, self._world), now)
        self._at_if_after(unclaimed_at(lease, self._world), now)
        self._at_if_after(lease.free_at, now)

    def _step_call_back(self, slot: Slot, now: float) -> list[Effect]:
        """Ask the holder to drain and release, again and again until the authority has it free."""
        lease = slot.lease
        if not slot.call_back or lease is None or lease.node is None or slot.condition is Condition.EMPTY:
            return []
        self.wants_states = True
        if now < slot.cancel_at:
            self._at(slot.cancel_at)
            return []
        slot.cancel_at = now + self._settings.cancel_retry_s
        self._at(slot.cancel_at)
        cancel = Cancel(
            negotiation=self._negotiation, key=slot.key, epoch=lease.epoch, node=lease.node, reason=slot.call_back
        )
        return [Send(lease.node, cancel)]

    # Pursuits

    def _pursuit(self, key: LeaseKey, negotiation: str) -> Pursuit | None:
        slot = self._slots.get(key.replica)
        pursuit = slot.pursuit if slot is not None else None
        return pursuit if pursuit is not None and pursuit.negotiation == negotiation else None

    def _serves(self, slot: Slot, node: str) -> bool:
        return slot.lease is not None and slot.lease.node == node

    def _step_pursuit(self, slot: Slot, pursuit: Pursuit, now: float) -> list[Effect]:
        reason = self._hopeless(slot, pursuit, now)
        if reason:
            self._mark(pursuit, reason)
            return [pursuit.withdraw(reason), *self._next_best(slot, f"{pursuit.offer.name}: {reason}", now)]
        if self._recovered(slot, pursuit):
            slot.pursuit = None
            return [pursuit.withdraw("the present holder is back")]
        self._watch_standby(slot, pursuit, now)
        if self._freed(slot, pursuit):
            pursuit.wait(now)
        effects = pursuit.due(slot.epoch, self._settings, now)
        self._at(pursuit.wakeup())
        return effects

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
        if pursuit.generation != self.desired.generation and pursuit.digest != self._digest:
            return f"generation {self.desired.generation} asks for something else"
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
            self._excluded.add(pursuit.node, pursuit.variant, reason, now)
            return f"preparation failed: {reason}"
        timeout_at = pursuit.started_at + self._settings.standby_timeout_s
        if pursuit.phase is Phase.STANDBY:
            self._at(timeout_at)
            if now >= timeout_at:
                return f"not in standby after {self._settings.standby_timeout_s:g} s"
        return ""

    def _confirm(self, slot: Slot, now: float) -> list[Effect]:
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
        if any(other.pursuit is not None and other.alternatives for other in self._slots.values()):
            return []
        # Nobody will be asked to step in any more: what the runners-up keep free is for others.
        cancel = Cancel(negotiation=pursuit.negotiation, reason="the negotiation has ended")
        return [Send(node, cancel) for node in sorted(runners_up)]

    def _why_won(self, pursuit: Pursuit) -> str:
        name = (pursuit.node, pursuit.variant)
        won = (o.reason for o in self._outcomes if (o.node, o.variant) == name and o.outcome == "won")
        return next(won, pursuit.trigger)

    def _mark(self, pursuit: Pursuit, reason: str) -> None:
        """Record that a winner did not take it in the end."""
        name = (pursuit.node, pursuit.variant)
        self._outcomes = tuple(
            o.model_copy(update={"outcome": "refused", "reason": reason[:2000]}) if (o.node, o.variant) == name else o
            for o in self._outcomes
        )

    def _next_best(self, slot: Slot, reason: str, now: float) -> list[Effect]:
        """Award the next best offer of the same round while its reservation stands, else call again after a while."""
        before, slot.pursuit = slot.pursuit, None
        if before is not None:
            before.batch.give_back(before.node, before.offer.needs)
        busy = {s.pursuit.node for s in self._slots.values() if s.pursuit} | {s.holder for s in self._slots.values()}
        busy.discard(slot.holder)
        spread = self.workload.constraints.spread == "node"
        while slot.alternatives and now < slot.alternatives_until:
            offer = slot.alternatives.pop(0)
            excluded = (offer.node, offer.offer.variant) in self._excluded.now(now)
            usable = self._world.online(offer.node) and not excluded and not (spread and offer.node in busy)
            current = before is not None and before.generation == self.desired.generation
            if usable and current and before is not None and fits(offer, before.batch.left()):
                self._award(slot, offer, before, before.make_before_break, now)
                return slot.pursuit.due(slot.epoch, self._settings, now) if slot.pursuit is not None else []
        self._back_off(slot, reason, now)
        return []

    def _award(
        self, slot: Slot, offer: RankedOffer, origin: Round | Pursuit, make_before_break: bool, now: float
    ) -> None:
        origin.batch.take(offer.node, offer.needs)
        slot.pursuit = Pursuit(
            key=slot.key,
            negotiation=origin.negotiation,
            offer=offer,
            workload=self.workload,
            generation=self.desired.generation,
            digest=self._digest,
            ttl_s=self.workload.placement.ttl_s or self._settings.ttl_s,
            started_at=now,
            trigger=origin.trigger,
            batch=origin.batch,
            make_before_break=make_before_break,
            request_id=self._world.new_id(),
            next_at=now,
        )
        self._at(now)

    def _back_off(self, slot: Slot, reason: str, now: float) -> None:
        wait = self._settings.retry_min_s * 2 ** min(20, slot.retries)
        slot.retries += 1
        slot.not_before = now + min(self._settings.retry_max_s, wait)
        slot.reason = reason[:2000]
        self._at(slot.not_before)

    # Rounds

    def _purpose(self, now: float) -> tuple[Purpose, tuple[int, ...], str] | None:
        """What a call would be for, most urgent first: what nobody serves, what is misplaced, what might be better."""
        if not self._known or self.finished or self._refusal:
            return None
        active = [s for s in self._slots.values() if s.key.replica < self.workload.replicas]
        waiting = [s for s in active if s.pursuit is None and now >= s.not_before]
        unserved = tuple(s.key.replica for s in waiting if s.condition in UNSERVED)
        if unserved:
            return Purpose.FILL, unserved, self._fill_trigger(unserved)
        if any(s.pursuit is not None or s.call_back for s in active):
            return None
        misplaced = next((s for s in waiting if s.condition in MISPLACED), None)
        if misplaced is not None:
            return Purpose.REPLACE, (misplaced.key.replica,), self._replace_trigger(misplaced)
        return self._review_purpose(active, now)

    def _review_purpose(self, active: Sequence[Slot], now: float) -> tuple[Purpose, tuple[int, ...], str] | None:
        due_at = self._review.due_at()
        settled = [s for s in active if s.condition is Condition.HEALTHY and s.variant]
        if due_at is None or not settled:
            return None
        dwell_s = self._review.dwell_s(now)
        due_at = max(due_at, min(s.placed_at for s in settled) + dwell_s)
        if now < due_at:
            self._at(due_at)
            return None
        replicas = tuple(s.key.replica for s in settled if now >= s.placed_at + dwell_s)
        return Purpose.REVIEW, replicas, self._review.reason

    def _fill_trigger(self, replicas: Sequence[int]) -> str:
        slot = self._slots[replicas[0]]
        match slot.condition:
            case Condition.LOST:
                return f"{slot.holder} fell silent"
            case Condition.BROKEN | Condition.UNCLAIMED:
                return slot.call_back or str(slot.condition)
            case _:
                return f"generation {self.desired.generation}: {_listed(replicas)} not placed"

    def _replace_trigger(self, slot: Slot) -> str:
        match slot.condition:
            case Condition.OBSOLETE:
                return f"generation {self.desired.generation} serves something else"
            case Condition.DRAINING:
                return f"{slot.holder} is draining"
            case _:
                return f"the constraints rule out {slot.holder}"

    def _step_round(self, round_: Round, now: float) -> list[Effect]:
        online = set(self._world.online_nodes())
        if not round_.closed(online, now):
            effects = round_.repeat(online, now)
            self._at(round_.wakeup())
            return effects
        self._round = None
        self._negotiation, self._trigger, self._decided_at = round_.call.negotiation, round_.trigger, now
        tender = self._tender(round_, online, now)
        if round_.purpose is Purpose.REVIEW:
            return self._close_review(round_, tender, now)
        return self._close_call(round_, tender, now)

    def _tender(self, round_: Round, online: set[str], now: float) -> Tender:
        occupied: dict[str, int] = {}
        for slot in self._slots.values():
            if slot.key.replica not in round_.call.replicas:
                for node in {slot.pursuit.node if slot.pursuit else None, slot.holder} - {None}:
                    occupied[str(node)] = occupied.get(str(node), 0) + 1
        bids = [bid for node, bid in sorted(round_.bids.items()) if self._world.online(node)]
        excluded = self._excluded.now(now)
        return Tender(self.workload, bids, sorted(round_.silent(online)), occupied, excluded, round_.batch.left())

    def _close_call(self, round_: Round, tender: Tender, now: float) -> list[Effect]:
        replicas = [r for r in round_.call.replicas if r in self._slots and self._slots[r].pursuit is None]
        homes = {r: self._slots[r].holder or "" for r in replicas}
        choice = choose(tender, replicas, homes)
        self._outcomes = choice.outcomes
        chosen = {id(winner) for winner in choice.winners.values()}
        losers = [offer for offer in choice.ranked if id(offer) not in chosen]
        effects: list[Effect] = []
        for replica in replicas:
            slot, winner = self._slots[replica], choice.winners.get(replica)
            slot.alternatives = list(losers)
            slot.alternatives_until = now + self._settings.bid_hold_s / 2
            if winner is None:
                self._back_off(slot, unplaceable(choice.outcomes), now)
                continue
            mbb = round_.purpose is Purpose.REPLACE
            self._award(slot, winner, round_, mbb, now)
            effects += self._step_slot(slot, now)
        keep = {offer.node for offer in [*choice.winners.values(), *losers[:RUNNERS_UP]]}
        return effects + self._free_bidders(round_, keep)

    def _close_review(self, round_: Round, tender: Tender, now: float) -> list[Effect]:
        holders = {
            s.key.replica: (s.holder or "", s.variant)
            for s in self._slots.values()
            if s.key.replica in round_.call.replicas and s.condition is Condition.HEALTHY
        }
        choice = choose(tender, sorted(holders))
        move, best = self._review.best_move(tender, holders, now)
        if move is None:
            required = self._review.required_ratio(now)
            self._outcomes = stay_outcomes(choice.outcomes, holders, best, required)
            self._review.closed(False, now)
            return self._free_bidders(round_, keep=set())
        self._outcomes = choice.outcomes
        self._review.closed(True, now)
        slot = self._slots[move.replica]
        slot.alternatives = []
        self._award(slot, move.to, round_, True, now)
        return [*self._step_slot(slot, now), *self._free_bidders(round_, keep={move.to.node})]

    def _free_bidders(self, round_: Round, keep: set[str]) -> list[Effect]:
        cancel = Cancel(negotiation=round_.call.negotiation, reason="the negotiation has ended")
        nodes = sorted(node for node, bid in round_.bids.items() if bid.slots and node not in keep)
        return [Send(node, cancel) for node in nodes]

    # Record

    def _publish(self, now: float) -> list[Effect]:
        calling = set(self._round.call.replicas) if self._round is not None else set[int]()
        record = PlacementRecord(
            workload=self.name,
            generation=self.desired.generation,
            steward=self._world.node,
            steward_rank=self._world.rank,
            negotiation=self._negotiation,
            trigger=self._trigger[:2000],
            seq=self._seq,
            deleted=self.desired.deleted,
            slots=tuple(slot_placement(slot, slot.key.replica in calling, self._refusal) for slot in self._sorted()),
            bids=self._outcomes,
        )
        if self._published is not None and record == self._published.model_copy(update={"seq": self._seq}):
            return []
        self._seq += 1
        self._published = record
        return [Record(record, max(0.0, now - self._decided_at))]

    def _sorted(self) -> list[Slot]:
        return [self._slots[replica] for replica in sorted(self._slots)]

    def _at(self, time: float) -> None:
        self._wakeup = time if self._wakeup is None else min(self._wakeup, time)

    def _at_if_after(self, time: float, now: float) -> None:
        if now < time < float("inf"):
            self._at(time)


def unplaceable(outcomes: Sequence[BidOutcome]) -> str:
    """Why nothing could be chosen: every reason once, with who gave it."""
    if not outcomes:
        return "no node is online to bid"
    by_reason: dict[str, list[str]] = {}
    for outcome in outcomes:
        by_reason.setdefault(outcome.reason, []).append(f"{outcome.node}/{outcome.variant}".removesuffix("/-"))
    return "; ".join(f"{', '.join(names)}: {reason}" for reason, names in by_reason.items())[:2000]


def _in_standby(prepared: InstanceReport, pursuit: Pursuit) -> bool:
    state = prepared.state in (InstanceState.STANDBY, InstanceState.READY)
    return state and (prepared.variant, prepared.generation) == (pursuit.variant, pursuit.generation)


def _listed(replicas: Sequence[int]) -> str:
    if len(replicas) == 1:
        return f"replica {replicas[0]} is"
    return f"replicas {', '.join(map(str, replicas))} are"


def _digest(desired: DesiredWorkload) -> str:
    return config_digest(desired.workload) if desired.workload is not None else ""
