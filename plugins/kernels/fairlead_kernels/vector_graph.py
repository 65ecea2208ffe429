"""A graph of vectors (Vamana) that is walked by 8 or 4 bit codes of their leading coordinates, all in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels.backend import extension
from fairlead_kernels.reference_vector_graph import ReferenceGraph
from fairlead_kernels.vectors import Space, VectorError, Vectors, as_bytes, as_floats
from fairlead_kernels.walk_training import WalkCodes, train_walk_codes

U32 = NDArray[np.uint32]
Keep = Literal["exact", "codes", "fine", "walk"]

#: Parts of a saved graph, in the order in which native code gives them.
PARTS = ("slots", "edges", "codes", "rows", "more", "removed", "entries")
#: Of what is kept beside the walk's codes: bits of a leading coordinate, the code's included, and of a trailing one.
ROW_BITS = {"exact": (0, 0), "codes": (9, 6), "fine": (12, 12), "walk": (0, 0)}
CHUNK = 8192
SLACK = 32
#: Neighbours of a vertex unless they are given, by the bits of a code's coordinate.
DEGREES = {8: 32, 4: 48}
#: Codes that are scanned rather than one is met by a walk. They cost less each, and a scan misses none: a walk does
#: where what is allowed does not lie around the query.
SCAN_FACTOR = 3.0


class GraphFound(NamedTuple):
    """The nearest vectors of each query, and what finding them took.

    Attributes:
        slots: int64 [n, k]; -1 where fewer were found.
        distances: float32 [n, k], infinite where the slot is -1; as good as the codes where those are all that is kept.
        hops: uint32 [n]: vertices whose neighbours were looked at.
        scored: uint32 [n]: codes read.
    """

    slots: NDArray[np.int64]
    distances: NDArray[np.float32]
    hops: U32
    scored: U32


@dataclass(frozen=True, slots=True)
class GraphOptions:
    """How a graph is made.

    Attributes:
        degree: neighbours of a vertex, a multiple of 16. None: 32, and 48 where codes have 4 bits: such vectors have
            neighbours in more directions, and a walk finds them in fewer turns.
        beam: of the searches for a new vertex's candidates.
        alpha: of the pruning (Subramanya et al. 2019), for squared distances.
        lines: cache lines of a code, 1 and above: 64 bytes hold 60 coordinates of 8 bits or 120 of 4. None: up to 4, as
            many as hold 95 % of the vectors' variance.
        keep: what orders the last candidates. ``exact``: the vectors themselves; ``codes``: 9 bits of the
            leading coordinates and 6 of the others; ``fine``: 12 bits of all; ``walk``: nothing, for a graph that goes
            to a tier (`vector_tier_graph`), whose own searches are as good as the walk's codes.
        seed: of everything that is drawn.
        bits: of a code's coordinate, 8 or 4. None: 4 where 8 would take 3 lines or more, except for ``codes``, whose
            rows then cost about as much more to unpack as walks save. Graphs that go to a tier have 8.
    """

    degree: int | None = None
    beam: int = 96
    alpha: float = 1.1
    lines: int | None = None
    keep: Keep = "exact"
    seed: int = 0
    bits: int | None = None

    def __post_init__(self) -> None:
        if self.degree is not None and (self.degree < 16 or self.degree % 16 or self.degree > 256):
            raise VectorError(f"degree: must be a multiple of 16 up to 256, got {self.degree}")
        if not 1 <= self.beam <= 4096:
            raise VectorError(f"beam: must be 1..4096, got {self.beam}")
        if not 1.0 <= self.alpha <= 4.0:
            raise VectorError(f"alpha: must be 1..4, got {self.alpha}")
        if self.lines is not None and not 1 <= self.lines <= 64:
            raise VectorError(f"lines: must be 1..64, got {self.lines}")
        if self.bits not in (None, 4, 8):
            raise VectorError(f"bits: must be 4 or 8, got {self.bits}")
        if self.keep == "walk" and self.bits == 4:
            raise VectorError("bits: must be 8 for a graph that goes to a tier")
        if self.keep not in ROW_BITS:
            raise VectorError(f"keep: must be one of {', '.join(ROW_BITS)}, got {self.keep!r}")

    def neighbours(self, bits: int) -> int:
        """Return the neighbours of a vertex, where a code's coordinate has so many bits."""
        return self.degree or DEGREES[bits]


