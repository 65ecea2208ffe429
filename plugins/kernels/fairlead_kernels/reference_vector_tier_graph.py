"""The walk of a graph in a tier in NumPy: what the native one is tested against, vertex by vertex and read by read.

It takes the same codes, queries' codes and records, so that both pass through the same vertices.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels import reference_vectors

U8 = NDArray[np.uint8]
U32 = NDArray[np.uint32]

STARTS, TOGETHER = 3, 64
#: Entry of a table of slots that is removed or free.
NONE = 0xFFFFFFFF


def pack_ids(ids: U32, bits: int) -> U8:
    """Return ids of `bits` bits one behind the other, the lowest bit first, in whole words of 32 bits."""
    each = (ids[:, None].astype(np.uint64) >> np.arange(bits, dtype=np.uint64) & np.uint64(1)).astype(np.uint8)
    packed = np.packbits(each.reshape(-1), bitorder="little")
    return np.concatenate([packed, np.zeros(-len(packed) % 4, np.uint8)])


def unpack_ids(packed: U8, count: int, bits: int) -> U32:
    """Return what `pack_ids` packed."""
    each = np.unpackbits(packed, bitorder="little")[: count * bits].reshape(count, bits)
    return (each.astype(np.uint64) << np.arange(bits, dtype=np.uint64)).sum(1).astype(np.uint32)


def scores(codes: U8, walked: NDArray[np.int8]) -> NDArray[np.int64]:
    """Return what walks are ordered by: half the squared norm less the product, and what all share.

    Args:
        codes: [n, bytes]: coordinates, each 128 more than it is, then the half norm as int32.
        walked: [bytes]: the query's coordinates, negated; its last four are not looked at.
    """
    halves = np.ascontiguousarray(codes[:, -4:]).view(np.int32)[:, 0]
    return codes[:, :-4].astype(np.int64) @ walked[:-4].astype(np.int64) + halves


@dataclass
class ReferenceTierGraph:
    """A graph in a tier.

    Attributes:
        space: of the vectors.
        slots: [vertices], NONE where removed.
        codes: [vertices, bytes].
        edges: [vertices, degree]; a vertex that leads to itself has no more.
        vectors: [vertices, columns].
        entries: vertices where walks begin.
        kept: vertices whose records are in memory.
        beside: whether a read of edges has the vector too.
    """

    space: Any
    slots: U32
    codes: U8
    edges: U32
    vectors: NDArray[Any]
    entries: list[int]
    kept: frozenset[int] = frozenset()
    beside: bool = True

    def search(
        self,
        query: NDArray[Any],
        walked: NDArray[np.int8],
        k: int,
        *,
        beam: int,
        rerank: int,
        width: int,
        places: int = 16,
        allowed: NDArray[np.bool_] | None = None,
    ) -> tuple[list[int], int, int, int]:
        """Return the nearest slots, the hops, the reads and the round trips of a query.

        Args:
            query: [columns].
            walked: its code.
            k, beam, rerank, width: as of the native graph.
            places: vectors that are read at once in the end.
            allowed: by slot; None: all.
        """
        passes = self._passing(allowed)
        walk = _Walk(self, walked, beam, None if passes is None else rerank, passes)
        reads = trips = 0
        while asked := walk.round(width):
            reads, trips = reads + len(asked), trips + 1
            walk.take(asked)
        known = walk.expanded if self.beside else []
        if passes is not None:
            known = [vertex for vertex in known if passes[vertex]]
        found = walk.beam if passes is None else walk.passed
        last = [vertex for _, vertex in found[:rerank] if vertex not in set(known)]
        ranked = self._ranked(query, [*known, *last])[:k]
        return ranked, walk.hops, reads + len(last), trips + -(-len(last) // places)

    def _passing(self, allowed: NDArray[np.bool_] | None) -> NDArray[np.bool_] | None:
        there = self.slots != NONE
        if allowed is None:
            return None if there.all() else there
        return np.array([s < len(allowed) and bool(allowed[s]) for s in self.slots.tolist()], bool) & there

    def _ranked(self, query: NDArray[Any], vertices: list[int]) -> list[int]:
        if not vertices:
            return []
        names = np.array(vertices)
        distances = reference_vectors.distances(self.space, query[None], self.vectors[names])[0]
        return self.slots[names[np.lexsort((names, distances))]].tolist()


@dataclass
class _Walk:
    graph: ReferenceTierGraph
    walked: NDArray[np.int8]
    most: int
    most_passed: int | None
    passes: NDArray[np.bool_] | None
    beam: list[tuple[int, int]] = field(default_factory=list)
    passed: list[tuple[int, int]] = field(default_factory=list)
    expanded: list[int] = field(default_factory=list)
    hops: int = 0

    def __post_init__(self) -> None:
        entries = np.array(self.graph.entries, np.int64)
        near = scores(self.graph.codes[entries], self.walked)
        for at in np.lexsort((entries, near))[:STARTS]:
            self._meet(int(near[at]), int(entries[at]))

    def round(self, width: int) -> list[int]:
        """The vertices to read next; the edges of those that are in memory are looked at on the way."""
        asked: list[int] = []
        while len(asked) < width:
            vertex = next((v for _, v in self.beam if v not in self.expanded), None)
            if vertex is None:
                break
            self.hops += 1
            self.expanded.append(vertex)
            if vertex in self.graph.kept:
                self.take([vertex])
            else:
                asked.append(vertex)
        return asked

    def take(self, vertices: list[int]) -> None:
        """Score the neighbours of vertices whose records have come."""
        ids = [other for vertex in vertices for other in self._row(vertex)]
        near = scores(self.graph.codes[np.array(ids, np.int64)], self.walked) if ids else []
        for first in range(0, len(ids), TOGETHER):
            limit = self._limit()
            for at in range(first, min(len(ids), first + TOGETHER)):
                if near[at] < limit:
                    self._meet(int(near[at]), ids[at])

    def _row(self, vertex: int) -> list[int]:
        row = self.graph.edges[vertex].tolist()
        return row[: row.index(vertex)] if vertex in row else row

    def _limit(self) -> float:
        own = self.beam[-1][0] if len(self.beam) == self.most else np.inf
        if self.most_passed is None:
            return own
        return max(own, self.passed[-1][0] if len(self.passed) == self.most_passed else np.inf)

    def _meet(self, score: int, vertex: int) -> None:
        _keep(self.beam, (score, vertex), self.most)
        if self.passes is not None and self.most_passed is not None and self.passes[vertex]:
            _keep(self.passed, (score, vertex), self.most_passed)


def _keep(nearest: list[tuple[int, int]], one: tuple[int, int], most: int) -> None:
    at = bisect_left(nearest, one)
    if at < len(nearest) and nearest[at] == one:
        return
    insort(nearest, one)
    del nearest[most:]
