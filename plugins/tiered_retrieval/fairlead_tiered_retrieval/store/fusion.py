"""One ranking of two: by vectors and by words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import TieredRetrievalError

Ranked = Sequence[tuple[int, float]]
"""Slots and scores, larger is better, the best first."""


@dataclass(frozen=True, slots=True)
class ReciprocalRank:
    """The sum of weight / (constant + rank) (Cormack, Clarke and Buettcher, SIGIR 2009).

    Attributes:
        constant: the larger, the less the first ranks stand out; 60 in the paper.
        vector_weight: of the ranking by vectors, 0 to 1; that by words has the rest.
    """

    constant: float = 60.0
    vector_weight: float = 0.5

    def __post_init__(self) -> None:
        _check(self.vector_weight)
        if not self.constant > 0:
            raise TieredRetrievalError(f"fusion.constant = {self.constant}; accepted: above 0")

    def scores(self, ranked: Ranked) -> dict[int, float]:
        """Return a score for each slot of one ranking."""
        return {slot: 1 / (self.constant + rank) for rank, (slot, _) in enumerate(ranked, 1)}


@dataclass(frozen=True, slots=True)
class Weighted:
    """The sum of weight * score, scores of each ranking brought to 0 to 1 by its least and largest.

    Attributes:
        vector_weight: of the ranking by vectors, 0 to 1; that by words has the rest.
    """

    vector_weight: float = 0.5

    def __post_init__(self) -> None:
        _check(self.vector_weight)

    def scores(self, ranked: Ranked) -> dict[int, float]:
        """Return a score for each slot of one ranking; one alone gets 1."""
        if not ranked:
            return {}
        least, largest = min(score for _, score in ranked), max(score for _, score in ranked)
        span = largest - least
        return {slot: (score - least) / span if span > 0 else 1.0 for slot, score in ranked}


Fusion = ReciprocalRank | Weighted


def fuse(by_vector: Ranked, by_words: Ranked, fusion: Fusion, k: int) -> list[tuple[int, float]]:
    """Return the best k of both rankings; a slot that one of them lacks gets nothing from it."""
    total: dict[int, float] = {}
    for ranked, weight in ((by_vector, fusion.vector_weight), (by_words, 1 - fusion.vector_weight)):
        for slot, score in fusion.scores(ranked).items():
            total[slot] = total.get(slot, 0.0) + weight * score
    return sorted(total.items(), key=lambda item: (-item[1], item[0]))[:k]


def _check(weight: float) -> None:
    if not 0 <= weight <= 1:
        raise TieredRetrievalError(f"fusion.vector_weight = {weight}; accepted: 0 to 1")
