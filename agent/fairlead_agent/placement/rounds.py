"""The calls of one workload: what for, when, and what is made of the bids."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fairlead_agent.messages import Bid, BidOutcome, Call, Cancel
from fairlead_agent.placement.batch import Batch
from fairlead_agent.placement.choose import Tender, choose
from fairlead_agent.placement.effects import Announce, Effect, Send
from fairlead_agent.placement.pursuits import Pursuits
from fairlead_agent.placement.review import ReviewPolicy, stay_outcomes
from fairlead_agent.placement.round import Purpose, Round
from fairlead_agent.placement.slot import MISPLACED, UNSERVED, Condition, Slot
from fairlead_agent.placement.workload_state import WorkloadState

#: Runners-up whose reservations are kept until the winners have accepted.
RUNNERS_UP = 2


class Rounds:
    """One round at a time.

    Args:
        state: of the workload.
        pursuits: take the winners on.
        review: says when a better place is looked for, and whether it is worth a move.
        step_slot: does what is due for a slot.
    """

    def __init__(
        self,
        state: WorkloadState,
        pursuits: Pursuits,
        review: ReviewPolicy,
        step_slot: Callable[[Slot, float], list[Effect]],
    ) -> None:
        self._state = state
        self._world = state.world
        self._pursuits = pursuits
        self._review = review
        self._step_slot = step_slot
        self._open: Round | None = None

    @property
    def is_open(self) -> bool:
        """True while bids are waited for."""
        return self._open is not None

    @property
    def calling(self) -> set[int]:
        """The replicas that the open call is for."""
        return set(self._open.call.replicas) if self._open is not None else set()

    def bid(self, bid: Bid, now: float) -> None:
        """A bid came."""
        if self._open is not None and bid.negotiation == self._open.call.negotiation:
            self._open.add(bid, now)

    def abandon(self) -> None:
        """Something else is asked for: what is bid counts no more."""
        self._open = None

    def free_bidders(self) -> list[Effect]:
        """The open round will not be decided here: release all reservations."""
        return self._free(self._open, keep=set()) if self._open is not None else []

    def wanted(self, now: float) -> bool:
        """True where a call should be announced now."""
        return self._open is None and self._purpose(now) is not None

    def open(self, batch: Batch, now: float) -> list[Effect]:
        """Announce a call for everything that is wanted now, as one of a batch."""
        wanted = self._purpose(now)
        if wanted is None or self._open is not None:
            return []
        purpose, replicas, trigger = wanted
        if purpose is Purpose.REVIEW:
            self._review.opened(now)
        settings = self._state.settings
        call = Call(
            negotiation=self._world.new_id(),
            steward=self._world.node,
            workload=self._state.workload,
            generation=self._state.desired.generation,
            replicas=replicas,
            deadline_s=settings.bid_deadline_s,
            hold_s=settings.bid_hold_s,
            batch=batch.id,
        )
        self._open = Round(call, purpose, trigger, now, batch)
        self._state.at(self._open.wakeup())
        return [Announce(call)]

    def step(self, now: float) -> list[Effect]:
        """Call again, or decide, when it is time."""
        round_ = self._open
        if round_ is None:
            return []
        online = set(self._world.online_nodes())
        if not round_.closed(online, now):
            effects = round_.repeat(online, now)
            self._state.at(round_.wakeup())
            return effects
        self._open = None
        state = self._state
        state.negotiation, state.trigger, state.decided_at = round_.call.negotiation, round_.trigger, now
        tender = self._tender(round_, online, now)
        if round_.purpose is Purpose.REVIEW:
            return self._close_review(round_, tender, now)
        return self._close_call(round_, tender, now)

    # What for

    def _purpose(self, now: float) -> tuple[Purpose, tuple[int, ...], str] | None:
        """What a call would be for, most urgent first: what nobody serves, what is misplaced, what might be better."""
        if self._state.refusal:
            return None
        active = [s for s in self._state.slots.values() if s.key.replica < self._state.workload.replicas]
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
            self._state.at(due_at)
            return None
        replicas = tuple(s.key.replica for s in settled if now >= s.placed_at + dwell_s)
        return Purpose.REVIEW, replicas, self._review.reason

    def _fill_trigger(self, replicas: Sequence[int]) -> str:
        slot = self._state.slots[replicas[0]]
        match slot.condition:
            case Condition.LOST:
                return f"{slot.holder} fell silent"
            case Condition.BROKEN | Condition.UNCLAIMED:
                return slot.call_back or str(slot.condition)
            case _:
                return f"generation {self._state.desired.generation}: {_listed(replicas)} not placed"

    def _replace_trigger(self, slot: Slot) -> str:
        match slot.condition:
            case Condition.OBSOLETE:
                return f"generation {self._state.desired.generation} serves something else"
            case Condition.DRAINING:
                return f"{slot.holder} is draining"
            case _:
                return f"the constraints rule out {slot.holder}"

    # What is made of it

    def _tender(self, round_: Round, online: set[str], now: float) -> Tender:
        occupied: dict[str, int] = {}
        for slot in self._state.slots.values():
            if slot.key.replica not in round_.call.replicas:
                for node in {slot.pursuit.node if slot.pursuit else None, slot.holder} - {None}:
                    occupied[str(node)] = occupied.get(str(node), 0) + 1
        bids = [bid for node, bid in sorted(round_.bids.items()) if self._world.online(node)]
        excluded = self._state.excluded.now(now)
        silent = sorted(round_.silent(online))
        return Tender(self._state.workload, bids, silent, occupied, excluded, round_.batch.left())

    def _close_call(self, round_: Round, tender: Tender, now: float) -> list[Effect]:
        slots = self._state.slots
        replicas = [r for r in round_.call.replicas if r in slots and slots[r].pursuit is None]
        choice = choose(tender, replicas, {r: slots[r].holder or "" for r in replicas})
        self._state.outcomes = choice.outcomes
        chosen = {id(winner) for winner in choice.winners.values()}
        losers = [offer for offer in choice.ranked if id(offer) not in chosen]
        effects: list[Effect] = []
        for replica in replicas:
            slot, winner = slots[replica], choice.winners.get(replica)
            slot.alternatives = list(losers)
            slot.alternatives_until = now + self._state.settings.bid_hold_s / 2
            if winner is None:
                self._state.back_off(slot, unplaceable(choice.outcomes), now)
                continue
            self._pursuits.award(slot, winner, round_, round_.purpose is Purpose.REPLACE, now)
            effects += self._step_slot(slot, now)
        keep = {offer.node for offer in [*choice.winners.values(), *losers[:RUNNERS_UP]]}
        return effects + self._free(round_, keep)

    def _close_review(self, round_: Round, tender: Tender, now: float) -> list[Effect]:
        holders = {
            s.key.replica: (s.holder or "", s.variant)
            for s in self._state.slots.values()
            if s.key.replica in round_.call.replicas and s.condition is Condition.HEALTHY
        }
        choice = choose(tender, sorted(holders))
        move, best = self._review.best_move(tender, holders, now)
        if move is None:
            required = self._review.required_ratio(now)
            self._state.outcomes = stay_outcomes(choice.outcomes, holders, best, required)
            self._review.closed(False, now)
            return self._free(round_, keep=set())
        self._state.outcomes = choice.outcomes
        self._review.closed(True, now)
        slot = self._state.slots[move.replica]
        slot.alternatives = []
        self._pursuits.award(slot, move.to, round_, True, now)
        return [*self._step_slot(slot, now), *self._free(round_, keep={move.to.node})]

    def _free(self, round_: Round, keep: set[str]) -> list[Effect]:
        cancel = Cancel(negotiation=round_.call.negotiation, reason="the negotiation has ended")
        nodes = sorted(node for node, bid in round_.bids.items() if bid.slots and node not in keep)
        return [Send(node, cancel) for node in nodes]


def unplaceable(outcomes: Sequence[BidOutcome]) -> str:
    """Why nothing could be chosen: every reason once, with who gave it."""
    if not outcomes:
        return "no node is online to bid"
    by_reason: dict[str, list[str]] = {}
    for outcome in outcomes:
        by_reason.setdefault(outcome.reason, []).append(f"{outcome.node}/{outcome.variant}".removesuffix("/-"))
    return "; ".join(f"{', '.join(names)}: {reason}" for reason, names in by_reason.items())[:2000]


def _listed(replicas: Sequence[int]) -> str:
    if len(replicas) == 1:
        return f"replica {replicas[0]} is"
    return f"replicas {', '.join(map(str, replicas))} are"
