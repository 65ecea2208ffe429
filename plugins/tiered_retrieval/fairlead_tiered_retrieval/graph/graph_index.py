"""The graph index: a Vamana graph in main memory, walked by codes, with its effort set by a measured recall."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels.vector_graph import Graph, GraphOptions
from fairlead_kernels.vectors import VectorError

from ..errors import BudgetExceeded, CorruptFile, NotFound, TieredRetrievalError
from ..index import Found, Index, Limits, Progress, Sizes, Told
from ..space import Space
from .calibration import Calibration, calibrate, held_out, measured
from .joined import Joined
from .tier_graph_index import TierGraphIndex

_ARRAYS, _FACTS = "graph.npz", "graph.json"
_SAVED = "the vectors are kept elsewhere"
#: Vertices whose edges are looked at between two looks at the clock.
_AT_ONCE = 256
#: Removed vectors are linked around when they are so large a part of the others.
_REMOVED_PART = 16
#: By how much arrays grow when they are full, and at least how many places.
_GROWTH, _LEAST = 8, 64


class GraphIndex:
    """Vectors, codes and edges in memory. Attributes and methods as `index.Index` has them."""

    kind = "graph"
    batched = True

    def __init__(self, space: Space, graph: Graph, calibration: Calibration, threads: int = 1) -> None:
        self.space, self.calibration = space, calibration
        self._graph, self._threads = graph, threads
        self._linking = False
        self._searches = Joined(lambda: graph.stream(max(1, threads)))

    @classmethod
    def build(
        cls,
        space: Space,
        slots: NDArray[np.int64],
        vectors: NDArray,
        *,
        limits: Limits = Limits(),
        region: Any = None,
        told: Told | None = None,
        **options: Any,
    ) -> Index:
        """Build the graph without a few vectors, measure with those which beam a recall takes, and add them.

        `options` are `GraphOptions`' own (degree, beam, alpha, lines, bits, keep). With a region it is a graph in a
        tier (`TierGraphIndex`).
        """
        if region is not None:
            return TierGraphIndex.build(space, slots, vectors, limits=limits, region=region, told=told, **options)
        try:
            chosen = GraphOptions(**options, seed=limits.seed)
        except (TypeError, VectorError) as error:
            raise TieredRetrievalError(f"options of a graph: {error}") from None
        _check_memory(space, chosen, len(slots), limits)
        out = held_out(len(slots), limits.seed)
        kept = np.delete(slots, out)

        def tell(done: int, total: int) -> None:
            if told is not None:
                told(done / max(total, 1))

        graph = Graph.build(space, kept, vectors, chosen, threads=limits.threads, told=tell)
        queries = np.ascontiguousarray(vectors[slots[out]])
        calibration = calibrate(
            space,
            queries,
            vectors,
            kept,
            lambda q, beam, rerank: graph.search(q, 10, beam=beam, rerank=rerank, threads=limits.threads).slots,
        )
        graph.insert(slots[out], queries, threads=limits.threads)
        return cls(space, graph, calibration, limits.threads)

    @classmethod
    def load(cls, folder: Path, space: Space, *, region: Any = None) -> Index:
        """Read what `save` wrote, of this or of a graph in a tier."""
        if TierGraphIndex.saved_in(folder):
            return TierGraphIndex.load(folder, space, region=region)
        if region is not None:
            raise _in_memory(f"region = {region!r}")
        try:
            facts = json.loads((folder / _FACTS).read_text())
            with np.load(folder / _ARRAYS, allow_pickle=False) as arrays:
                graph = Graph.load(space, GraphOptions(**facts["options"]), dict(arrays))
            calibration = Calibration(tuple(facts["beams"]), tuple(facts["recalls"]), facts["rerank"])
        except Exception as error:  # zip files have many ways to be broken
            problem = str(error).splitlines()[:1] or [type(error).__name__]
            raise CorruptFile(folder / _ARRAYS, 0, problem[0], _SAVED) from error
        return cls(space, graph, calibration, facts["threads"])

    @property
    def count(self) -> int:
        """Vectors that can be found."""
        return self._graph.count

    def search(
        self,
        queries: NDArray,
        k: int,
        *,
        recall: float = 0.95,
        allowed: NDArray[np.uint8] | None = None,
        threads: int = 1,
    ) -> Found:
        """Walk the graph with the beam that reached the recall."""
        beam = self.calibration.beam(recall, k)
        rerank = self.calibration.candidates(k)
        with self._searches.one(len(queries)) as stream:
            if stream is None:
                found = self._graph.search(queries, k, beam=beam, rerank=rerank, allowed=allowed, threads=threads)
            else:
                found = stream.search(queries, k, beam=beam, rerank=rerank, allowed=allowed)
        none = np.zeros(len(queries), np.int32)
        return Found(found.slots, found.distances, none, none, none.astype(np.int64))

    def add(self, slots: NDArray[np.int64], vectors: NDArray) -> None:
        """Link vectors into the graph."""
        self._graph.insert(slots, np.ascontiguousarray(vectors), threads=self._threads)

    def remove(self, slots: NDArray[np.int64]) -> None:
        """Remove slots; walks still lead through their places until `maintain` has linked around them."""
        self._graph.remove(slots)

    def busy(self) -> NDArray[np.int64]:
        """Return none: a slot that is added again gets another place."""
        return np.zeros(0, np.int64)

    def vectors(self, slots: NDArray[np.int64]) -> NDArray:
        """Return exact vectors; refused by a graph that keeps codes only."""
        try:
            return self._graph.vectors(slots)
        except IndexError:
            raise NotFound("a slot is not in the index") from None
        except VectorError as error:
            raise TieredRetrievalError(str(error)) from None

    def sizes(self) -> Sizes:
        """Return what the index takes."""
        return Sizes(self._graph.bytes, 0)

    def more_bytes(self, count: int) -> int:
        """Return what `count` more vectors would add: none while there is room."""
        each = self._graph.vertex_bytes
        wanted = self._graph.count + self._graph.removed + count
        # While an array is copied to a larger one, both are there.
        return 0 if wanted * each <= self._graph.bytes else (wanted + wanted // _GROWTH + _LEAST) * each

    def maintain(self, budget_s: float) -> Progress:
        """Link around removed vectors and free their places, once there are many of them."""
        if not self._linking and self._graph.removed * _REMOVED_PART <= self._graph.count:
            return Progress()
        self._linking, began = True, time.perf_counter()
        while time.perf_counter() - began < budget_s:
            before = self._graph.removed
            if self._graph.consolidate(threads=self._threads, most=_AT_ONCE) or self._graph.removed < before:
                self._linking = False
                return Progress(before, before, "linking around removed vectors")
        return Progress(0, self._graph.removed, "linking around removed vectors")

    def calibrate(self, queries: NDArray, true: NDArray[np.int64]) -> None:
        """Measure with these queries which beam a recall takes."""
        self.calibration = measured(
            queries,
            true,
            lambda q, beam, rerank: self._graph.search(q, 10, beam=beam, rerank=rerank, threads=self._threads).slots,
        )

    def save(self, folder: Path) -> None:
        """Write arrays and facts."""
        np.savez(folder / _ARRAYS, **self._graph.save())
        options = self._graph.options
        names = ("degree", "beam", "alpha", "lines", "bits", "keep", "seed")
        facts = {
            "options": {name: getattr(options, name) for name in names} | {"degree": self._graph.degree},
            "beams": self.calibration.beams,
            "recalls": self.calibration.recalls,
            "rerank": self.calibration.rerank,
            "threads": self._threads,
        }
        (folder / _FACTS).write_text(json.dumps(facts))

    def move(self, region: Any) -> None:
        """Refuse: it lies in memory."""
        raise _in_memory(f"move to {region!r}")


def _in_memory(what: str) -> TieredRetrievalError:
    return TieredRetrievalError(
        f"{what} of a graph that was built in memory; accepted: one that is built with a region, or lists"
    )


def _check_memory(space: Space, options: GraphOptions, count: int, limits: Limits) -> None:
    if limits.memory_bytes is None:
        return
    row = space.row_bytes if options.keep == "exact" else space.dim
    # Codes, edges while building and afterwards, ids, the sample that the rotation is learned from.
    each = row + 64 * (options.lines or 4) + (2 * options.neighbours(options.bits or 4) + 32 + 10) * 4
    needed = count * each + 8192 * space.dim * 16 + space.dim**2 * 32 + limits.threads * (1 << 20)
    if needed > limits.memory_bytes:
        raise BudgetExceeded(f"a graph of {count} vectors", needed, limits.memory_bytes)
