"""A graph of vectors whose edges and vectors lie in a tier; the codes that walks look at are in memory.

A vertex's record in the tier has its neighbours, each in as many bits as vertices need, and its vector: beside them, so
that one read has both, or in groups of 64 vertices apart from them, for vectors so long that a walk had better not read
them. Nothing is padded to blocks. A walk asks for the records of the nearest few vertices of its beam at once, and a
thread works on many walks, so that the tier's time passes while others compute.

:mod:`fairlead_kernels.reference_vector_tier_graph` is the walk in NumPy, over the same codes and records.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels.backend import extension
from fairlead_kernels.vector_graph import Graph, GraphOptions
from fairlead_kernels.vector_tiers import Tier
from fairlead_kernels.vectors import Space, VectorError, Vectors, as_bytes
from fairlead_kernels.walk_training import LINE_COORDINATES, NORM_COORDINATES, WalkCodes

__all__ = ["TierGraph", "TierGraphEffort", "TierGraphFound", "TierGraphStream", "id_bits_for"]

U8 = NDArray[np.uint8]
U32 = NDArray[np.uint32]
#: Vertices whose edges lie together, where vectors lie apart from them.
GROUP = 64
CHUNK = 4096
#: Codes that are scanned rather than one vertex is read and its neighbours are scored.
SCAN_FACTOR = 160
_MOST_WIDER = 16.0


@dataclass(frozen=True, slots=True)
class TierGraphEffort:
    """What a query may cost.

    Attributes:
        beam: candidates that a walk keeps; at least k are.
        rerank: of those, as the codes order them, whose vectors are read where a walk has not read them already (with
            filters, or where vectors lie apart from the edges); None: all of the beam.
        width: vertices that a walk asks for at once: the more, the fewer round trips and the more reads.
        in_flight: queries of a thread that are under way.
    """

    beam: int = 32
    rerank: int | None = None
    width: int = 4
    in_flight: int = 32


class TierGraphFound(NamedTuple):
    """Slots int64 and distances float32 [queries, k] (-1 and infinite where there are fewer), and what each cost.

    Attributes:
        reads: of the tier; round_trips: batches of them that had to wait for one another.
        hops: vertices whose edges were looked at, those kept in memory among them.
        tier_bytes: read from the tier.
    """

    slots: NDArray[np.int64]
    distances: NDArray[np.float32]
    reads: NDArray[np.int32]
    round_trips: NDArray[np.int32]
    hops: NDArray[np.int32]
    tier_bytes: NDArray[np.int64]


def id_bits_for(count: int) -> int:
    """Return bits of a neighbour's id in a graph of `count` vertices that may grow to twice as many."""
    return min(31, (2 * count + 64).bit_length())