class Graph:
    """Vectors by slot. Searches and changes may run in any number of threads; changes come one after the other.

    Results depend neither on the number of threads nor on which queries come together. Without compiled kernels the
    same is computed in NumPy (`fairlead_kernels.backend.backend` says which and why), on exact distances and slowly.
    """

    def __init__(self, space: Space, options: GraphOptions, codes: WalkCodes | None) -> None:
        """Make an empty graph; `build` and `load` are the ways to have one with vectors."""
        self.space, self.options, self.codes = space, options, codes
        self.degree = options.neighbours(8 if codes is None else codes.bits)
        """Neighbours of a vertex."""
        native = extension()
        leading_bits, tail_bits = ROW_BITS[options.keep]
        if native is None or codes is None:
            self._native: Any = None
            self._reference = ReferenceGraph(space, self.degree, options.beam, options.alpha)
        else:
            self._native = native.VectorGraph(
                *space.codes, codes.rotation, codes.center, codes.lines, codes.bits, codes.step, codes.tail_step,
                codes.longest, self.degree, options.beam, options.alpha, options.seed, options.keep == "exact",
                max(0, leading_bits - codes.bits), tail_bits or 8,
            )  # fmt: skip

    @classmethod
    def build(
        cls,
        space: Space,
        slots: NDArray[Any],
        vectors: Vectors,
        options: GraphOptions | None = None,
        *,
        threads: int = 1,
        memory_bytes: int | None = None,
        told: Callable[[int, int], object] | None = None,
    ) -> Graph:
        """Build a graph of the rows ``vectors[slots]``.

        Args:
            space: of the vectors.
            slots: [n], without repetition.
            vectors: [more than the largest slot, columns], as `check_vectors` returns them; read in pieces.
            options: None: the defaults.
            threads: that compute.
            memory_bytes: that graph and build may take beside `vectors`; None: not limited.
            told: called with (vertices linked, vertices); what it raises ends the build.

        Raises:
            VectorError: arguments are not what is accepted, or the memory does not suffice: nothing is allocated then.
        """
        options = options or GraphOptions()
        if options.keep in ("codes", "fine") and space.metric == "dot":
            raise VectorError("keep: must be exact for dot: products of codes are too coarse")
        slots = _slots(slots)
        _check_rows(space, vectors, "vectors")
        if len(np.unique(slots)) != len(slots):
            raise VectorError("slots: one is there twice")
        if len(slots) and int(slots.max()) >= len(vectors):
            raise VectorError(f"slots: {int(slots.max())} has no row; vectors has {len(vectors)}")
        bits = options.bits or (None if options.keep in ("exact", "fine") else 8)
        codes = train_walk_codes(space, vectors, slots, options.lines, bits, ROW_BITS[options.keep][1], options.seed)
        graph = cls(space, options, codes)
        needed = graph.build_bytes(len(slots), threads)
        if memory_bytes is not None and needed > memory_bytes:
            raise VectorError(f"memory_bytes: {memory_bytes}; accepted: at least {needed} for {len(slots)} vectors")
        graph._fill(slots, vectors, threads, told)
        return graph

    def build_bytes(self, count: int, threads: int = 1) -> int:
        """Return what building a graph of so many vectors takes, the graph included."""
        sample = 0 if self.codes is None else self.codes.training_bytes
        return count * (self.vertex_bytes + (self.degree + SLACK) * 4 + 24) + threads * (1 << 20) + sample

    @property
    def vertex_bytes(self) -> int:
        """Bytes that one more vector takes."""
        if self._native is None:
            return self.space.row_bytes + self.degree * 8
        return self._native.vertex_bytes

    def _fill(self, slots: U32, vectors: Vectors, threads: int, told: Callable[[int, int], object] | None) -> None:
        if self._native is None:
            self._reference.insert([int(s) for s in slots], vectors[slots])
            return
        self._native.reserve(len(slots))
        for first in range(0, len(slots), CHUNK):
            some = slots[first : first + CHUNK]
            self._native.append(some, as_bytes(vectors[some]))
        self._native.build(threads, told)

    @property
    def count(self) -> int:
        """Vectors that can be found."""
        if self._native is None:
            return len(self._reference.rows) - len(self._reference.gone)
        return self._native.live

    @property
    def removed(self) -> int:
        """Removed vectors whose places are not free yet."""
        return len(self._reference.gone) if self._native is None else self._native.removed

    @property
    def bytes(self) -> int:
        """Bytes of memory that the graph takes."""
        if self._native is None:
            return len(self._reference.rows) * self.vertex_bytes
        return self._native.bytes

    def search(
        self,
        queries: Vectors,
        k: int,
        *,
        beam: int = 32,
        rerank: int | None = None,
        allowed: NDArray[np.uint8] | None = None,
        threads: int = 1,
        in_flight: int = 3,
    ) -> GraphFound:
        """Return the nearest k of each query [n, columns].

        Args:
            queries: as `check_vectors` returns them.
            k: 1 and above.
            beam: candidates that a walk keeps; at least k are.
            rerank: candidates whose vectors are compared; None: the whole beam.
            allowed: bitmap of slots that may be found, the lowest bit of a byte first; slots beyond it may not. Where
                few are allowed their codes are scanned, else the walk goes through all and collects them.
            threads: that share the queries.
            in_flight: queries that a thread walks with by turns.
        """
        _check_rows(self.space, queries, "queries")
        for name, value in (("k", k), ("beam", beam), ("threads", threads), ("in_flight", in_flight)):
            if value < 1:
                raise VectorError(f"{name}: must be at least 1, got {value}")
        beam = max(beam, k)
        rerank = max(k, min(rerank or beam, beam))
        if self._native is None:
            return self._search_reference(queries, k, beam, allowed)
        wide, scan = beam, False
        if allowed is not None:
            allowed = np.ascontiguousarray(allowed, np.uint8)
            wide, scan = self._filtered(allowed, beam)
        into = _places(len(queries), k)
        self._native.search(as_bytes(queries), wide, rerank, in_flight, threads, allowed, scan, *into)
        return _found(*into)

    def stream(self, threads: int = 1, width: int = 4) -> GraphStream | None:
        """Return a place where searches of any number of threads join one another; None without compiled kernels.

        Args:
            threads: that walk.
            width: queries that a thread walks with by turns.
        """
        return None if self._native is None else GraphStream(self, threads, width)

    def _filtered(self, allowed: NDArray[np.uint8], beam: int) -> tuple[int, bool]:
        """Return the beam of a walk that meets enough allowed ones, and whether scanning those is cheaper."""
        count = int(np.bitwise_count(allowed).sum())
        share = min(1.0, max(1, count) / max(1, self.count))
        # All that are met count, not only those that stay in the beam.
        wide = int(beam * min(16.0, share**-0.5))
        if count <= SCAN_FACTOR * wide * self.degree:
            return beam, True
        return wide, False

    def _search_reference(self, queries: Vectors, k: int, beam: int, allowed: NDArray[np.uint8] | None) -> GraphFound:
        slots = np.full((len(queries), k), -1, np.int64)
        distances = np.full((len(queries), k), np.inf, np.float32)
        chosen = None if allowed is None else np.unpackbits(allowed, bitorder="little").astype(bool)
        for row, query in enumerate(queries):
            found, measured = self._reference.search(query, k, beam, chosen)
            slots[row, : len(found)], distances[row, : len(found)] = found, measured
        return GraphFound(slots, distances, *np.zeros((2, len(queries)), np.uint32))

    def insert(self, slots: NDArray[Any], vectors: Vectors, *, threads: int = 1) -> None:
        """Add vectors [n, columns] at slots that are not there; searches find them when it returns.

        Raises:
            VectorError: a slot is there, or the vectors are not of the space.
        """
        slots = _slots(slots)
        _check_rows(self.space, vectors, "vectors")
        if len(slots) != len(vectors):
            raise VectorError(f"slots: {len(slots)} for {len(vectors)} vectors")
        try:
            if self._native is None:
                self._insert_reference(slots, vectors)
            else:
                self._native.insert(slots, as_bytes(vectors), threads)
        except ValueError as error:
            raise VectorError(str(error)) from None

    def _insert_reference(self, slots: U32, vectors: Vectors) -> None:
        there = [int(s) for s in slots if int(s) in self._reference.rows]
        if there or len(set(slots.tolist())) != len(slots):
            raise VectorError(f"slots: {there[:1] or 'one'} is in the graph already")
        self._reference.insert([int(s) for s in slots], vectors)

    def remove(self, slots: NDArray[Any]) -> int:
        """Find slots no more; those that are not there are passed over. Return how many were."""
        slots = _slots(slots)
        return self._reference.remove(slots.tolist()) if self._native is None else self._native.remove(slots)

    def consolidate(self, *, threads: int = 1, most: int | None = None) -> bool:
        """Link around the removed vertices and free their places (Singh et al. 2021, algorithm 4).

        Args:
            threads: that compute.
            most: vertices to look at; the next call goes on behind them. None: all.

        Returns:
            Whether nothing is left to do.
        """
        if self._native is None:
            self._reference.consolidate()
            return True
        return self._native.consolidate(threads, 2**63 if most is None else most)

    def vectors(self, slots: NDArray[Any]) -> Vectors:
        """Return the vectors [n, columns] of slots, which the graph keeps; IndexError for one not there."""
        slots = _slots(slots)
        out = np.empty((len(slots), self.space.columns), self.space.dtype)
        if self.options.keep != "exact":
            raise VectorError("keep: this graph keeps codes; vectors are where they were taken from")
        if self._native is not None:
            self._native.vectors(slots, as_bytes(out) if len(out) else np.empty((0, self.space.row_bytes), np.uint8))
            return out
        for row, slot in enumerate(slots.tolist()):
            if slot not in self._reference.rows or slot in self._reference.gone:
                raise IndexError("slots: a slot is not in the graph")
            out[row] = self._reference.rows[slot]
        return out

    def neighbours(self, slot: int) -> list[int]:
        """Return the slots that a slot is linked to, those removed left out."""
        if self._native is None:
            return [s for s in self._reference.edges[slot] if s not in self._reference.gone]
        return [s for s in self._native.neighbours(slot) if s != 0xFFFFFFFF]

    def entries(self) -> list[int]:
        """Return the slots where walks begin."""
        found = self._reference.entries if self._native is None else self._native.entries()
        return [s for s in found if s != 0xFFFFFFFF]

    def walked(self, queries: Vectors) -> NDArray[np.int8]:
        """Return queries as walks take them: int8 [n, bytes of a query], negated; of a graph of compiled kernels."""
        if self._native is None or self.codes is None:
            raise VectorError("walked: needs the compiled kernels")
        out = np.empty((len(queries), self.codes.query_bytes), np.int8)
        self._native.walked(as_bytes(queries), out)
        return out

    def save(self) -> dict[str, NDArray[Any]]:
        """Return all that `load` needs, as arrays; of a graph of compiled kernels."""
        if self._native is None or self.codes is None:
            raise VectorError("save: needs the compiled kernels")
        return dict(zip(PARTS, self._native.save(), strict=True)) | self.codes.arrays()

    @classmethod
    def load(cls, space: Space, options: GraphOptions, arrays: dict[str, NDArray[Any]]) -> Graph:
        """Return the graph of which `save` returned the arrays.

        Raises:
            VectorError: a part is missing or does not fit the others; compiled kernels are missing.
        """
        try:
            graph = cls(space, options, WalkCodes.from_arrays(arrays))
            if graph._native is None:
                raise VectorError("load: needs the compiled kernels")
            graph._native.restore(*(np.ascontiguousarray(arrays[part]) for part in PARTS))
        except (KeyError, ValueError, TypeError) as error:
            raise VectorError(f"graph: its parts do not fit together: {error}") from None
        return graph


