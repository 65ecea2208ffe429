"""The graph index keeps the contract that every index keeps."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from fairlead_kernels.backend import available_isas
from fairlead_tiered_retrieval.bitmap import bitmap_of
from fairlead_tiered_retrieval.errors import BudgetExceeded, CorruptFile, NotFound, TieredRetrievalError
from fairlead_tiered_retrieval.flat_index import FlatIndex
from fairlead_tiered_retrieval.graph.calibration import Calibration
from fairlead_tiered_retrieval.graph.graph_index import GraphIndex
from fairlead_tiered_retrieval.index import Limits
from fairlead_tiered_retrieval.space import Space

pytestmark = pytest.mark.skipif(not available_isas(), reason="the compiled extension is not installed")
SPACE = Space("float32", "cosine", 32)
COUNT = 3000


def drawn(count: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    centers = np.random.default_rng(5).normal(size=(20, 32)) * 2
    return (centers[random.integers(0, 20, count)] + random.normal(size=(count, 32))).astype(np.float32)


@pytest.fixture(scope="module")
def rows():
    return drawn(COUNT, 0)


@pytest.fixture
def index(rows):
    return GraphIndex.build(SPACE, np.arange(COUNT), rows, limits=Limits(threads=2), degree=16, lines=1)


def reached(index, rows, live, recall, **how):
    flat = FlatIndex.build(SPACE, live, rows)
    queries = drawn(60, 1)
    found, true = index.search(queries, 10, recall=recall, **how), flat.search(queries, 10, **how)
    return np.mean([len(np.intersect1d(a, b)) / 10 for a, b in zip(found.slots, true.slots, strict=True)])


@pytest.mark.parametrize("recall", [0.8, 0.95, 0.99])
def test_the_recall_asked_for_is_reached(index, rows, recall):
    assert reached(index, rows, np.arange(COUNT), recall) >= recall - 0.03


@pytest.mark.parametrize("share", [0.5, 0.1, 0.01])
def test_filters_fill_k(index, rows, share):
    allowed = np.flatnonzero(np.random.default_rng(3).random(COUNT) < share)
    assert reached(index, rows, np.arange(COUNT), 0.95, allowed=bitmap_of(allowed, COUNT)) >= 0.92


def test_changes_are_seen_at_once_and_maintained(index, rows):
    more = np.concatenate([rows, drawn(300, 7)])
    index.add(np.arange(COUNT, COUNT + 300), more[COUNT:])
    assert (index.search(more[COUNT:], 1, recall=0.99).slots[:, 0] == np.arange(COUNT, COUNT + 300)).mean() >= 0.99
    gone = np.arange(0, COUNT, 4)
    index.remove(gone)
    assert index.count == COUNT + 300 - len(gone) and not len(index.busy())
    live = np.setdiff1d(np.arange(COUNT + 300), gone)
    assert not np.isin(index.search(rows[gone[:50]], 10).slots, gone).any()
    assert index.maintain(60.0).finished
    assert reached(index, more, live, 0.95) >= 0.92
    assert index.more_bytes(len(gone) // 2) == 0
    index.add(gone, rows[gone])
    assert reached(index, more, np.arange(COUNT + 300), 0.95) >= 0.92
    np.testing.assert_array_equal(index.vectors(gone[:5]), rows[gone[:5]])


def test_saved_and_opened_again(index, rows, tmp_path):
    index.save(tmp_path)
    again = GraphIndex.load(tmp_path, SPACE)
    for a, b in zip(index.search(rows[:20], 5), again.search(rows[:20], 5), strict=True):
        np.testing.assert_array_equal(a, b)
    whole = (tmp_path / "graph.npz").read_bytes()
    (tmp_path / "graph.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CorruptFile, match=r"graph\.npz: damaged"):
        GraphIndex.load(tmp_path, SPACE)


def test_what_is_refused(index, rows):
    with pytest.raises(BudgetExceeded, match="a graph of 3000 vectors needs"):
        GraphIndex.build(SPACE, np.arange(COUNT), rows, limits=Limits(memory_bytes=100_000))
    with pytest.raises(TieredRetrievalError, match="options of a graph: degree"):
        GraphIndex.build(SPACE, np.arange(COUNT), rows, degree=3)
    with pytest.raises(TieredRetrievalError, match="built in memory"):
        index.move("memory")
    with pytest.raises(NotFound):
        index.vectors(np.array([COUNT]))


def test_beams_follow_recall_and_k():
    measured = Calibration((10, 20, 40), (0.5, 0.9, 0.99))
    assert [measured.beam(r, 10) for r in (0.1, 0.7, 0.9, 0.99)] == [10, 15, 20, 40]
    assert measured.beam(0.9, 20) == 40 and measured.beam(0.9, 1) == 20 and measured.beam(1.0, 10) > 40


def test_searches_that_come_together_find_what_each_would_alone(index, rows):
    queries = drawn(40, 4)
    expected = index.search(queries, 10).slots

    def one(row):
        with index._searches.one(1):  # as if another search were under way
            np.testing.assert_array_equal(index.search(queries[row : row + 1], 10).slots[0], expected[row])

    with ThreadPoolExecutor(4) as callers:
        list(callers.map(one, range(40)))
    assert index._searches._stream is not None
