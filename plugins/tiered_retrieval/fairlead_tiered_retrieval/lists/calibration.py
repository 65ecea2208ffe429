"""What recall costs: measured on vectors that are held out while an index is calibrated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels.vector_lists import ListEffort, ListsFound

#: Vectors that are held out, and neighbours of each that are looked for.
QUERIES, NEIGHBOURS = 400, 10
#: Work beside scanning a code: a candidate's whole code, and an exact vector, in codes scanned.
CANDIDATE_COST, READ_COST = 36.0, 80.0
#: What an exact vector costs where it comes from a file: a device answers a limited number of reads a second.
FILE_READ_COST = 1000.0
#: Candidates, reads at most and confidence that are tried: codes of vectors in which no direction is worth much more
#: than others (text embeddings) tell less, so that more have to be read.
_FAMILIES = (
    *product((100, 250), (50,), (0.8, 1.2, 1.7, 2.5)),
    *product((500,), (120,), (1.2, 1.7, 2.1, 2.5)),
    *product((1200,), (250,), (1.7, 2.1, 2.5)),
)
#: From a recall on more probes are tried only while the last ones found so much more.
_LOW, _GAIN = 0.8, 0.0005
_RECALLS = (0.5, 0.7, 0.8, 0.85, 0.9, 0.93, 0.95, 0.96, 0.97, 0.98, 0.985, 0.99, 0.993, 0.995, 0.998, 1.0)


@dataclass(frozen=True, slots=True)
class Measured:
    """An effort and what came of it: recall at 10, and means a query."""

    effort: ListEffort
    recall: float
    scanned: float
    reads: float

    def cost(self, read_cost: float = READ_COST) -> float:
        """In codes scanned, where an exact vector costs as many as `read_cost`."""
        return self.scanned + CANDIDATE_COST * self.effort.candidates + read_cost * self.reads


def measure(
    search: Callable[[ListEffort], ListsFound], nearest: NDArray[np.int64], lists: int, gap: int
) -> list[Measured]:
    """Try efforts; of those that reach a recall the cheapest are returned, where reads cost little and where much.

    Args:
        search: for the held-out vectors.
        nearest: [queries, NEIGHBOURS], the exact ones.
        lists: that there are.
        gap: as in ListEffort.
    """
    tried = _tried(search, nearest, lists, gap)
    chosen: dict[ListEffort, Measured] = {}
    for read_cost in (READ_COST, FILE_READ_COST):
        for recall in _RECALLS:
            reached = [m for m in tried if m.recall >= recall]
            if reached:
                best = min(reached, key=lambda m: m.cost(read_cost))
                chosen[best.effort] = best
    most = max(tried, key=lambda m: (m.recall, -m.cost()))
    return sorted({**chosen, most.effort: most}.values(), key=lambda m: (m.recall, m.cost()))


def effort_for(table: Sequence[Measured], recall: float, k: int, read_cost: float = READ_COST) -> ListEffort:
    """Return the cheapest effort that reached a recall; more candidates and reads for more than NEIGHBOURS."""
    reached = [m for m in table if m.recall >= recall]
    effort = min(reached, key=lambda m: m.cost(read_cost)).effort if reached else table[-1].effort
    times = max(1.0, k / NEIGHBOURS)
    return replace(effort, candidates=int(effort.candidates * times), reads=int(effort.reads * times))


def to_json(table: Sequence[Measured]) -> list[dict]:
    """Return the table as JSON holds it."""
    return [asdict(m) for m in table]


def from_json(table: Sequence[dict]) -> list[Measured]:
    """Return what `to_json` was given; raises TypeError, KeyError for anything else."""
    return [Measured(**{**m, "effort": ListEffort(**m["effort"])}) for m in table]


def _tried(
    search: Callable[[ListEffort], ListsFound], nearest: NDArray[np.int64], lists: int, gap: int
) -> list[Measured]:
    """Efforts of each family with more and more probes, as long as these find more."""
    tried = []
    for candidates, reads, confidence in _FAMILIES:
        before = -1.0
        for probes in _probes(lists):
            found = _measured(search, ListEffort(probes, candidates, reads, confidence, gap=gap), nearest)
            tried.append(found)
            if _LOW < found.recall < before + _GAIN or found.recall == 1.0:
                break
            before = found.recall
    return tried


def _probes(lists: int) -> list[int]:
    probes, steps = 1.0, []
    while probes < lists:
        steps.append(round(probes))
        probes *= 1.6
    return sorted({*steps[-10:], lists})


def _measured(search: Callable[[ListEffort], ListsFound], effort: ListEffort, nearest: NDArray[np.int64]) -> Measured:
    found = search(effort)
    hits = (found.slots[:, :, None] == nearest[:, None, :]).any(axis=1).sum()
    return Measured(
        effort, float(hits) / max(1, int((nearest >= 0).sum())), float(found.scanned.mean()), float(found.reads.mean())
    )