class GraphStream:
    """Searches that join those under way, on threads of their own: see `Graph.stream`.

    A query begins as soon as there is room. Searches of few queries go first, in the order in which they come; of those
    that begin one in four is of a search of many.
    """

    def __init__(self, graph: Graph, threads: int, width: int) -> None:
        self._graph = graph
        native: Any = extension()
        self._stream: Any = native.GraphStream(graph._native, threads, width)

    def search(
        self,
        queries: Vectors,
        k: int,
        *,
        beam: int = 32,
        rerank: int | None = None,
        allowed: NDArray[np.uint8] | None = None,
    ) -> GraphFound:
        """Search as `Graph.search` does; where so few are allowed that scanning them is cheaper, it does that."""
        graph = self._graph
        _check_rows(graph.space, queries, "queries")
        beam = max(beam, k)
        wide = beam
        if allowed is not None:
            allowed = np.ascontiguousarray(allowed, np.uint8)
            wide, scan = graph._filtered(allowed, beam)
            if scan:
                return graph.search(queries, k, beam=beam, rerank=rerank, allowed=allowed)
        into = _places(len(queries), k)
        few = max(k, min(rerank or beam, beam))
        graph._native.search_streamed(self._stream, as_bytes(queries), wide, few, allowed, *into)
        return _found(*into)


