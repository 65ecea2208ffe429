"""Which beam reaches which recall: measured on vectors that the graph does not hold."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..distances import nearest
from ..space import Space

K = 10
RERANKS = (10, 12, 16, 20, 24, 32, 48, 64, 96, 128)
BEAMS = (10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 64, 80, 96, 128, 192, 256, 384, 512)
#: Vectors that are held out of a build for this, at most, and their share.
MOST_QUERIES, PART = 400, 20
#: Recall beyond which larger beams are not tried.
ENOUGH = 0.9995
#: Recall that candidates which are left out may cost.
LOSS = 0.0005


@dataclass(frozen=True, slots=True)
class Calibration:
    """Recall at 10 of growing beams.

    Attributes:
        beams: ascending.
        recalls: of each, not falling.
        rerank: candidates of 10 results, by their codes' order, whose vectors are worth a look; None: all of the beam.
    """

    beams: tuple[int, ...] = (32, 512)
    recalls: tuple[float, ...] = (0.0, 1.0)
    rerank: int | None = None

    def beam(self, recall: float, k: int) -> int:
        """Return the beam that reaches a recall for k results; the largest tried where none did.

        Between two that were tried the beam is interpolated. For k above 10 it grows in proportion.
        """
        wanted = float(np.interp(recall, self.recalls, self.beams))
        if recall > self.recalls[-1]:
            wanted = 2.0 * self.beams[-1] if recall < 1.0 else 4.0 * self.beams[-1]
        return max(k, math.ceil(wanted * max(1.0, k / K)))

    def candidates(self, k: int) -> int | None:
        """Return how many candidates are compared exactly for k results; None: all."""
        return None if self.rerank is None else max(k, math.ceil(self.rerank * max(1.0, k / K)))


def held_out(count: int, seed: int) -> NDArray[np.int64]:
    """Return the places of the vectors that are held out, ascending."""
    chosen = np.random.default_rng(seed).permutation(count)[: min(MOST_QUERIES, count // PART)]
    return np.sort(chosen).astype(np.int64)


def calibrate(
    space: Space,
    queries: NDArray,
    vectors: NDArray,
    slots: NDArray[np.int64],
    search: Callable[[NDArray, int, int], NDArray[np.int64]],
) -> Calibration:
    """Measure recalls.

    Args:
        space: of the vectors.
        queries: [n, columns], none of them in the index.
        vectors: rows by slot.
        slots: in the index.
        search: (queries, beam, rerank) -> slots [n, 10].
    """
    if len(queries) == 0 or len(slots) < K:
        return Calibration()
    return measured(queries, nearest(queries, vectors, slots, K, space)[0], search)


def measured(
    queries: NDArray, true: NDArray[np.int64], search: Callable[[NDArray, int, int], NDArray[np.int64]]
) -> Calibration:
    """Measure recalls of queries whose nearest are known: true [n, 10]; `search` as `calibrate` has it."""
    beams: list[int] = []
    recalls: list[float] = []

    def reached(beam: int, rerank: int) -> float:
        found = search(queries, beam, rerank)
        return sum(len(np.intersect1d(a, b)) for a, b in zip(found, true, strict=True)) / true.size

    for beam in BEAMS:
        beams.append(beam)
        recalls.append(max([reached(beam, beam), *recalls[-1:]]))
        if recalls[-1] >= ENOUGH:
            break
    few = (rerank for rerank in RERANKS if rerank < beams[-1])
    enough = next((rerank for rerank in few if reached(beams[-1], rerank) >= recalls[-1] - LOSS), None)
    return Calibration(tuple(beams), tuple(recalls), enough)
