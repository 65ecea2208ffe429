"""Cluster indexes: codes of all vectors in memory, the exact vectors in a tier, one batch of reads a query.

Native where compiled; :mod:`fairlead_kernels.reference_vector_lists` is the same in NumPy and stands in otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels.backend import extension
from fairlead_kernels.reference_vector_lists import ReferenceLists
from fairlead_kernels.vector_list_training import Closure, ListTraining, train_lists
from fairlead_kernels.vector_tiers import Tier
from fairlead_kernels.vectors import ELEMENTS, METRICS, U32, Vectors

__all__ = ["Closure", "ListEffort", "ListStream", "ListTraining", "Lists", "ListsFound", "train_lists"]

U8 = NDArray[np.uint8]
_NONE = np.zeros(0, np.uint32)


@dataclass(frozen=True, slots=True)
class ListEffort:
    """What a query may cost.

    Attributes:
        probes: lists that are scanned, those of the nearest centroids.
        candidates: vectors whose codes are looked at whole.
        reads: exact vectors at most (k at least).
        confidence: a candidate is read unless its estimate lies so many standard errors behind the k-th: the chance
            that it is the nearer of the two and left out is that of a normal variable beyond it (0.02 at 2).
        spread: standard error of an estimate in units of that which the tail's bits leave.
        in_flight: queries of a thread that wait for the tier.
        gap: bytes between two vectors that are read too rather than reading twice.
        exact: False: nothing is read, distances are the codes' estimates.
    """

    probes: int = 16
    candidates: int = 256
    reads: int = 15
    confidence: float = 2.0
    spread: float = 1.0
    in_flight: int = 32
    gap: int = 0
    exact: bool = True

    @property
    def numbers(self) -> tuple[int, int, int, float, float, int, int, bool]:
        """All of them, in the order of the attributes."""
        e = self
        return e.probes, e.candidates, e.reads, e.confidence, e.spread, e.in_flight, e.gap, e.exact


class ListsFound(NamedTuple):
    """Slots int64 and distances float32 [queries, k] (-1 and infinite where there are fewer), and what each cost."""

    slots: NDArray[np.int64]
    distances: NDArray[np.float32]
    reads: NDArray[np.int32]
    round_trips: NDArray[np.int32]
    scanned: NDArray[np.int32]
    tier_bytes: NDArray[np.int64]


class Lists:
    """A cluster index over the rows of a tier, row_bytes each. Searches run beside one another and beside changes.

    Every call that touches vectors takes the tier that holds them (for a search one for each thread), so that an index
    can go to another tier: copy the rows, then pass the other.

    Args:
        training: of codes and clusters.
        closure: which further lists vectors are entered in.
    """

    def __init__(self, training: ListTraining, closure: Closure = Closure()) -> None:
        self.training, self.closure = training, closure
        self.native = extension()
        given = training, closure
        self._lists: Any = ReferenceLists(*given) if self.native is None else _native(self.native, *given)

    @property
    def row_bytes(self) -> int:
        """Of a vector in the tier."""
        return self._lists.row_bytes

    @property
    def count(self) -> int:
        """Vectors."""
        return self._lists.live

    @property
    def lists(self) -> int:
        """Lists, dissolved ones among them."""
        return self._lists.lists

    @property
    def rows(self) -> int:
        """Rows of the tier, from its start, that vectors lie in or have lain in."""
        return self._lists.rows

    @property
    def copies(self) -> int:
        """Further entries of vectors, in all lists."""
        return self._lists.copies

    @property
    def dram_bytes(self) -> int:
        """Bytes of memory that the index takes."""
        return self._lists.dram_bytes

    def assign(self, vectors: Vectors) -> tuple[U32, NDArray[np.float32]]:
        """Return each vector's list, and where along the list's main direction it lies."""
        return self._lists.assign(self._bytes(vectors))

    def closed(self, vectors: Vectors) -> U32:
        """Return each vector's lists, as if all had room: [n, 1 + copies], its own first, then 0xFFFFFFFF."""
        return self._lists.closure(self._bytes(vectors)).reshape(len(vectors), 1 + self.closure.copies)

    def add(self, tier: Tier, slots: U32, vectors: Vectors, lists: U32 | None = None) -> None:
        """Add vectors; with `lists` to these, densely (a build, sorted by list), else to the nearest.

        Raises:
            ValueError: a slot is there already; the tier has no rows left (TierFull), vectors before that are in.
        """
        self._lists.add(tier, slots, self._bytes(vectors), _NONE if lists is None else lists)

    def remove(self, slots: U32) -> int:
        """Remove vectors and return how many were there."""
        return self._lists.remove(slots)

    def has(self, slot: int) -> bool:
        """Return whether a slot is there."""
        return self._lists.has(slot)

    def vectors(self, tier: Tier, slots: U32) -> Vectors:
        """Return exact vectors; IndexError for a slot that is not there."""
        space = self.training.space
        out = np.empty((len(slots), self.row_bytes), np.uint8)
        self._lists.vectors(tier, slots, out)
        return out.view(space.dtype).reshape(len(slots), space.columns)

    def search(
        self,
        tiers: Sequence[Tier],
        queries: Vectors,
        k: int,
        effort: ListEffort = ListEffort(),
        allowed: U8 | None = None,
    ) -> ListsFound:
        """Return the nearest k of each query, on as many threads as there are tiers.

        Args:
            tiers: objects of the region that holds the vectors, one a thread.
            queries: [n, columns] of the space's type.
            k: 1 and above.
            effort: what a query may cost.
            allowed: bitmap of slots that may be found, the lowest bit first; None: all.

        Raises:
            TierError: the tier does not answer.
        """
        into = _places(len(queries), k)
        self._lists.search(list(tiers), self._bytes(queries), k, effort.numbers, allowed, into)
        return _found(into)

    def stream(
        self, tiers: Sequence[Tier], in_flight: int = 32, most_reads: int = 128, gap: int = 0
    ) -> ListStream | None:
        """Return a place where searches of any number of threads join one another; None without compiled kernels.

        Args:
            tiers: objects of the region that holds the vectors; each has a thread of its own.
            in_flight: queries of a thread that wait for the tier.
            most_reads: exact vectors of a query at most, its k included.
            gap: as `ListEffort` has it, of all queries.
        """
        return None if self.native is None else ListStream(self, tiers, in_flight, most_reads, gap)

    def estimates(self, queries: Vectors, vectors: Vectors, centroid: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return what the codes of vectors in a list of that centroid say about queries: [queries, vectors]."""
        out = np.empty((len(queries), len(vectors)), np.float32)
        self._lists.estimates(self._bytes(queries), self._bytes(vectors), centroid, out)
        return out

    def maintain(self, tier: Tier, target: int) -> bool:
        """Split, dissolve or repack one list that is far from `target` vectors; False: none is."""
        return self._lists.maintain(tier, target)

    def wanting(self, target: int) -> int:
        """Return how many lists `maintain` would work on."""
        return self._lists.wanting(target)

    def sizes(self) -> U32:
        """Return the vectors of each list."""
        return self._lists.sizes()

    def saved(self) -> dict[str, NDArray[Any]]:
        """Return arrays to keep; centroids [lists * lead] among them."""
        return self._lists.saved()

    def adopt(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Take what `saved` returned into an index without vectors, made with the saved centroids.

        Raises:
            ValueError: the arrays are not what an index writes.
        """
        self._lists.adopt(arrays)

    def training_with(self, centroids: NDArray[np.float32]) -> ListTraining:
        """Return the training with the centroids that `saved` holds: those of now."""
        return replace(self.training, centroids=centroids.reshape(-1, self.training.lead))

    def _bytes(self, vectors: Vectors) -> U8:
        space = self.training.space
        if vectors.ndim != 2 or vectors.shape[1] != space.columns or vectors.dtype != space.dtype:
            shape, kind = list(vectors.shape), vectors.dtype
            raise ValueError(f"vectors: must be {space.dtype} [n, {space.columns}], got {kind} {shape}")
        return np.ascontiguousarray(vectors).view(np.uint8).reshape(len(vectors), -1)


class ListStream:
    """Searches that join those under way, on threads of their own (one a tier): see `Lists.stream`.

    A query begins as soon as there is room, not when a batch before it is through. Searches of few queries go first, in
    the order in which they come; those of many queries get the turns that are left, and one in four at any rate.
    """

    def __init__(self, lists: Lists, tiers: Sequence[Tier], in_flight: int, most_reads: int, gap: int) -> None:
        self._lists, self.most_reads = lists, most_reads
        self._stream: Any = lists.native.ListStream(lists._lists, list(tiers), in_flight, most_reads, gap)  # type: ignore[union-attr]

    def search(self, queries: Vectors, k: int, effort: ListEffort, allowed: U8 | None = None) -> ListsFound:
        """Search as `Lists.search` does; `effort` may read `most_reads` at most.

        Raises:
            ValueError: more reads.
            TierError: the tier does not answer. The stream has ended then.
        """
        into = _places(len(queries), k)
        rows = self._lists._bytes(queries)
        self._stream.search(self._lists._lists, rows, k, effort.numbers, allowed, into)
        return _found(into)

    def replay(
        self, queries: Vectors, k: int, effort: ListEffort, due: NDArray[np.float64]
    ) -> tuple[ListsFound, NDArray[np.float64]]:
        """Answer queries that come at given seconds from now (ascending), in turn those of `queries`.

        The threads that answer look at the clock themselves: no other thread offers the load.

        Returns:
            what was found [due, k], and seconds from when each was due until it was answered.
        """
        into, waited = _places(len(due), k), np.empty(len(due))
        rows = self._lists._bytes(queries)
        self._stream.replay(self._lists._lists, rows, k, effort.numbers, np.ascontiguousarray(due, float), into, waited)
        return _found(into), waited


_Places = tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int32], NDArray[np.int64]]


def _places(count: int, k: int) -> _Places:
    slots, distances = np.empty((count, k), np.int64), np.empty((count, k), np.float32)
    return slots, distances, np.zeros((3, count), np.int32), np.zeros(count, np.int64)


def _found(places: _Places) -> ListsFound:
    slots, distances, counts, tier_bytes = places
    return ListsFound(slots, distances, counts[0], counts[1], counts[2], tier_bytes)


def _native(module: Any, training: ListTraining, closure: Closure) -> Any:
    t = training
    arrays = [np.ascontiguousarray(a).reshape(-1) for a in (t.mean, t.reflectors, t.triangle, t.steps, t.signs)]
    codes = ELEMENTS.index(t.space.element), METRICS.index(t.space.metric)
    shape = (t.space.dim, t.bytes_dims, t.nibble_dims, t.tail)
    return module.Lists(*codes, *shape, arrays, np.ascontiguousarray(t.centroids).reshape(-1), closure.numbers)
