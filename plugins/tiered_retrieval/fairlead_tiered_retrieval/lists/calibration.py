"""What recall costs: measured on vectors that are held out while an index is calibrated."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels.vector_lists import ListEffort, ListsFound

#: Vectors that are held out, and neighbours of each that are looked for.
QUERIES, NEIGHBOURS = 400, 10
#: Work beside scanning a code: a candidate's whole code, and an exact vector, in codes scanned.
CANDIDATE_COST, READ_COST = 8.0, 40.0
_RECALLS = (0.5, 0.7, 0.8, 0.85, 0.9, 0.93, 0.95, 0.96, 0.97, 0.98, 0.985, 0.99, 0.993, 0.995, 0.998, 1.0)


@dataclass(frozen=True, slots=True)
class Measured:
    """An effort and what came of it: recall at 10, and means a query."""

    effort: ListEffort
    recall: float
    scanned: float
    reads: float

    @property
    def cost(self) -> float:
        """In codes scanned."""
        return self.scanned + CANDIDATE_COST * self.effort.candidates + READ_COST * self.reads


def measure(
    search: Callable[[ListEffort], ListsFound], nearest: NDArray[np.int64], lists: int, gap: int
) -> list[Measured]:
    """Try efforts; of those that reach a recall the cheapest are returned, by recall.

    Args:
        search: for the held-out vectors.
        nearest: [queries, NEIGHBOURS], the exact ones.
        lists: that there are.
        gap: as in ListEffort.
    """
    tried = [_measured(search, effort, nearest) for effort in _efforts(lists, gap)]
    best = [min((m for m in tried if m.recall >= r), key=lambda m: m.cost, default=None) for r in _RECALLS]
    chosen = {m.effort: m for m in best if m is not None}
    most = max(tried, key=lambda m: (m.recall, -m.cost))
    return sorted({**chosen, most.effort: most}.values(), key=lambda m: (m.recall, m.cost))


def effort_for(table: Sequence[Measured], recall: float, k: int) -> ListEffort:
    """Return the cheapest effort that reached a recall; more candidates and reads for more than NEIGHBOURS."""
    reached = [m for m in table if m.recall >= recall]
    effort = min(reached, key=lambda m: m.cost).effort if reached else table[-1].effort
    times = max(1.0, k / NEIGHBOURS)
    return replace(effort, candidates=int(effort.candidates * times), reads=int(effort.reads * times))


def to_json(table: Sequence[Measured]) -> list[dict]:
    """Return the table as JSON holds it."""
    return [asdict(m) for m in table]


def from_json(table: Sequence[dict]) -> list[Measured]:
    """Return what `to_json` was given; raises TypeError, KeyError for anything else."""
    return [Measured(**{**m, "effort": ListEffort(**m["effort"])}) for m in table]


def _efforts(lists: int, gap: int) -> Iterator[ListEffort]:
    probes, steps = 1.0, []
    while probes < lists:
        steps.append(round(probes))
        probes *= 1.6
    for probe in sorted({*steps[-10:], lists}):
        for candidates in (100, 250):
            for confidence in (0.8, 1.2, 1.7, 2.5):
                yield ListEffort(probe, candidates, 5 * NEIGHBOURS, confidence, gap=gap)


def _measured(search: Callable[[ListEffort], ListsFound], effort: ListEffort, nearest: NDArray[np.int64]) -> Measured:
    found = search(effort)
    hits = (found.slots[:, :, None] == nearest[:, None, :]).any(axis=1).sum()
    return Measured(
        effort, float(hits) / max(1, int((nearest >= 0).sum())), float(found.scanned.mean()), float(found.reads.mean())
    )
