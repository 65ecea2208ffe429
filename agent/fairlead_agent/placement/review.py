"""When to ask whether a workload should move, and when a move is worth it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fairlead_agent.messages import Bid, BidOutcome, InstanceReport, Objectives
from fairlead_agent.placement.choose import RankedOffer, Tender, fits, has_room, rank
from fairlead_agent.placement.score import Score
from fairlead_agent.placement.settings import PlacementSettings

#: Terms that a running instance has paid already; a move pays for them through the moving cost.
ONE_TIME_TERMS = ("startup", "transfer")
#: Where the link is not known, a transfer is taken to run at 100 Mbit/s.
NOMINAL_BYTES_PER_S = 12.5e6
#: Of several urgent changes together.
LONGEST_REASON = 500


@dataclass(frozen=True, slots=True)
class Move:
    """A replica would gain by going elsewhere."""

    replica: int
    to: RankedOffer
    now_score: float
    new_score: float
    cost: float

    @property
    def ratio(self) -> float:
        """New score with the moving cost, over the present one; below 1 is a gain."""
        if self.now_score == float("inf"):
            return 0.0
        return (self.new_score + self.cost) / self.now_score if self.now_score > 0 else float("inf")


class ReviewPolicy:
    """Hysteresis of one workload: debounce, dwell, a threshold that rises with each move, longer waits after a no."""

    def __init__(self, settings: PlacementSettings) -> None:
        self._settings = settings
        self._trigger = ""
        self._urgent = False
        self._triggered_at = 0.0
        self._next_at = 0.0
        self._closed_at = float("-inf")
        self._quiet = 0
        self._moves: list[float] = []
        self._missed_since: dict[int, float] = {}

    @property
    def reason(self) -> str:
        """Why the next review will be held; empty: none is wanted."""
        return self._trigger

    def trigger(self, reason: str, now: float, *, urgent: bool = False) -> None:
        """Something changed. Several triggers within the debounce time make one review.

        An urgent one takes the place of a vaguer reason and ends the waiting that quiet reviews have led to.
        """
        if not self._trigger:
            self._triggered_at = now
        if urgent:
            self._quiet = 0
            self._next_at = min(self._next_at, self._closed_at + self._settings.urgent_interval_s)
            self._trigger = self._joined(reason) if self._urgent else reason
            self._urgent = True
        elif not self._trigger:
            self._trigger = reason

    def _joined(self, reason: str) -> str:
        """The urgent reasons so far and one more."""
        known = self._trigger
        return known if reason in known else f"{known}; {reason}"[:LONGEST_REASON]

    def observe(self, replica: int, report: InstanceReport, objectives: Objectives, now: float) -> None:
        """Compare what an instance measured with what was asked for."""
        missed = missed_objective(report, objectives)
        if not missed:
            self._missed_since.pop(replica, None)
        elif now - self._missed_since.setdefault(replica, now) >= self._settings.missed_s:
            self._missed_since[replica] = now
            self.trigger(f"replica {replica}: {missed}", now)

    def due_at(self) -> float | None:
        """When the next review may be held."""
        return max(self._triggered_at + self._settings.debounce_s, self._next_at) if self._trigger else None

    def dwell_s(self, now: float) -> float:
        """How long a replica has to stay before it may move: doubles with each remembered move."""
        return self._settings.dwell_s * 2 ** min(10, self.moves(now))

    def moves(self, now: float) -> int:
        """Moves within the history."""
        self._moves = [at for at in self._moves if now - at < self._settings.history_s]
        return len(self._moves)

    def opened(self, now: float) -> str:
        """A review is held; returns its reason."""
        reason, self._trigger, self._urgent = self._trigger, "", False
        return reason

    def closed(self, moved: bool, now: float) -> None:
        """A review has ended. While nothing changes, the next ones come ever more rarely."""
        self._closed_at = now
        self._quiet = 0 if moved else self._quiet + 1
        wait = self._settings.review_interval_s * 2 ** max(0, self._quiet - 1)
        self._next_at = now + min(self._settings.review_interval_max_s, wait)
        if moved:
            self._moves.append(now)

    def required_ratio(self, now: float) -> float:
        """A move must bring the score below this share of the present one; lower after each remembered move."""
        return 1 / (1 + self._settings.gain * 2 ** min(6, self.moves(now)))

    def moving_cost(self, offer: RankedOffer) -> float:
        """Seconds of start-up and transfer, as a share of the time over which a move has to pay."""
        transfer_s = offer.estimate.transfer_bytes / NOMINAL_BYTES_PER_S
        return (offer.estimate.startup_s.p90 + transfer_s) / self._settings.amortisation_s

    def best_move(
        self, tender: Tender, holders: Mapping[int, tuple[str, str]], now: float
    ) -> tuple[Move | None, Move | None]:
        """The move with the largest gain, if it is worth it; and the largest gain of all, to explain a no.

        Args:
            tender: bids of the review.
            holders: by replica, the node and variant that serve it now.
            now: seconds.
        """
        ranked, _ = rank(tender)
        moves = [
            m for replica, holder in holders.items() if (m := self._move(tender, ranked, replica, holder, holders))
        ]
        best = min(moves, key=lambda move: (move.ratio, move.replica), default=None)
        worth = best is not None and best.ratio < self.required_ratio(now)
        return (best if worth else None), best

    def _move(
        self,
        tender: Tender,
        ranked: Sequence[RankedOffer],
        replica: int,
        holder: tuple[str, str],
        holders: Mapping[int, tuple[str, str]],
    ) -> Move | None:
        present = next((r for r in ranked if (r.node, r.offer.variant) == holder), None)
        if present is None and not refused_by(tender.bids, holder):
            return None
        now_score = running(present.score) if present is not None else float("inf")
        taken: dict[str, int] = dict(tender.occupied)
        for other, (node, _) in holders.items():
            if other != replica:
                taken[node] = taken.get(node, 0) + 1
        others = [
            r for r in ranked if r is not present and has_room(tender.workload, r, taken, {}) and fits(r, tender.room)
        ]
        moves = [Move(replica, r, now_score, running(r.score), self.moving_cost(r)) for r in others]
        return min(moves, key=lambda move: (move.ratio, move.to.node, move.to.offer.variant), default=None)


def running(score: Score) -> float:
    """The score without what is paid once."""
    return sum(value for name, value in score.terms.items() if name not in ONE_TIME_TERMS)


def missed_objective(report: InstanceReport, objectives: Objectives) -> str:
    """Which objective the measurements of an instance miss, in words; empty: none."""
    bound, measured = objectives.latency_p90_s, report.latency_p90_s
    if bound is not None and measured is not None and measured > bound:
        return f"p90 latency {measured:.3g} s measured, {bound:.3g} s asked for"
    least, throughput = objectives.throughput_min_per_s, report.throughput_per_s
    if least is not None and throughput is not None and throughput < least:
        return f"throughput {throughput:.3g}/s measured, {least:.3g}/s asked for"
    return ""


def stay_outcomes(
    outcomes: Sequence[BidOutcome], holders: Mapping[int, tuple[str, str]], best: Move | None, required: float
) -> tuple[BidOutcome, ...]:
    """The outcomes of a review that moves nothing: those who serve stay, and the best other is told what it lacked."""
    serving = set(holders.values())
    changed: list[BidOutcome] = []
    for outcome in outcomes:
        here = (outcome.node, outcome.variant)
        if here in serving and outcome.score is not None:
            changed.append(outcome.model_copy(update={"outcome": "won", "reason": "stays where it is"}))
        elif best is not None and here == (best.to.node, best.to.offer.variant):
            reason = (
                f"running score {best.new_score:.2f} plus moving cost {best.cost:.2f} against {best.now_score:.2f}: "
                f"{best.ratio:.0%} of the present score, a move needs less than {required:.0%}"
            )
            changed.append(outcome.model_copy(update={"outcome": "lost", "reason": reason}))
        elif outcome.outcome == "won":
            changed.append(outcome.model_copy(update={"outcome": "lost", "reason": "no room beside the others"}))
        else:
            changed.append(outcome)
    return tuple(changed)


def refused_by(bids: Sequence[Bid], holder: tuple[str, str]) -> bool:
    """True where a node that serves a variant answered that it could not serve it now."""
    node, variant = holder
    return any(
        bid.node == node and any(o.variant == variant and o.refusal is not None for o in bid.offers) for bid in bids
    )
