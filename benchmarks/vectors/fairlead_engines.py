"""Our indexes as engines of `benchmarks.peers.vector_worker`. Settings are the recall that a search asks for."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.vectors.queueing import Server, arrivals, paused_waits, pauses_of, percentiles, waits
from fairlead_tiered_retrieval.flat_index import FlatIndex
from fairlead_tiered_retrieval.graph.tier_graph_index import TierGraphIndex
from fairlead_tiered_retrieval.index import Index, IndexKind, Limits
from fairlead_tiered_retrieval.lists import ListIndex
from fairlead_tiered_retrieval.space import Space
from fairlead_tiered_retrieval.store.policy import index_kind
from fairlead_tiered_retrieval.tiers.urls import open_region

#: Asked for; what comes is measured.
RECALLS = [0.70, 0.80, 0.85, 0.90, 0.925, 0.95, 0.97, 0.98, 0.99, 0.995, 0.999]
#: Queries that are there at once where the most that a stream answers is measured, those that come alone, and trials.
FULL, ALONE, TRIES = 4000, 200, 4
READ_S = 1.5


class IndexEngine:
    """One index.

    Args:
        kind: graph, lists, flat or tier-graph (a graph whose edges and vectors lie in a tier).
        region: URL of where exact vectors are moved to after opening; empty: they stay where they are.
        options: of the kind's build.
    """

    takes = "as they are"
    sweep = ("recall asked", RECALLS)

    def __init__(self, kind: str, region: str = "", options: Mapping[str, Any] | None = None) -> None:
        self._kind, self._url, self._options = kind, region, dict(options or {})
        self._index: Index | None = None
        self._region: Any = None
        self._told: dict[str, float] = {}

    @property
    def index(self) -> Index:
        """The index that is open."""
        if self._index is None:
            raise RuntimeError("no index is open; accepted: open first")
        return self._index

    def build(self, base: np.ndarray, folder: Path, threads: int) -> None:
        """Build and save."""
        limits = Limits(threads=threads, seed=1)
        slots = np.arange(len(base), dtype=np.int64)
        self._index = class_of(self._kind).build(space_of(base), slots, base, limits=limits, **self._options)
        self.index.save(folder)

    def open(self, folder: Path, base: np.ndarray) -> None:
        """Load, and move the vectors to their tier."""
        space = space_of(base)
        self._index = class_of(self._kind).load(folder, space)
        if self._url:
            room = int(1.05 * self.index.sizes().tier_bytes) + (1 << 20)
            self._region = open_region(self._url, (room + 4095) // 4096 * 4096)
            self.index.move(self._region)

    def calibrate(self, queries: str, truth: str, count: int = 1000) -> Mapping[str, float]:
        """Measure the index by queries of a file, of which another has the nearest (`Index.calibrate`)."""
        rows, true = np.load(queries)[:count], np.load(truth)[:count, :10].astype(np.int64)
        began = time.perf_counter()
        self.index.calibrate(rows, true)
        return {"seconds": time.perf_counter() - began}

    def search(self, queries: np.ndarray, k: int, effort: float) -> np.ndarray:
        """Search all by one thread."""
        before = self._requests
        found = self.index.search(queries, k, recall=effort)
        self._told = {
            "tier_requests": (self._requests - before) / len(queries),
            "reads": float(found.reads.mean()),
            "round_trips": float(found.round_trips.mean()),
            "one_round_trip": float((found.round_trips <= 1).mean()),
            "tier_read_bytes": float(found.tier_bytes.mean()),
        }
        return found.slots

    @property
    def _requests(self) -> int:
        return self.index.requests if isinstance(self.index, ListIndex | TierGraphIndex) else 0

    def told(self) -> Mapping[str, float]:
        """What the index takes, and what the last searches read from the tier, for each query."""
        sizes = self.index.sizes()
        return {"dram_bytes": sizes.dram_bytes, "tier_bytes": sizes.tier_bytes, **self._told}

    def load(self, queries: str, k: int, effort: float, share: float, seconds: float, seed: int) -> Mapping[str, Any]:
        """Answer queries that come at random times (an open loop), each by itself, beside those under way.

        They come at a share of the rate at which the same stream answers them where some always wait, which is measured
        before and after; where the two differ by more than a tenth all is done again, a few times at most.

        Returns:
            milliseconds from when each was due to its answer (p50, p99), of a query alone, and where one server with a
            constant time of service took them in turn and the tier then took the rest of a lone query's time
            (constant_p50, constant_p99), also with the pauses of a thread that only looked at the clock right after
            (paused_p50, paused_p99); queries a second and the share that they were of what the stream can do.
        """
        if not isinstance(self.index, ListIndex | TierGraphIndex):
            raise ValueError(f"load of an index of kind {self._kind}; accepted: lists, tier-graph")
        rows = np.load(queries)

        def waited(due: np.ndarray) -> np.ndarray:
            return self.index.replay(rows, k, due, recall=effort)[1]  # type: ignore[union-attr]

        waited(np.zeros(len(rows)))  # makes the stream and warms it up
        for _ in range(TRIES):
            before = FULL / float(waited(np.zeros(FULL)).max())
            due = arrivals(share * before, seconds, seed)
            each, alone = waited(due), float(np.median(waited(0.01 + np.arange(ALONE) * 20 / before)))
            after = FULL / float(waited(np.zeros(FULL)).max())
            if abs(after / before - 1) <= 0.1:
                break
        most = (before + after) / 2
        told = {"rate": share * before, "share": share * before / most, "alone_ms": 1e3 * alone}
        ideal = Server(1 / most, after_s=max(0.0, alone - 1 / most))
        paused = paused_waits(due, ideal, pauses_of(seconds))
        for name, measured in (("", each), ("constant_", waits(due, ideal)), ("paused_", paused)):
            p50, p99 = percentiles(measured)
            told |= {f"{name}p50_ms": 1e3 * p50, f"{name}p99_ms": 1e3 * p99}
        return told

    def reads(self, length: int, depth: int, seed: int = 1) -> Mapping[str, float]:
        """Read ranges at random from the tier, so many at once, for some seconds.

        Returns:
            reads a second and processor seconds of one read.
        """
        random = np.random.default_rng(seed)
        places = self._region.size // length
        out = np.empty(depth * length, np.uint8)
        batches = [random.integers(0, places, depth).astype(np.uint64) * length for _ in range(512)]
        self._region.read_batch(batches[0], length, out)
        began, before, count = time.perf_counter(), time.thread_time(), 0
        while time.perf_counter() < began + READ_S:
            self._region.read_batch(batches[count % len(batches)], length, out)
            count += 1
        wall, busy = time.perf_counter() - began, time.thread_time() - before
        return {"reads_per_s": count * depth / wall, "processor_s": busy / (count * depth)}

    def updates(self, vectors: str, count: int) -> Mapping[str, float]:
        """Add vectors of a file one batch of 100 after the other at new slots, and remove them again."""
        rows = np.load(vectors, mmap_mode="r")[:count]
        first = self.index.count
        began = time.perf_counter()
        for at in range(0, len(rows), 100):
            part = np.ascontiguousarray(rows[at : at + 100])
            self.index.add(np.arange(first + at, first + at + len(part), dtype=np.int64), part)
        added = time.perf_counter()
        for at in range(0, len(rows), 100):
            self.index.remove(np.arange(first + at, first + min(at + 100, len(rows)), dtype=np.int64))
        removed = time.perf_counter()
        while not self.index.maintain(1.0).finished and time.perf_counter() < removed + 60:
            pass
        maintained = time.perf_counter()
        return {
            "adds_per_s": len(rows) / (added - began),
            "removes_per_s": len(rows) / (removed - added),
            "maintain_s": maintained - removed,
        }


def class_of(kind: str) -> type[IndexKind]:
    """The class of a kind of index, ``flat`` (all are compared) and ``tier-graph`` included."""
    own: dict[str, type[IndexKind]] = {"flat": FlatIndex, "tier-graph": TierGraphIndex}
    return own[kind] if kind in own else index_kind(kind)


def space_of(base: np.ndarray) -> Space:
    """Squared L2 over rows as they are."""
    return Space("uint8" if base.dtype == np.uint8 else "float32", "l2", base.shape[1])


def _maker(kind: str, region: str = "", **options: Any) -> IndexEngine:
    return IndexEngine(kind, region, options)


ENGINES: Mapping[str, Callable[..., IndexEngine]] = {
    kind: partial(_maker, kind) for kind in ("graph", "lists", "flat", "tier-graph")
}
