"""A thousand updates a second while searches go on: ``python -m benchmarks.vectors_updates``.

A thread replaces documents by others (a new vector under the same id, ten at a time, each write durable when it
returns) while this one searches. Recall@10 is that against exact search of the same collection, asked right after each
search. A tenth of the data set is held back to be written.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from benchmarks.options import Options, parse, quantile
from benchmarks.results_file import Row, not_measured, row
from benchmarks.vectors.collections import filled, ids_of
from benchmarks.vectors.data import VectorData
from benchmarks.vectors.options import data_sets, vector_parser
from fairlead_tiered_retrieval.store.collection import Collection
from fairlead_tiered_retrieval.store.policy import available_kinds

K, RECALL, RATE, TOGETHER, LOSS = 10, 0.95, 1_000, 10, 0.01
SECONDS, QUICK_SECONDS = 20.0, 1.0
QUERIES, QUICK_QUERIES = 500, 30
PROMISE = "1,000 updates/s while searching keep recall within 1 %"


@dataclass(slots=True)
class Updating:
    """Replaces documents at a rate until it is told to stop."""

    collection: Collection
    fresh: NDArray
    count: int
    seed: int
    written: int = 0
    seconds: list[float] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Write; a write that is late is followed by the next at once."""
        random, began = np.random.default_rng(self.seed), time.perf_counter()
        while not self.stop.is_set():
            ids = random.choice(self.count, TOGETHER, replace=False)
            rows = self.fresh[random.integers(0, len(self.fresh), TOGETHER)]
            before = time.perf_counter()
            self.collection.upsert(ids, rows)
            self.seconds.append(time.perf_counter() - before)
            self.written += TOGETHER
            self.stop.wait(max(0.0, began + self.written / RATE - time.perf_counter()))


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write."""
    options = parse("vectors_updates", __doc__, repeats=3, quick=1, arguments=arguments, more=vector_parser())
    rows: list[Row] = []
    kinds = available_kinds()
    for data in data_sets(options):
        if not kinds:
            rows.append(not_measured(data.name, "recall@10", "", PROMISE, "no approximate index is installed"))
        for kind in kinds:
            rows += of_index(options, data, kind)
    options.finish({"k": K, "recall_asked": RECALL, "rate": RATE, "kinds": kinds}, rows)
    return 0


def of_index(options: Options, data: VectorData, kind: str) -> list[Row]:
    """All rows of one data set in one kind of index."""
    base = np.ascontiguousarray(data.base)
    kept = len(base) * 9 // 10
    queries = np.load(data.queries_path("dev" if options.quick else "final"))
    queries = queries[: QUICK_QUERIES if options.quick else QUERIES]
    lost, rates, before_s, during_s, writes = [], [], [], [], []
    with filled(data, base[:kept], [{}] * kept, kind, options.seed, maintenance_s=0.2) as collection:
        for repeat in range(options.repeats):
            recall, median = searched(collection, queries)
            updating = Updating(collection, base[kept:], kept, options.seed + repeat)
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
        found = ids_of(collection, query, K, recall=RECALL)
        seconds.append(time.perf_counter() - began)
        shares.append(len(np.intersect1d(found, ids_of(collection, query, K, recall=1.0))) / K)
    return float(np.mean(shares)), float(np.median(seconds))


if __name__ == "__main__":
    raise SystemExit(main())
