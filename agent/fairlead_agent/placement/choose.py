"""Choose who serves: assign replicas to offers, and say of every other offer why it lost."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from fairlead_agent.messages import Bid, BidOutcome, Estimate, Offer, Workload
from fairlead_agent.placement.constraints import node_refusal, offer_refusal
from fairlead_agent.placement.resources import Resources
from fairlead_agent.placement.score import Score, in_words, references, score, seconds

Outcome = Literal["won", "lost", "refused", "declined", "no-answer"]


@dataclass(frozen=True, slots=True)
class RankedOffer:
    """An offer that may win, with its score."""

    bid: Bid
    offer: Offer
    estimate: Estimate
    score: Score

    @property
    def node(self) -> str:
        """Who offers."""
        return self.bid.node

    @property
    def needs(self) -> Resources:
        """What it takes."""
        return Resources.of(self.estimate)

    @property
    def name(self) -> str:
        """Node and variant."""
        return f"{self.bid.node}/{self.offer.variant}"


@dataclass(frozen=True, slots=True)
class Tender:
    """All that is known when a round closes."""

    workload: Workload
    bids: Sequence[Bid]
    silent: Collection[str] = ()
    """Nodes that were asked and did not answer."""
    occupied: Mapping[str, int] = field(default_factory=dict[str, int])
    """By node: other replicas of this workload that stay there."""
    excluded: Mapping[tuple[str, str], str] = field(default_factory=dict[tuple[str, str], str])
    """By (node, variant): why it is not to be taken now."""
    room: Mapping[str, Resources] = field(default_factory=dict[str, Resources])
    """By node: what the awards to other workloads have left; a node that is not named has what it bid."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Who wins which replica, who comes next, and what became of every offer."""

    winners: dict[int, RankedOffer]
    ranked: tuple[RankedOffer, ...]
    outcomes: tuple[BidOutcome, ...]


def rank(tender: Tender) -> tuple[tuple[RankedOffer, ...], tuple[BidOutcome, ...]]:
    """Score what may win, best first (ties: by node, then variant), and say why the rest may not."""
    workload = tender.workload
    open_: list[tuple[Bid, Offer, Estimate]] = []
    refused: list[BidOutcome] = []
    for bid in sorted(tender.bids, key=lambda bid: bid.node):
        rejection = node_refusal(workload, bid.node, bid.labels)
        if not bid.offers:
            refused.append(_outcome(bid.node, "-", "declined", bid.decline or rejection or "declined without a reason"))
        for offer in bid.offers:
            excluded = tender.excluded.get((bid.node, offer.variant), "")
            reason = rejection or offer_refusal(workload, offer) or excluded
            if reason or offer.estimate is None:
                refused.append(_rejected(bid.node, offer, reason))
            else:
                open_.append((bid, offer, offer.estimate))
    reference = references(workload.objectives, [offer for _, offer, _ in open_])
    ranked = [
        RankedOffer(bid, offer, estimate, score(estimate, workload.objectives, reference, offer.memory_share))
        for bid, offer, estimate in open_
    ]
    ranked.sort(key=lambda r: (r.score.total, r.node, r.offer.variant))
    refused += [_outcome(node, "-", "no-answer", "no bid before the deadline") for node in sorted(tender.silent)]
    return tuple(ranked), tuple(refused)


def choose(tender: Tender, replicas: Sequence[int], homes: Mapping[int, str] | None = None) -> Choice:
    """Assign replicas to offers.

    Greedy by score, one replica after the other, then pairs of replicas swap winners where that brings more of them
    to the node in ``homes`` (where they are now), which costs nothing and saves a move. Nodes that cannot take another
    replica (``slots``, spread) are passed over.

    Args:
        tender: the round.
        replicas: slots to fill, in order of need.
        homes: by replica, the node that serves it now.
    """
    ranked, refused = rank(tender)
    taken = dict(tender.occupied)
    used: dict[str, int] = {}
    room = dict(tender.room)
    winners: dict[int, RankedOffer] = {}
    for replica in replicas:
        winner = next((r for r in ranked if has_room(tender.workload, r, taken, used) and fits(r, room)), None)
        if winner is None:
            break
        winners[replica] = winner
        if winner.node in room:
            room[winner.node] = room[winner.node].minus(winner.needs)
        used[winner.node] = used.get(winner.node, 0) + 1
        taken[winner.node] = taken.get(winner.node, 0) + 1
    _swap(winners, homes or {})
    return Choice(winners, ranked, (*_explained(tender, ranked, winners), *refused))


def has_room(workload: Workload, offer: RankedOffer, taken: Mapping[str, int], used: Mapping[str, int]) -> bool:
    """True where a node may take one more replica. ``taken``: all replicas there; ``used``: those of this round."""
    if workload.constraints.spread == "node" and taken.get(offer.node, 0) > 0:
        return False
    return used.get(offer.node, 0) < offer.bid.slots


def fits(offer: RankedOffer, room: Mapping[str, Resources]) -> bool:
    """True where what is left on the node is enough; a replacement brings its own room."""
    return offer.offer.replaces or offer.node not in room or offer.needs.within(room[offer.node])


