"""Cluster indexes of collections: recall as asked for, filters, changes, files, moves, faults."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from fairlead_kernels.backend import extension
from fairlead_tiered_retrieval.bitmap import bitmap_of
from fairlead_tiered_retrieval.distances import nearest
from fairlead_tiered_retrieval.errors import BudgetExceeded, CorruptFile, NotFound, StoreFull, TieredRetrievalError
from fairlead_tiered_retrieval.index import Limits
from fairlead_tiered_retrieval.lists import ListIndex
from fairlead_tiered_retrieval.space import Space
from fairlead_tiered_retrieval.tiers import TierLost, open_region

pytestmark = pytest.mark.skipif(extension() is None, reason="the compiled extension is not installed")

SPACE = Space("float32", "l2", 32)
COUNT = 4000


def drawn(count: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(0).normal(0, 1, (40, 32))
    rows = centres[random.integers(40, size=count)] + random.normal(0, 0.6, (count, 32))
    return (rows * 2.0 ** (-np.arange(32) / 10)).astype(np.float32)


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    return drawn(COUNT, 1)


@pytest.fixture(scope="module")
def index(rows: np.ndarray) -> ListIndex:
    return ListIndex.build(SPACE, np.arange(COUNT), rows, list_size=60, code_bytes=40)


def recall_of(found: np.ndarray, exact: np.ndarray) -> float:
    return float((found[:, :, None] == exact[:, None]).any(axis=1).sum() / (exact >= 0).sum())


def test_recall_is_what_was_asked_for(index, rows):
    queries = drawn(200, 2)
    exact = nearest(queries, rows, np.arange(COUNT), 10, SPACE)[0]
    reads = []
    for asked in (0.8, 0.95, 0.99):
        found = index.search(queries, 10, recall=asked)
        assert recall_of(found.slots, exact) >= asked - 0.03
        assert (found.round_trips == 1).all() and found.complete
        reads.append(found.reads.mean())
    assert reads[0] <= reads[-1] < 50
    sizes = index.sizes()
    assert sizes.tier_bytes <= 1.02 * rows.nbytes and sizes.dram_bytes < 0.7 * rows.nbytes


def test_filters_fill_k(index, rows):
    queries = drawn(20, 3)
    for share in (0.5, 0.05, 0.004):
        chosen = np.flatnonzero(np.random.default_rng(4).random(COUNT) < share)
        found = index.search(queries, 10, allowed=bitmap_of(chosen, COUNT))
        assert np.isin(found.slots[found.slots >= 0], chosen).all()
        assert ((found.slots >= 0).sum(axis=1) == min(10, len(chosen))).all()
        exact = nearest(queries, rows, chosen, 10, SPACE)[0]
        assert recall_of(found.slots, exact) >= 0.9


def test_changes_and_maintenance(tmp_path):
    rows = drawn(1500, 5)
    index = ListIndex.build(SPACE, np.arange(600), rows, list_size=50, code_bytes=40)
    index.add(np.arange(600, 1500), rows[600:])
    index.remove(np.arange(0, 1500, 3))
    left = np.setdiff1d(np.arange(1500), np.arange(0, 1500, 3))
    while not index.maintain(5.0).finished:
        pass
    assert index.count == len(left)
    np.testing.assert_array_equal(index.vectors(left), rows[left])
    found = index.search(rows[left], 1, recall=1.0)
    assert (found.slots[:, 0] == left).mean() > 0.99
    assert not np.isin(index.search(rows[:99], 10).slots, np.arange(0, 1500, 3)).any()
    with pytest.raises(NotFound, match="slot 3 "):
        index.vectors(np.array([3]))
    index.save(tmp_path)
    again = ListIndex.load(tmp_path, SPACE)
    np.testing.assert_array_equal(again.vectors(left), rows[left])
    assert again.sizes().dram_bytes <= index.sizes().dram_bytes
    np.testing.assert_array_equal(again.search(rows[:50], 5).slots, index.search(rows[:50], 5).slots)
    again.add(np.arange(0, 1500, 3), rows[::3])
    assert again.count == 1500
    np.testing.assert_array_equal(again.vectors(left), rows[left])


def test_moves_while_it_serves(tmp_path, rows):
    index = ListIndex.build(SPACE, np.arange(1000), rows, list_size=50, code_bytes=40)
    expected = index.search(rows[:64], 5, recall=0.95).slots
    stop, wrong = threading.Event(), []

    def searching() -> None:
        while not stop.is_set():
            found = index.search(rows[:64], 5, recall=0.95)
            if not found.complete or not np.array_equal(found.slots, expected):
                wrong.append(found)

    thread = threading.Thread(target=searching)
    thread.start()
    for name in ("one", "two"):
        index.move(open_region(f"file:{tmp_path / name}", 2000 * SPACE.bytes))
    index.move(open_region("dram:", 1100 * SPACE.bytes))
    stop.set()
    thread.join()
    assert not wrong
    with pytest.raises(TieredRetrievalError, match="has 100 bytes"):
        index.move(open_region("dram:", 100))
    with pytest.raises(StoreFull, match="no room"):
        index.add(np.arange(1000, 3000), rows[1000:3000])


def test_what_the_tier_does_not_say_the_codes_do(monkeypatch, rows):
    index = ListIndex.build(SPACE, np.arange(1000), rows, list_size=50, code_bytes=40)
    expected = index.search(rows[:40], 5)

    def lost() -> None:
        raise TierLost("dram:: is gone", "dram:")

    monkeypatch.setattr(index._pool.region, "open_native", lost)
    index._pool._idle.clear()
    found = index.search(rows[:40], 5)
    assert expected.complete and not found.complete
    assert (found.reads == 0).all() and (found.slots[:, 0] == np.arange(40)).mean() > 0.7
    before = index.table
    with pytest.raises(TierLost, match="stays as it was"):
        index.calibrate(rows[:40], expected.slots)
    assert index.table is before, "measured by codes alone every effort would seem too little"


def test_a_file_that_was_cut_is_a_tier_that_does_not_answer(tmp_path, rows):
    region = open_region(f"file:{tmp_path / 'rows'}", 1 << 18)
    index = ListIndex.build(SPACE, np.arange(1000), rows, list_size=50, code_bytes=40, region=region)
    expected = index.search(rows[:40], 5)
    index._pool._idle.clear()
    content = (tmp_path / "rows").read_bytes()
    (tmp_path / "rows").write_bytes(content[:4096])
    assert not index.search(rows[:40], 5).complete
    (tmp_path / "rows").write_bytes(content)
    again = index.search(rows[:40], 5)
    assert again.complete and np.array_equal(again.slots, expected.slots)


def test_what_is_refused(tmp_path, rows, index):
    with pytest.raises(BudgetExceeded, match="at most 1000 "):
        ListIndex.build(SPACE, np.arange(COUNT), rows, limits=Limits(memory_bytes=1000))
    with pytest.raises(TieredRetrievalError, match="copies = 8; accepted: 0 to 7"):
        ListIndex.build(SPACE, np.arange(100), rows, copies=8)
    with pytest.raises(TieredRetrievalError, match="0 vectors"):
        ListIndex.build(SPACE, np.arange(0), rows)
    with pytest.raises(TieredRetrievalError, match="too few"):
        ListIndex.build(SPACE, np.arange(COUNT), rows, region=open_region("dram:", 50_000))
    index.save(tmp_path)
    for name in ("lists.npz", "lists.json", "rows.bin"):
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(whole[: len(whole) // 2])
        with pytest.raises(CorruptFile, match="damaged"):
            ListIndex.load(tmp_path, SPACE)
        (tmp_path / name).write_bytes(whole)


def spread(count: int, seed: int) -> np.ndarray:
    """Vectors without clusters, most of whose neighbours lie across a border."""
    return (np.random.default_rng(seed).normal(0, 1, (count, 32)) * 2.0 ** (-np.arange(32) / 4)).astype(np.float32)


def test_further_lists_of_a_vector_stay_through_changes_and_files(tmp_path):
    rows = spread(1600, 11)
    index = ListIndex.build(SPACE, np.arange(1200), rows, list_size=50, code_bytes=40, copies=2)
    alone = ListIndex.build(SPACE, np.arange(1200), rows, list_size=50, code_bytes=40, copies=0)
    assert index._lists.copies > 300 and alone._lists.copies == 0
    assert index.sizes().tier_bytes == alone.sizes().tier_bytes  # codes twice, vectors once
    assert index.sizes().dram_bytes > alone.sizes().dram_bytes
    index.add(np.arange(1200, 1600), rows[1200:])
    index.remove(np.arange(0, 1600, 2))
    while not index.maintain(5.0).finished:
        pass
    assert index.count == 800 and 200 < index._lists.copies < 1600
    index.save(tmp_path)
    again = ListIndex.load(tmp_path, SPACE)
    assert (again.reason, again._lists.copies, again._lists.closure) == (
        "up to 2 further lists a vector, as asked for",
        index._lists.copies,
        index._lists.closure,
    )
    queries = spread(60, 12)
    exact = nearest(queries, rows, np.arange(1, 1600, 2), 10, SPACE)[0]
    for one in (index, again):
        found = one.search(queries, 10, recall=0.99)
        assert recall_of(found.slots, exact) >= 0.95
        assert (found.slots % 2 == 1).all() and (found.round_trips == 1).all()
        assert (np.diff(np.sort(found.slots, axis=1), axis=1) > 0).all()
    again.add(np.arange(0, 1600, 2), rows[::2])
    assert again._lists.copies > index._lists.copies


def test_files_of_indexes_before_there_was_closure_are_read(tmp_path, index, rows):
    index.save(tmp_path)
    content = json.loads((tmp_path / "lists.json").read_text())
    (tmp_path / "lists.json").write_text(json.dumps({k: content[k] for k in ("codes", "list_size", "table")}))
    with np.load(tmp_path / "lists.npz") as file:
        arrays = {name: file[name] for name in file.files if not name.startswith("copy_")}
    np.savez(tmp_path / "lists.npz", **arrays)
    again = ListIndex.load(tmp_path, SPACE)
    assert again._lists.copies == 0
    np.testing.assert_array_equal(again.search(rows[:20], 5).slots[:, 0], np.arange(20))


@pytest.mark.parametrize("count", [1, 3, 40])
def test_few_vectors(count):
    rows = drawn(count, 9)
    index = ListIndex.build(SPACE, np.arange(count), rows)
    found = index.search(rows, 50, recall=1.0)
    assert ((found.slots >= 0).sum(axis=1) == count).all()
    assert (found.slots[:, 0] == np.arange(count)).all()


def test_searches_that_come_together_find_what_each_would_alone(monkeypatch, tmp_path, rows):
    index = ListIndex.build(SPACE, np.arange(1000), rows, list_size=50, code_bytes=40)
    expected = index.search(rows[:60], 5).slots
    joined = []
    stream = index._stream

    def noted(*given):
        joined.append(stream(*given))
        return joined[-1]

    monkeypatch.setattr(index, "_stream", noted)

    def one(row: int) -> None:
        with index._pool.lent(1):  # as if another search were under way
            found = index.search(rows[row : row + 1], 5)
        np.testing.assert_array_equal(found.slots[0], expected[row])
        assert found.complete

    with ThreadPoolExecutor(4) as callers:
        list(callers.map(one, range(30)))
        index.move(open_region(f"file:{tmp_path / 'rows'}", 2000 * SPACE.bytes))
        list(callers.map(one, range(30, 60)))
    assert len(joined) == 2, "one stream a region"
    found, waited = index.replay(rows[:10], 5, np.linspace(0, 0.01, 20))
    np.testing.assert_array_equal(found.slots, expected[np.arange(20) % 10])
    assert (waited > 0).all()