class TierGraph:
    """Vectors by slot. Searches run beside one another and beside changes, which come one after the other.

    Every call that reads or writes records takes a tier object of the region that holds them (a search one for each
    thread), so that a graph can go to another region: copy `tier_bytes` from its start, then pass the other.
    """

    def __init__(self, space: Space, options: GraphOptions, codes: WalkCodes, *, id_bits: int, beside: bool) -> None:
        """Make an empty graph; `from_graph` and `load` are the ways to have one with vectors.

        Raises:
            VectorError: there are no compiled kernels, or the codes have other than 8 bits.
        """
        if codes.bits != 8:
            raise VectorError(f"bits: a graph in a tier has codes of 8, got {codes.bits}")
        self.native: Any = extension()
        if self.native is None:
            raise VectorError("a graph in a tier: needs the compiled kernels; accepted: clusters, or a graph in memory")
        self.space, self.options, self.codes = space, options, codes
        self.id_bits, self.beside = id_bits, beside
        lead = codes.lines * LINE_COORDINATES - NORM_COORDINATES
        self._graph: Any = self.native.TierGraph(
            *space.codes, np.ascontiguousarray(codes.rotation[:lead]), codes.center, codes.lines, codes.step,
            codes.longest, options.neighbours(codes.bits), options.beam, options.alpha, options.seed, id_bits,
            1 if beside else GROUP,
        )  # fmt: skip

    @classmethod
    def from_graph(
        cls, graph: Graph, tier: Tier, vectors: Vectors, *, beside: bool = True, keep_bytes: int = 0
    ) -> TierGraph:
        """Return a graph that was built in memory as one in a tier, which its records are written to.

        Args:
            graph: of compiled kernels, without removed vectors; may be dropped afterwards.
            tier: at least `bytes_for` large.
            vectors: rows by slot.
            beside: whether vectors lie beside the edges.
            keep_bytes: of records that are kept in memory too: where walks begin, then the most pointed at.

        Raises:
            VectorError: removed vectors are there still; there are no compiled kernels.
            TierError: the tier cannot be written. ValueError: it is too small.
        """
        if graph.codes is None or graph.removed:
            raise VectorError(f"graph: {graph.removed} removed vectors are there; accepted: none, consolidate first")
        parts = graph.save()
        made = cls(graph.space, graph.options, graph.codes, id_bits=id_bits_for(len(parts["slots"])), beside=beside)
        none = np.zeros(0, np.uint32)
        made._graph.restore(parts["slots"], parts["codes"], none, parts["entries"])
        edges = parts["edges"].reshape(-1, graph.degree)
        slots = np.where(parts["slots"] == 0xFFFFFFFF, 0, parts["slots"])
        for first in range(0, len(edges), CHUNK):
            some = slice(first, first + CHUNK)
            made._graph.fill(tier, first, edges[some], as_bytes(np.ascontiguousarray(vectors[slots[some]])))
        made.keep(tier, _hottest(edges, parts["entries"], keep_bytes // max(1, made.read_bytes)))
        return made

    def keep(self, tier: Tier, vertices: U32) -> None:
        """Keep the records of these vertices in memory, in place of those kept before."""
        self._graph.keep(tier, np.ascontiguousarray(vertices, np.uint32))

    @property
    def count(self) -> int:
        """Vectors that can be found."""
        return self._graph.live

    @property
    def removed(self) -> int:
        """Removed vectors whose places are not free yet."""
        return self._graph.removed

    @property
    def record_bytes(self) -> int:
        """Of a vertex in the tier."""
        return self._graph.record_bytes

    @property
    def read_bytes(self) -> int:
        """Of a vertex on a walk."""
        return self.record_bytes if self.beside else self.record_bytes - self.space.row_bytes

    @property
    def dram_bytes(self) -> int:
        """Bytes of memory that the graph takes."""
        return self._graph.dram_bytes

    @property
    def tier_bytes(self) -> int:
        """Bytes of the region, from its start, that records lie in."""
        return self._graph.tier_bytes

    def search(
        self,
        tiers: Sequence[Tier],
        queries: Vectors,
        k: int,
        effort: TierGraphEffort = TierGraphEffort(),
        allowed: U8 | None = None,
        *,
        scan: bool | None = None,
    ) -> TierGraphFound:
        """Return the nearest k of each query, on as many threads as there are tiers.

        Args:
            tiers: objects of the region that holds the records, one a thread.
            queries: [n, columns], as `check_vectors` returns them.
            k: 1 and above.
            effort: what a query may cost.
            allowed: bitmap of slots that may be found, the lowest bit of a byte first; None: all.
            scan: score the codes of all that are allowed and read the best, in place of a walk; None: where few are.

        Raises:
            TierError: the tier does not answer, or holds other bytes than were written.
        """
        numbers, given = self._numbers(effort, k, allowed, scan)
        into = _places(len(queries), k)
        self._graph.search(list(tiers), self._bytes(queries), k, numbers, given, into)
        return _found(into)

    def estimates(self, tier: Tier, queries: Vectors, k: int, allowed: U8 | None = None) -> TierGraphFound:
        """Return the nearest k by the codes of all vectors, without a read; `tier` may be any."""
        into = _places(len(queries), k)
        given = None if allowed is None else np.ascontiguousarray(allowed, np.uint8)
        self._graph.search([tier], self._bytes(queries), k, (k, k, 1, 1, True, False), given, into)
        return _found(into)

    def stream(self, tiers: Sequence[Tier], in_flight: int = 32, width: int = 8) -> TierGraphStream:
        """Return a place where searches of any number of threads join one another.

        Args:
            tiers: objects of the region that holds the records; each has a thread of its own.
            in_flight: queries of a thread that are under way.
            width: of any query that will come, at most.
        """
        return TierGraphStream(self, tiers, in_flight, width)

    def _numbers(
        self, effort: TierGraphEffort, k: int, allowed: U8 | None, scan: bool | None
    ) -> tuple[tuple[int, int, int, int, bool, bool], U8 | None]:
        if k < 1:
            raise VectorError(f"k: must be at least 1, got {k}")
        beam = max(effort.beam, k)
        rerank = max(k, effort.rerank or beam)
        if allowed is None:
            return (beam, rerank, effort.width, effort.in_flight, bool(scan), True), None
        allowed = np.ascontiguousarray(allowed, np.uint8)
        count = int(np.bitwise_count(allowed).sum())
        share = min(1.0, max(1, count) / max(1, self.count))
        # All that are met count, not only those that stay in the beam.
        wide = int(beam * min(_MOST_WIDER, share**-0.5))
        if scan is None:
            scan = count <= SCAN_FACTOR * wide
        return (wide, rerank, effort.width, effort.in_flight, scan, True), allowed

    def insert(self, tier: Tier, slots: NDArray[Any], vectors: Vectors) -> None:
        """Add vectors [n, columns] at slots that are not there, through the tier; searches find them when it returns.

        Edges are chosen by the codes. Each vector takes some round trips, one record and up to `degree` rows of edges.

        Raises:
            VectorError: a slot is there.
            ValueError: the region has no room left (TierFull). TierError: it cannot be read or written. Those vectors
                that come before are in.
        """
        slots = np.ascontiguousarray(slots, np.uint32)
        there = next((int(slot) for slot in slots if self._graph.has(int(slot))), None)
        if there is not None or len(np.unique(slots)) != len(slots):
            raise VectorError(f"slots: {'one' if there is None else there} is in the graph already, or twice")
        self._graph.insert(tier, slots, self._bytes(vectors))

    def remove(self, slots: NDArray[Any]) -> int:
        """Find slots no more; those that are not there are passed over. Return how many were."""
        return self._graph.remove(np.ascontiguousarray(slots, np.uint32))

    def consolidate(self, tier: Tier, *, most: int | None = None) -> bool:
        """Link around removed vertices (Singh et al. 2021, algorithm 4), through the tier, and free their places.

        Args:
            tier: where the records are.
            most: vertices whose edges are looked at; the next call goes on behind them. None: all.

        Returns:
            Whether nothing is left to do.
        """
        return self._graph.consolidate(tier, 2**63 if most is None else most)

    def has(self, slot: int) -> bool:
        """Return whether a slot is there."""
        return self._graph.has(slot)

    def vectors(self, tier: Tier, slots: NDArray[Any]) -> Vectors:
        """Return exact vectors [n, columns]; IndexError for a slot that is not there."""
        out = np.empty((len(slots), self.space.row_bytes), np.uint8)
        self._graph.vectors(tier, np.ascontiguousarray(slots, np.uint32), out)
        return out.view(self.space.dtype).reshape(len(slots), self.space.columns)

    def neighbours(self, tier: Tier, vertex: int) -> list[int]:
        """Return the vertices that one is linked to, as its record has them."""
        return self._graph.neighbours(tier, vertex)

    def walked(self, queries: Vectors) -> NDArray[np.int8]:
        """Return the codes of queries as walks take them: int8 [n, bytes of a code], negated."""
        out = np.empty((len(queries), self.codes.lines * LINE_COORDINATES), np.int8)
        self._graph.walked(self._bytes(queries), out)
        return out

    def save(self) -> dict[str, NDArray[Any]]:
        """Return what is in memory, as arrays; the records are in the tier."""
        facts = np.array([self.id_bits, self.beside], np.int64)
        return self._graph.saved() | {"layout": facts} | self.codes.arrays()

    @classmethod
    def load(cls, space: Space, options: GraphOptions, arrays: dict[str, NDArray[Any]], tier: Tier) -> TierGraph:
        """Return the graph of which `save` returned the arrays, its records in a tier.

        Raises:
            VectorError: a part is missing or does not fit the others; there are no compiled kernels.
            TierError: the tier cannot be read.
        """
        try:
            id_bits, beside = (int(fact) for fact in arrays["layout"])
            graph = cls(space, options, WalkCodes.from_arrays(arrays), id_bits=id_bits, beside=bool(beside))
            parts = (np.ascontiguousarray(arrays[part]) for part in ("slots", "codes", "removed", "entries"))
            graph._graph.restore(*parts)
            if tier.size < graph.tier_bytes:
                raise VectorError(f"tier: has {tier.size} bytes; accepted: {graph.tier_bytes} and more")
            graph.keep(tier, arrays["cached"])
        except (KeyError, ValueError, TypeError) as error:
            raise VectorError(f"graph: its parts do not fit together: {error}") from None
        return graph

    def _bytes(self, vectors: Vectors) -> U8:
        if vectors.ndim != 2 or vectors.shape[1] != self.space.columns or vectors.dtype != self.space.dtype:
            shape, kind = list(vectors.shape), vectors.dtype
            raise VectorError(f"vectors: must be {self.space.dtype} [n, {self.space.columns}], got {kind} {shape}")
        return np.ascontiguousarray(vectors).view(np.uint8).reshape(len(vectors), self.space.row_bytes)


class TierGraphStream:
    """Searches that join those under way, on threads of their own (one a tier): see `TierGraph.stream`.

    A query begins as soon as there is room. Searches of few queries go first, in the order in which they come; of those
    that begin one in four is of a search of many.
    """

    def __init__(self, graph: TierGraph, tiers: Sequence[Tier], in_flight: int, width: int) -> None:
        self._graph, self.width = graph, width
        self._stream: Any = graph.native.TierGraphStream(graph._graph, list(tiers), in_flight, width)

    def search(self, queries: Vectors, k: int, effort: TierGraphEffort, allowed: U8 | None = None) -> TierGraphFound:
        """Search as `TierGraph.search` does, at most `width` vertices at once.

        Raises:
            TierError: the tier does not answer. The stream has ended then.
        """
        graph, into = self._graph, _places(len(queries), k)
        numbers, given = graph._numbers(self._suited(effort), k, allowed, None)
        graph._graph.search_streamed(self._stream, graph._bytes(queries), k, numbers, given, into)
        return _found(into)

    def replay(
        self, queries: Vectors, k: int, effort: TierGraphEffort, due: NDArray[np.float64]
    ) -> tuple[TierGraphFound, NDArray[np.float64]]:
        """Answer queries that come at given seconds from now (ascending), in turn those of `queries`.

        Returns:
            what was found [due, k], and seconds from when each was due until it was answered.
        """
        graph, into, waited = self._graph, _places(len(due), k), np.empty(len(due))
        numbers, _ = graph._numbers(self._suited(effort), k, None, None)
        times = np.ascontiguousarray(due, float)
        graph._graph.replay(self._stream, graph._bytes(queries), k, numbers, times, into, waited)
        return _found(into), waited

    def _suited(self, effort: TierGraphEffort) -> TierGraphEffort:
        return replace(effort, width=min(effort.width, self.width))


def _hottest(edges: U32, entries: U32, most: int) -> U32:
    """Where walks begin, then those that the most edges lead to."""
    pointed = np.bincount(edges.reshape(-1), minlength=len(edges)) if len(edges) else np.zeros(0, np.int64)
    pointed[entries] = np.iinfo(np.int64).max
    order = np.argsort(-pointed, kind="stable")
    return np.sort(order[:most]).astype(np.uint32)


_Places = tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int32], NDArray[np.int64]]


def _places(count: int, k: int) -> _Places:
    slots, distances = np.empty((count, k), np.int64), np.empty((count, k), np.float32)
    return slots, distances, np.zeros((3, count), np.int32), np.zeros(count, np.int64)


def _found(places: _Places) -> TierGraphFound:
    slots, distances, counts, tier_bytes = places
    return TierGraphFound(slots, distances, counts[0], counts[1], counts[2], tier_bytes)