def why_lost(loser: RankedOffer, winner: RankedOffer) -> str:
    """In words with numbers, why one offer is behind another."""
    totals = f"score {loser.score.total:.2f} against {winner.score.total:.2f}"
    missed = [name for name in loser.score.violations if name not in winner.score.violations]
    if missed:
        return f"would miss {', '.join(missed)}: {_compared(loser, winner, _term_of(missed[0]))}; {totals}"
    gaps = {
        name: value - winner.score.terms.get(name, 0.0)
        for name, value in loser.score.terms.items()
        if name != "objectives"
    }
    worst = max(sorted(gaps), key=lambda name: gaps[name], default="latency")
    if gaps.get(worst, 0.0) <= 0:
        return f"as good as {winner.name}, which comes first by name; {totals}"
    return f"{_compared(loser, winner, worst)}; {totals}"


def _compared(loser: RankedOffer, winner: RankedOffer, term: str) -> str:
    mine = in_words(term, loser.estimate, loser.offer.memory_share)
    other = in_words(term, winner.estimate, winner.offer.memory_share)
    value = other.removeprefix(_common_words(mine, other))
    return f"{mine} against {value} of {winner.name}"


def _common_words(first: str, second: str) -> str:
    words: list[str] = []
    for one, other in zip(first.split(" "), second.split(" "), strict=False):
        if one != other or one[:1].isdigit():
            break
        words.append(one)
    return "".join(f"{word} " for word in words)


def _term_of(objective: str) -> str:
    return {
        "latency_p90_s": "latency",
        "startup_max_s": "startup",
        "energy_max_j": "energy",
        "throughput_min_per_s": "throughput",
    }[objective]


def _swap(winners: dict[int, RankedOffer], homes: Mapping[int, str]) -> None:
    improved = True
    while improved:
        improved = False
        for one in winners:
            for other in winners:
                before = (winners[one].node == homes.get(one)) + (winners[other].node == homes.get(other))
                after = (winners[other].node == homes.get(one)) + (winners[one].node == homes.get(other))
                if after > before:
                    winners[one], winners[other] = winners[other], winners[one]
                    improved = True


def _explained(
    tender: Tender, ranked: Sequence[RankedOffer], winners: Mapping[int, RankedOffer]
) -> tuple[BidOutcome, ...]:
    won = {id(winner): [r for r, w in winners.items() if w is winner] for winner in winners.values()}
    return tuple(_ranked_outcome(tender, offer, won.get(id(offer), []), winners) for offer in ranked)


def _ranked_outcome(
    tender: Tender, offer: RankedOffer, replicas: list[int], winners: Mapping[int, RankedOffer]
) -> BidOutcome:
    if replicas:
        outcome, reason = "won", _why_won(offer, replicas)
    else:
        outcome, reason = "lost", _why_not(tender, offer, winners)
    return BidOutcome(
        node=offer.node,
        variant=offer.offer.variant,
        outcome=outcome,
        score=round(offer.score.total, 6),
        terms={name: round(value, 6) for name, value in offer.score.terms.items()},
        estimate=offer.estimate,
        simulated=offer.offer.simulated,
        reason=reason,
    )


def _why_won(offer: RankedOffer, replicas: list[int]) -> str:
    which = f"replica {replicas[0]}" if len(replicas) == 1 else f"replicas {', '.join(map(str, sorted(replicas)))}"
    unit = offer.estimate.throughput_unit
    base = (
        f"{which}: score {offer.score.total:.2f}, p90 latency {seconds(offer.estimate.latency_s.p90)}, "
        f"p10 throughput {offer.estimate.throughput_per_s.p10:.3g} {unit}/s"
    )
    if offer.score.violations:
        return f"{base}; nothing better was offered, though it would miss {', '.join(offer.score.violations)}"
    return base


def _why_not(tender: Tender, offer: RankedOffer, winners: Mapping[int, RankedOffer]) -> str:
    if tender.workload.constraints.spread == "node" and tender.occupied.get(offer.node):
        return "another replica runs on this node, and the workload spreads over nodes"
    if not fits(offer, tender.room):
        return f"another workload was awarded its room: it lacks {offer.needs.lacking(tender.room[offer.node])}"
    same = next((w for w in winners.values() if w.node == offer.node), None)
    if same is not None and same.score.total <= offer.score.total:
        return why_lost(offer, same)
    if not winners:
        return "no slot of its bid was left"
    worst = max(winners.values(), key=lambda w: (w.score.total, w.node))
    return why_lost(offer, worst)


def _outcome(node: str, variant: str, outcome: Outcome, reason: str) -> BidOutcome:
    return BidOutcome(node=node, variant=variant, outcome=outcome, reason=reason[:2000])


def _rejected(node: str, offer: Offer, reason: str) -> BidOutcome:
    return BidOutcome(
        node=node,
        variant=offer.variant,
        outcome="refused",
        estimate=offer.estimate,
        simulated=offer.simulated,
        reason=reason[:2000],
    )
