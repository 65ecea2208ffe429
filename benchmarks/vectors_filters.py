"""Searches among documents that meet a filter: ``python -m benchmarks.vectors_filters``.

Every document has a number from 0 to 999, drawn evenly; filters let 50, 10, 1 and 0.1 % of them through. Queries come
one at a time, in turn with and without each filter, through `Collection.search`; recall@10 is that against all
documents that meet the filter. The peer of a row is the unfiltered search of the same queries.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.options import Options, parse
from benchmarks.results_file import Row, not_measured, row
from benchmarks.vectors.collections import filled, ids_of
from benchmarks.vectors.data import VectorData, exact_neighbours
from benchmarks.vectors.options import data_sets, kinds_of, part_of, vector_parser, written
from fairlead_tiered_retrieval.store.collection import Collection

K, RECALL, COST = 10, 0.95, 3.0
#: Of the documents in a thousand, by how it is called.
SHARES = {"50 %": 500, "10 %": 100, "1 %": 10, "0.1 %": 1}
QUERIES, QUICK_QUERIES, WARM_UP = 1_000, 30, 10
PROMISE = "recall >= 0.95 of the target at <= 3x the cost"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write."""
    options = parse("vectors_filters", __doc__, repeats=3, quick=1, arguments=arguments, more=vector_parser())
    rows: list[Row] = []
    kinds = kinds_of(options)
    for data in data_sets(options):
        if not kinds:
            rows.append(not_measured(data.name, "recall@10", "", PROMISE, "no approximate index is installed"))
        for kind in kinds:
            rows += of_index(options, data, kind)
    written(options, {"k": K, "recall_asked": RECALL, "kinds": kinds}, rows)
    return 0


def of_index(options: Options, data: VectorData, kind: str) -> list[Row]:
    """All rows of one data set in one kind of index."""
    base = np.ascontiguousarray(data.base)
    numbers = np.random.default_rng(options.seed).permutation(len(base)) % 1000
    queries = np.load(data.queries_path(part_of(options)))[: QUICK_QUERIES if options.quick else QUERIES]
    rows: list[Row] = []
    with filled(data, base, [{"number": int(number)} for number in numbers], kind, options.seed) as collection:
        for name, below in SHARES.items():
            allowed = np.flatnonzero(numbers < below)
            truth = allowed[exact_neighbours(base[allowed], queries, K)]
            rows += of_share(options, collection, queries, truth, f"{data.name}, {kind}, {name}", below)
    return rows


def of_share(
    options: Options, collection: Collection, queries: NDArray, truth: NDArray, case: str, below: int
) -> list[Row]:
    """Recall and cost of one filter; each repeat takes all queries with it and without it, in turn."""
    condition = {"number": {"lt": below}}
    filtered, plain, recalls = [], [], []
    for query in queries[:WARM_UP]:
        ids_of(collection, query, K, recall=RECALL, filter=condition)
        ids_of(collection, query, K, recall=RECALL)
    for _ in range(options.repeats):
        spent = [0.0, 0.0]
        found = []
        for query in queries:
            began = time.perf_counter()
            found.append(ids_of(collection, query, K, recall=RECALL, filter=condition))
            middle = time.perf_counter()
            ids_of(collection, query, K, recall=RECALL)
            spent[0] += middle - began
            spent[1] += time.perf_counter() - middle
        filtered.append(1e6 * spent[0] / len(queries))
        plain.append(1e6 * spent[1] / len(queries))
        recalls.append(float(np.mean([share_found(*pair) for pair in zip(found, truth, strict=True)])))
    costs = [mine / theirs for mine, theirs in zip(filtered, plain, strict=True)]
    how = collection.search(queries[0], k=K, filter=condition, recall=RECALL, include=()).how
    return [
        row(case, "recall@10", "", recalls, better="more", limit=0.95 * RECALL, promise=PROMISE, note=f"by {how}"),
        row(case, "time per query", "us", filtered, plain),
        row(case, "cost against no filter", "x", costs, limit=COST, promise=PROMISE),
    ]


def share_found(found: Any, truth: NDArray) -> float:
    """Share of the true neighbours that were found."""
    return len(np.intersect1d(found, truth)) / len(truth)


if __name__ == "__main__":
    raise SystemExit(main())
