"""A thousand updates a second while searches go on: ``python -m benchmarks.vectors_updates``.

A thread replaces vectors by others under the same ids, ten at a time, each write durable when it returns, while this
one searches. A tenth of the data set is held back to be written: the vector that has waited longest comes in, and the
one whose place it takes waits from then on, so that no vector is there twice. Recall@10 is the share of what was found
that is as near as the tenth of exact search over the same collection, asked right after each search.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from benchmarks.options import Options, parse, quantile
from benchmarks.results_file import Row, not_measured, row
from benchmarks.vectors.collections import filled
from benchmarks.vectors.data import VectorData
from benchmarks.vectors.options import data_sets, kinds_of, part_of, vector_parser, written
from fairlead_tiered_retrieval.store.collection import Collection

K, RECALL, RATE, TOGETHER, LOSS = 10, 0.95, 1_000, 10, 0.01
SECONDS, QUICK_SECONDS = 20.0, 1.0
QUERIES, QUICK_QUERIES = 500, 30
PROMISE = "1,000 updates/s while searching keep recall within 1 %"


@dataclass(slots=True)
class Updating:
    """Replaces documents at a rate until it is told to stop."""

    collection: Collection
    rows: NDArray
    waiting: deque[int]
    """Places among the rows, of those that are not in the collection."""
    holds: NDArray[np.int64]
    """Of each id: the place of its vector."""
    seed: int
    written: int = 0
    seconds: list[float] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Write; a write that is late is followed by the next at once."""
        random, began = np.random.default_rng(self.seed), time.perf_counter()
        while not self.stop.is_set():
            ids = random.choice(len(self.holds), TOGETHER, replace=False)
            places = [self.waiting.popleft() for _ in ids]
            before = time.perf_counter()
            self.collection.upsert(ids, self.rows[places])
            self.seconds.append(time.perf_counter() - before)
            self.waiting.extend(self.holds[ids].tolist())
            self.holds[ids] = places
            self.written += TOGETHER
            self.stop.wait(max(0.0, began + self.written / RATE - time.perf_counter()))


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write."""
    options = parse("vectors_updates", __doc__, repeats=3, quick=1, arguments=arguments, more=vector_parser())
    rows: list[Row] = []
    kinds = kinds_of(options)
    for data in data_sets(options):
        if not kinds:
            rows.append(not_measured(data.name, "recall@10", "", PROMISE, "no approximate index is installed"))
        for kind in kinds:
            rows += of_index(options, data, kind)
    written(options, {"k": K, "recall_asked": RECALL, "rate": RATE, "kinds": kinds}, rows)
    return 0


def of_index(options: Options, data: VectorData, kind: str) -> list[Row]:
    """All rows of one data set in one kind of index."""
    base = np.ascontiguousarray(data.base)
    kept = len(base) * 9 // 10
    queries = np.load(data.queries_path(part_of(options)))
    queries = queries[: QUICK_QUERIES if options.quick else QUERIES]
    lost, rates, before_s, during_s, writes = [], [], [], [], []
    waiting, holds = deque(range(kept, len(base))), np.arange(kept)
    with filled(data, base[:kept], [{}] * kept, kind, options.seed, maintenance_s=0.2) as collection:
        for repeat in range(options.repeats):
            recall, median = searched(collection, queries)
            updating = Updating(collection, base, waiting, holds, options.seed + repeat)
            thread = threading.Thread(target=updating.run)
            began = time.perf_counter()
            thread.start()
            meanwhile = []
            while time.perf_counter() - began < (QUICK_SECONDS if options.quick else SECONDS):
                meanwhile.append(searched(collection, queries))
            updating.stop.set()
            thread.join()
            rates.append(updating.written / (time.perf_counter() - began))
            lost.append(recall - float(np.mean([share for share, _ in meanwhile])))
            before_s.append(1e6 * median)
            during_s.append(1e6 * float(np.median([middle for _, middle in meanwhile])))
            writes.append(1e3 * quantile(updating.seconds, 0.99))
    case = f"{data.name}, {kind}"
    return [
        row(case, "recall@10 lost while updating", "", lost, limit=LOSS, promise=PROMISE),
        row(case, "updates", "1/s", rates, better="more", limit=0.98 * RATE, promise=PROMISE),
        row(case, "median of a search", "us", during_s, before_s, note="peer: without updates"),
        row(case, "99th percentile of a durable write of 10", "ms", writes),
    ]


def searched(collection: Collection, queries: NDArray) -> tuple[float, float]:
    """Search for all queries; return recall against exact search right after, and the median seconds of a search."""
    shares, seconds = [], []
    for query in queries:
        began = time.perf_counter()
        found = distances_of(collection, query, RECALL)
        seconds.append(time.perf_counter() - began)
        farthest = distances_of(collection, query, 1.0)[-1]
        shares.append(float(np.mean(found <= farthest * (1 + 1e-5) + 1e-6)))
    return float(np.mean(shares)), float(np.median(seconds))


def distances_of(collection: Collection, query: NDArray, recall: float) -> NDArray[np.float32]:
    """Search for one query; how far away is what was found."""
    hits = collection.search(query, k=K, recall=recall, include=()).hits[0]
    return np.array([hit.distance for hit in hits], np.float32)


if __name__ == "__main__":
    raise SystemExit(main())
