"""The adapter answers as ann-benchmarks' runner asks: fit, arguments, single and batch queries."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from fairlead_tiered_retrieval.ann_benchmarks import METRICS, Fairlead
from fairlead_tiered_retrieval.errors import TieredRetrievalError

CONFIG = Path(__file__).parents[3] / "benchmarks" / "ann_benchmarks" / "config.yml"


@pytest.mark.parametrize("metric", ["euclidean", "angular"])
def test_single_and_batch_queries_find_the_nearest(metric: str) -> None:
    random = np.random.default_rng(1)
    base, queries = random.standard_normal((300, 16)), random.standard_normal((5, 16))
    index = Fairlead(metric, "flat")
    index.fit(base)
    index.set_query_arguments(0.9)
    rows, asked = base.copy(), queries.copy()
    if metric == "angular":
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        asked /= np.linalg.norm(asked, axis=1, keepdims=True)
    truth = np.argsort(((asked[:, None] - rows[None]) ** 2).sum(-1), axis=1)[:, :7]
    assert [list(index.query(query, 7)) for query in queries] == truth.tolist()
    index.batch_query(queries, 7)
    assert [list(row) for row in index.get_batch_results()] == truth.tolist()
    assert index.get_memory_usage() > 300 * 16 * 4 / 1024
    assert set(index.get_additional()) == {"reads"}
    assert str(index) == "Fairlead(flat, recall=0.9)"
    index.done()
    with pytest.raises(TieredRetrievalError, match="fit first"):
        index.query(queries[0], 7)


def test_bits_are_compared_by_those_that_differ() -> None:
    rows = np.random.default_rng(2).integers(0, 2, (100, 64)).astype(bool)
    index = Fairlead("hamming", "flat")
    index.fit(rows)
    near = rows[17].copy()
    near[3] ^= True
    assert index.query(near, 1).tolist() == [17]


def test_more_than_there_are_gives_those_that_there_are() -> None:
    index = Fairlead("euclidean", "flat")
    index.fit(np.eye(4, dtype=np.float32))
    assert sorted(index.query(np.zeros(4), 9).tolist()) == [0, 1, 2, 3]


@pytest.mark.parametrize("recall", [0.0, 1.5, float("nan")])
def test_a_recall_that_means_nothing_is_refused(recall: float) -> None:
    with pytest.raises(TieredRetrievalError, match=r"recall = .*accepted"):
        Fairlead("euclidean", "flat").set_query_arguments(recall)


def test_other_metrics_are_refused_by_name() -> None:
    with pytest.raises(TieredRetrievalError, match="accepted: euclidean, angular, hamming"):
        Fairlead("jaccard", "flat")


def test_the_config_names_what_there_is() -> None:
    for metric, algorithms in yaml.safe_load(CONFIG.read_text())["float"].items():
        assert metric in METRICS
        for one in algorithms:
            assert one["module"] == "fairlead_tiered_retrieval.ann_benchmarks"
            assert one["constructor"] == Fairlead.__name__
            assert all(0 < recall <= 1 for group in one["run_groups"].values() for recall in group["query_args"][0])
