"""The graph index in a tier: codes in memory, edges and exact vectors in a region, walks that wait for it by turns."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels.vector_graph import DEGREES, Graph, GraphOptions
from fairlead_kernels.vector_tier_graph import (
    TierGraph,
    TierGraphEffort,
    TierGraphFound,
    TierGraphStream,
    id_bits_for,
)
from fairlead_kernels.vectors import VectorError
from fairlead_kernels.walk_training import LINE_COORDINATES, MOST_LINES

from ..errors import BudgetExceeded, CorruptFile, NotFound, StoreFull, TieredRetrievalError
from ..index import Found, Limits, Progress, Sizes, Told
from ..lists.tier_pool import TierPool
from ..space import Space
from ..tiers.local import DramRegion
from ..tiers.region import Region, TierError, TierLost
from .calibration import Calibration, K, calibrate, held_out, measured

#: Records of up to so many bytes hold edges and vector together: memory tiers read them in about the time of a shorter
#: one. A file is read in blocks anyway.
BESIDE, BLOCK = 1024, 4096
#: Of the vectors in float32: what codes with their tables may take in memory, and records that are kept there too.
CODE_SHARE, KEPT_SHARE = 0.08, 0.004
#: Vertices that a walk asks for at once, and queries of a thread that are under way.
WIDTH, IN_FLIGHT, IN_FLIGHT_DIRECT = 4, 32, 4
_ARRAYS, _FACTS, _RECORDS = "tier_graph.npz", "tier_graph.json", "records.bin"
_SAVED = "the vectors are kept elsewhere"
_PIECE = 1 << 20
#: Searches of so many queries join those of others that are under way.
_FEW = 8
#: Vertices whose edges are looked at between two looks at the clock; removed ones are linked around from this part on.
_AT_ONCE, _REMOVED_PART = 256, 16
_GROWTH, _LEAST = 8, 64


class TierGraphIndex:
    """A graph of which main memory holds the codes. Attributes and methods as `index.Index` has them.

    Args:
        space: of the vectors.
        graph: the kernel's index.
        region: that its records lie in.
        owned: whether the region is this index's own memory, which grows as needed.
        calibration: which beam reaches which recall.
    """

    kind = "graph"
    batched = True

    def __init__(self, space: Space, graph: TierGraph, region: Region, owned: bool, calibration: Calibration) -> None:
        self.space, self.calibration = space, calibration
        self._graph, self._pool, self._owned = graph, TierPool(region), owned
        self._linking = False
        self._changing = threading.RLock()

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
        beside: bool | None = None,
        **options: Any,
    ) -> TierGraphIndex:
        """Build the graph in memory by codes alone, write it into the region, and measure what recall takes there.

        Args:
            space: of the vectors.
            slots: ascending.
            vectors: by slot.
            limits: of memory, threads and chance.
            region: for edges and vectors; None: this process's memory.
            told: how far the build is.
            beside: whether vectors lie beside their edges; None: where a record is short enough for the tier.
            options: `GraphOptions`' own (degree, beam, alpha, lines).

        Raises:
            BudgetExceeded: before anything is allocated, where the limit is too low.
            TieredRetrievalError: the region is too small, an option is not known, or there are no compiled kernels.
        """
        chosen = _options(space, options, limits.seed)
        _check_memory(space, chosen, len(slots), limits, region)
        tell = told or (lambda share: None)
        out = held_out(len(slots), limits.seed)
        kept = np.delete(slots, out)
        place = region if region is not None else _memory(space, chosen, len(slots))
        try:
            graph = Graph.build(
                space,
                kept,
                vectors,
                chosen,
                threads=limits.threads,
                told=lambda done, total: tell(0.8 * done / max(1, total)),
            )
            record = space.bytes + 4 * -(-chosen.neighbours(8) * id_bits_for(len(slots)) // 32)
            short = record <= (BLOCK if place.kind == "file" else BESIDE)
            keep = int(KEPT_SHARE * 4 * space.dim * len(slots))
            lower = TierGraph.from_graph(
                graph, place.open_native(), vectors, beside=short if beside is None else beside, keep_bytes=keep
            )
        except VectorError as error:
            raise TieredRetrievalError(f"a graph in a tier: {error}") from error
        except ValueError as error:
            raise _too_small(place, error) from error
        del graph
        index = cls(space, lower, place, region is None, Calibration())
        queries = np.ascontiguousarray(vectors[slots[out]])
        index.calibration = calibrate(space, queries, vectors, kept, index._tried)
        tell(0.95)
        index.add(slots[out], queries)
        tell(1.0)
        return index

    @property
    def count(self) -> int:
        """Vectors that can be found."""
        return self._graph.count

    @property
    def requests(self) -> int:
        """Reads that the tier was asked for by the tier objects that are not lent."""
        return self._pool.requests

    def search(
        self,
        queries: NDArray,
        k: int,
        *,
        recall: float = 0.95,
        allowed: NDArray[np.uint8] | None = None,
        threads: int = 1,
    ) -> Found:
        """Walk the graph with the beam that reached the recall; by the codes of all alone (not `complete`) where the
        tier does not answer.
        """
        effort = self._effort(recall, k)
        try:
            with self._reader(len(queries), threads) as read:
                return _given(read(queries, k, effort, allowed))
        except TierError:
            # Edges are out of reach, codes are not: what those say is better than nothing, and is marked as such.
            spare = DramRegion("dram:", 64).open_native()
            return _given(self._graph.estimates(spare, queries, k, allowed), complete=False)

    @contextmanager
    def _reader(self, queries: int, threads: int) -> Iterator[Callable[..., TierGraphFound]]:
        """How to search: joining those under way, or by tier objects of one's own."""
        if queries <= _FEW and self._pool.searched:
            with self._pool.streaming(max(1, threads), self._stream) as stream:  # type: ignore[arg-type]
                yield stream.search  # type: ignore[union-attr]
            return
        with self._pool.lent(max(1, threads)) as tiers:
            yield lambda asked, k, effort, allowed: self._graph.search(tiers, asked, k, effort, allowed)

    def replay(
        self, queries: NDArray, k: int, due: NDArray[np.float64], *, recall: float = 0.95, threads: int = 1
    ) -> tuple[Found, NDArray[np.float64]]:
        """Answer queries, each by itself, that come at given seconds from now (ascending): in turn those of `queries`.

        Returns:
            what was found [due, k], and seconds from when each came until it was answered.

        Raises:
            TierError: the tier does not answer.
        """
        with self._pool.streaming(threads, self._stream) as stream:  # type: ignore[arg-type]
            found, waited = stream.replay(queries, k, self._effort(recall, k), due)  # type: ignore[union-attr, arg-type]
        return _given(found), waited  # type: ignore[arg-type]

    def add(self, slots: NDArray[np.int64], vectors: NDArray) -> None:
        """Link vectors into the graph, through the tier; own memory grows where it has no room.

        Raises:
            StoreFull: the region has no room; those before are in.
            TierError: it does not answer.
        """
        rows = np.ascontiguousarray(vectors)
        with self._changing:
            wanted = self._graph.tier_bytes + (len(slots) + 64) * self._graph.record_bytes
            if self._owned and wanted > self._pool.region.size:
                self._copy_to(DramRegion("dram:", wanted * 5 // 4))
            with self._pool.lent(1) as tiers:
                try:
                    self._graph.insert(tiers[0], slots, rows)
                except VectorError as error:
                    raise TieredRetrievalError(str(error)) from None
                except ValueError as error:
                    raise StoreFull(f"{self._pool.region.url}: {error}; accepted: a move to a larger one") from error

    def remove(self, slots: NDArray[np.int64]) -> None:
        """Remove slots; walks still lead through their places until `maintain` has linked around them."""
        self._graph.remove(slots)

    def busy(self) -> NDArray[np.int64]:
        """Return none: a slot that is added again gets another place."""
        return np.zeros(0, np.int64)

    def vectors(self, slots: NDArray[np.int64]) -> NDArray:
        """Return exact vectors from the tier."""
        try:
            with self._pool.lent(1) as tiers:
                return self._graph.vectors(tiers[0], slots)
        except IndexError as error:
            if all(self._graph.has(slot) for slot in slots.tolist()):
                # The region has shrunk.
                raise TierLost(str(error), self._pool.region.url) from error
            raise NotFound(f"{error} in the index") from error

    def sizes(self) -> Sizes:
        """Return what the index takes; own memory counts as the tier's."""
        return Sizes(self._graph.dram_bytes, self._graph.tier_bytes)

    def more_bytes(self, count: int) -> int:
        """Return what `count` more vectors would add: none while there is room."""
        each = self._graph.codes.lines * LINE_COORDINATES + 8
        wanted = self._graph.count + self._graph.removed + count
        own = 2 * (wanted + _LEAST) * self._graph.record_bytes if self._owned else 0
        # While an array is copied to a larger one, both are there.
        return own + (0 if wanted * each <= self._graph.dram_bytes else (wanted + wanted // _GROWTH + _LEAST) * each)

    def maintain(self, budget_s: float) -> Progress:
        """Link around removed vectors, through the tier, and free their places, once there are many of them."""
        if not self._linking and self._graph.removed * _REMOVED_PART <= self._graph.count:
            return Progress()
        self._linking, began = True, time.perf_counter()
        with self._changing, self._pool.lent(1) as tiers:
            while time.perf_counter() - began < budget_s:
                before = self._graph.removed
                if self._graph.consolidate(tiers[0], most=_AT_ONCE) or self._graph.removed < before:
                    self._linking = False
                    return Progress(before, before, "linking around removed vectors")
        return Progress(0, self._graph.removed, "linking around removed vectors")

    def calibrate(self, queries: NDArray, true: NDArray[np.int64]) -> None:
        """Measure with these queries which beam a recall takes; raises TierError where the tier does not answer."""
        self.calibration = measured(queries, true, self._tried)

    def save(self, folder: Path) -> None:
        """Write codes, tables and records: a region's records move on after this, what is saved must not."""
        with self._changing:
            np.savez(folder / _ARRAYS, **self._graph.save())
            with (folder / _RECORDS).open("wb") as file:
                for start, length in _pieces(self._graph.tier_bytes):
                    file.write(self._pool.region.read(start, length))
        options = {field.name: getattr(self._graph.options, field.name) for field in fields(GraphOptions)}
        (folder / _FACTS).write_text(json.dumps({"options": options, "calibration": asdict(self.calibration)}))

    @classmethod
    def saved_in(cls, folder: Path) -> bool:
        """Whether a folder holds one of these."""
        return (folder / _FACTS).is_file()

    @classmethod
    def load(cls, folder: Path, space: Space, *, region: Any = None) -> TierGraphIndex:
        """Read what `save` wrote, and write its records into the region; None: this process's memory."""
        try:
            facts = json.loads((folder / _FACTS).read_text())
            options = GraphOptions(**facts["options"])
            measured = facts["calibration"]
            calibration = Calibration(tuple(measured["beams"]), tuple(measured["recalls"]), measured["rerank"])
            size = (folder / _RECORDS).stat().st_size
            with np.load(folder / _ARRAYS, allow_pickle=False) as file:
                arrays = dict(file)
            place = region if region is not None else DramRegion("dram:", max(64, size + size // 16))
            _check_region(place, size)
            records = np.memmap(folder / _RECORDS, np.uint8, "r") if size else np.zeros(0, np.uint8)
            for start, length in _pieces(size):
                place.write(start, np.asarray(records[start : start + length]))
            graph = TierGraph.load(space, options, arrays, place.open_native())
        except TieredRetrievalError:
            raise
        except Exception as error:  # zip files have many ways to be broken
            problem = str(error).splitlines()[:1] or [type(error).__name__]
            raise CorruptFile(folder / _ARRAYS, 0, problem[0], _SAVED) from error
        return cls(space, graph, place, region is None, calibration)

    def move(self, region: Any) -> None:
        """Copy the records to another region, read them twice to be sure, and search there from then on."""
        with self._changing:
            self._copy_to(region)
            self._owned = False

    def _copy_to(self, region: Region) -> None:
        size = self._graph.tier_bytes
        _check_region(region, size)
        for start, length in _pieces(size):
            piece = self._pool.region.read(start, length)
            region.write(start, piece)
            if not np.array_equal(region.read(start, length), piece):
                raise TieredRetrievalError(f"{region.url}: holds other bytes than were written at {start}")
        self._pool.switch(region)

    def _effort(self, recall: float, k: int) -> TierGraphEffort:
        direct = self._pool.region.kind in ("dram", "numa")
        flights = IN_FLIGHT_DIRECT if direct else IN_FLIGHT
        return TierGraphEffort(self.calibration.beam(recall, k), self.calibration.candidates(k), WIDTH, flights)

    def _tried(self, queries: NDArray, beam: int, rerank: int) -> NDArray[np.int64]:
        """Results of a beam; of fewer candidates than that, what their order by codes alone is worth."""
        with self._pool.lent(1) as tiers:
            effort = TierGraphEffort(beam, rerank, WIDTH, IN_FLIGHT)
            return self._graph.search(tiers, queries, K, effort, scan=rerank < beam).slots

    def _stream(self, region: Region, tiers: Sequence[Any]) -> TierGraphStream:
        flights = IN_FLIGHT_DIRECT if region.kind in ("dram", "numa") else IN_FLIGHT
        return self._graph.stream(tiers, flights, WIDTH)


def _given(found: TierGraphFound, complete: bool = True) -> Found:
    return Found(found.slots, found.distances, found.reads, found.round_trips, found.tier_bytes, complete)


def _options(space: Space, options: dict[str, Any], seed: int) -> GraphOptions:
    most = int((CODE_SHARE * 4 * space.dim - 8) // LINE_COORDINATES)
    lines = options.pop("lines", None) or (None if most >= MOST_LINES else max(1, most))
    try:
        return GraphOptions(**{"degree": DEGREES[8], **options}, lines=lines, keep="walk", seed=seed)
    except (TypeError, VectorError) as error:
        raise TieredRetrievalError(f"options of a graph: {error}") from None


def _pieces(size: int) -> Iterator[tuple[int, int]]:
    return ((start, min(_PIECE, size - start)) for start in range(0, size, _PIECE))


def _memory(space: Space, options: GraphOptions, count: int) -> Region:
    return DramRegion("dram:", (count + count // 16 + 128) * (space.bytes + 4 * options.neighbours(8)))


def _check_region(region: Region, size: int) -> None:
    if region.size < size:
        raise TieredRetrievalError(f"{region.url}: has {region.size} bytes; accepted: {size} and more for its records")


def _too_small(region: Region, error: ValueError) -> TieredRetrievalError:
    return TieredRetrievalError(f"{region.url}: {region.size} bytes are too few for edges and vectors: {error}")


def _check_memory(space: Space, options: GraphOptions, count: int, limits: Limits, region: Any) -> None:
    if limits.memory_bytes is None:
        return
    # Codes three times (the graph, its copy for the tier, the one that stays), edges twice, ids, the sample.
    each = 3 * LINE_COORDINATES * (options.lines or MOST_LINES) + (2 * options.neighbours(8) + 32 + 10) * 4
    each += 0 if region is not None else space.bytes + 4 * options.neighbours(8)
    needed = count * each + 8192 * space.dim * 16 + space.dim**2 * 32 + limits.threads * (1 << 20)
    if needed > limits.memory_bytes:
        raise BudgetExceeded(f"a graph of {count} vectors", needed, limits.memory_bytes)
