"""The graph index in a tier: recall as asked for, filters, changes, files, moves, faults."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from fairlead_kernels.backend import extension
from fairlead_tiered_retrieval.bitmap import bitmap_of
from fairlead_tiered_retrieval.distances import nearest
from fairlead_tiered_retrieval.errors import BudgetExceeded, CorruptFile, NotFound, StoreFull, TieredRetrievalError
from fairlead_tiered_retrieval.graph.graph_index import GraphIndex
from fairlead_tiered_retrieval.graph.tier_graph_index import TierGraphIndex
from fairlead_tiered_retrieval.index import Limits
from fairlead_tiered_retrieval.space import Space
from fairlead_tiered_retrieval.tiers import TierLost, open_region

pytestmark = pytest.mark.skipif(extension() is None, reason="the compiled extension is not installed")

SPACE = Space("float32", "l2", 48)
COUNT = 1500
SMALL = {"degree": 16, "beam": 48}


def drawn(count: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(0).normal(0, 1, (30, 48))
    rows = centres[random.integers(30, size=count)] + random.normal(0, 0.6, (count, 48))
    return (rows * 2.0 ** (-np.arange(48) / 10)).astype(np.float32)


def built(rows: np.ndarray, count: int, **how: object) -> TierGraphIndex:
    return TierGraphIndex.build(SPACE, np.arange(count), rows, **{**SMALL, **how})


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    return drawn(COUNT, 1)


@pytest.fixture(scope="module")
def index(rows: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> TierGraphIndex:
    """In a file, by way of the index of kind graph."""
    region = open_region(f"file:{tmp_path_factory.mktemp('tier') / 'records'}", 1 << 20)
    found = GraphIndex.build(SPACE, np.arange(COUNT), rows, region=region, **SMALL)
    assert isinstance(found, TierGraphIndex)
    return found


def recall_of(found: np.ndarray, exact: np.ndarray) -> float:
    return float((found[:, :, None] == exact[:, None]).any(axis=1).sum() / (exact >= 0).sum())


def test_recall_is_what_was_asked_for_in_few_round_trips(index, rows):
    queries = drawn(100, 2)
    exact = nearest(queries, rows, np.arange(COUNT), 10, SPACE)[0]
    for asked in (0.8, 0.95, 0.99):
        found = index.search(queries, 10, recall=asked)
        assert recall_of(found.slots, exact) >= asked - 0.03 and found.complete
        assert (found.round_trips <= found.reads).all() and found.round_trips.mean() < 0.5 * found.reads.mean()
    np.testing.assert_array_equal(index.vectors(found.slots[0]), rows[found.slots[0]])
    sizes = index.sizes()
    assert rows.nbytes < sizes.tier_bytes <= 1.25 * rows.nbytes and sizes.dram_bytes < 0.6 * rows.nbytes


def test_filters_fill_k(index, rows):
    queries = drawn(20, 3)
    for share in (0.5, 0.05, 0.004):
        chosen = np.flatnonzero(np.random.default_rng(4).random(COUNT) < share)
        found = index.search(queries, 10, allowed=bitmap_of(chosen, COUNT))
        assert np.isin(found.slots[found.slots >= 0], chosen).all()
        assert ((found.slots >= 0).sum(axis=1) == min(10, len(chosen))).all()
        assert recall_of(found.slots, nearest(queries, rows, chosen, 10, SPACE)[0]) >= 0.9


@pytest.mark.parametrize("beside", [True, False])
def test_changes_files_and_loading(tmp_path: Path, beside: bool):
    rows = drawn(900, 5)
    index = built(rows, 500, beside=beside)
    index.add(np.arange(500, 900), rows[500:])
    gone = np.arange(0, 900, 3)
    index.remove(gone)
    left = np.setdiff1d(np.arange(900), gone)
    while not index.maintain(5.0).finished:
        pass
    assert index.count == len(left) and not len(index.busy()) and index.more_bytes(0) >= 0
    found = index.search(rows[left], 1, recall=0.99)
    assert (found.slots[:, 0] == left).mean() > 0.98
    assert not np.isin(index.search(rows[:99], 10).slots, gone).any()
    with pytest.raises(NotFound, match="slot 3 "):
        index.vectors(np.array([3]))
    index.save(tmp_path)
    again = GraphIndex.load(tmp_path, SPACE, region=open_region(f"file:{tmp_path / 'tier'}", 1 << 19))
    np.testing.assert_array_equal(again.vectors(left), rows[left])
    np.testing.assert_array_equal(again.search(rows[:50], 5).slots, index.search(rows[:50], 5).slots)
    again.add(gone, rows[gone])
    assert again.count == 900
    np.testing.assert_array_equal(again.vectors(gone), rows[gone])


def test_moves_while_it_serves(tmp_path: Path, rows):
    index = built(rows, 600)
    expected = index.search(rows[:64], 5).slots
    stop, wrong = threading.Event(), []

    def searching() -> None:
        while not stop.is_set():
            found = index.search(rows[:64], 5)
            if not found.complete or not np.array_equal(found.slots, expected):
                wrong.append(found)

    thread = threading.Thread(target=searching)
    thread.start()
    for name in ("one", "two"):
        index.move(open_region(f"file:{tmp_path / name}", 1 << 18))
    index.move(open_region("dram:", index.sizes().tier_bytes + 2000))
    stop.set()
    thread.join()
    assert not wrong
    with pytest.raises(TieredRetrievalError, match="has 100 bytes"):
        index.move(open_region("dram:", 100))
    with pytest.raises(StoreFull, match="no room"):
        index.add(np.arange(600, 700), rows[600:700])
    assert 600 < index.count < 700


def test_what_a_lost_tier_does_not_say_the_codes_do(tmp_path: Path, rows):
    index = built(rows, 600, region=open_region(f"file:{tmp_path / 'records'}", 1 << 18))
    expected = index.search(rows[:40], 5)
    (tmp_path / "records").write_bytes(b"")
    found = index.search(rows[:40], 5)
    assert expected.complete and not found.complete and not found.reads.any()
    assert (found.slots[:, 0] == np.arange(40)).mean() > 0.7
    chosen = np.arange(0, 600, 2)
    assert np.isin(index.search(rows[:9], 5, allowed=bitmap_of(chosen, 600)).slots, chosen).all()
    with pytest.raises(TierLost):
        index.vectors(np.arange(3))
    before = index.calibration
    with pytest.raises(TierLost):
        index.calibrate(rows[:40], index.search(rows[:40], 10).slots)
    assert index.calibration is before


def test_searches_that_come_together_find_what_each_would_alone(rows):
    index = built(rows, 600)
    expected = index.search(rows[:40], 5).slots

    def one(row: int) -> None:
        with index._pool.lent(1):  # as if another search were under way
            found = index.search(rows[row : row + 1], 5)
        np.testing.assert_array_equal(found.slots[0], expected[row])

    with ThreadPoolExecutor(4) as callers:
        list(callers.map(one, range(40)))
    found, waited = index.replay(rows[:10], 5, np.linspace(0, 0.01, 20))
    np.testing.assert_array_equal(found.slots, expected[np.arange(20) % 10])
    assert (waited > 0).all()


def test_what_is_refused(tmp_path: Path, rows, index):
    with pytest.raises(BudgetExceeded, match="at most 1000 "):
        built(rows, COUNT, limits=Limits(memory_bytes=1000))
    with pytest.raises(TieredRetrievalError, match="options of a graph: degree"):
        built(rows, COUNT, degree=3)
    with pytest.raises(TieredRetrievalError, match="too few"):
        built(rows, 300, region=open_region("dram:", 5_000))
    index.save(tmp_path)
    for name in ("tier_graph.npz", "tier_graph.json", "records.bin"):
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(whole[: len(whole) // 2])
        with pytest.raises(CorruptFile, match="damaged"):
            TierGraphIndex.load(tmp_path, SPACE)
        (tmp_path / name).write_bytes(whole)


@pytest.mark.parametrize("count", [1, 3, 40])
def test_few_vectors(count):
    rows = drawn(count, 9)
    found = built(rows, count).search(rows, 50, recall=1.0)
    assert ((found.slots >= 0).sum(axis=1) == count).all()
    assert (found.slots[:, 0] == np.arange(count)).all()