_Places = tuple[NDArray[np.int64], NDArray[np.float32], U32]


def _places(count: int, k: int) -> _Places:
    return np.empty((count, k), np.int64), np.empty((count, k), np.float32), np.empty((2, count), np.uint32)


def _found(slots: NDArray[np.int64], distances: NDArray[np.float32], counters: U32) -> GraphFound:
    return GraphFound(slots, distances, counters[0], counters[1])


def _slots(slots: NDArray[Any]) -> U32:
    given = np.asarray(slots)
    if given.ndim != 1 or not (given.size == 0 or np.issubdtype(given.dtype, np.integer)):
        raise VectorError(f"slots: must be integers [n], got {given.dtype} {list(given.shape)}")
    if given.size and (int(given.min()) < 0 or int(given.max()) >= 0x7FFFFFFF):
        raise VectorError("slots: must be 0..2147483646")
    return np.ascontiguousarray(given, np.uint32)


def _check_rows(space: Space, rows: Vectors, name: str) -> None:
    if not isinstance(rows, np.ndarray) or rows.dtype != space.dtype or rows.shape[1:] != (space.columns,):
        raise VectorError(f"{name}: must be {space.dtype} [n, {space.columns}], as check_vectors returns them")


__all__ = ["Graph", "GraphFound", "GraphOptions", "GraphStream", "as_floats"]
