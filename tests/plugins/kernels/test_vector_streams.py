"""Searches that join those under way: the answers of a search alone, whoever else asks, changes or fails."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fairlead_kernels import vector_tiers, vectors
from fairlead_kernels.vector_graph import Graph, GraphOptions, GraphStream
from fairlead_kernels.vector_lists import ListEffort, Lists, train_lists

from .cases import needs_native

pytestmark = needs_native

SPACE = vectors.Space("float32", "l2", 24)
EFFORT = ListEffort(probes=6, reads=20)


@pytest.fixture(scope="module")
def rows() -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(0, 1, (3000, 24)).astype(np.float32)


@pytest.fixture(scope="module")
def index(rows: NDArray[np.float32]) -> tuple[Lists, Any]:
    lists = Lists(train_lists(SPACE, rows, 24, code_bytes=24))
    tier = vector_tiers.memory_tier("dram:", vector_tiers.tier_memory((len(rows) + 2000) * SPACE.row_bytes))
    into, along = lists.assign(rows)
    order = np.lexsort((along, into))
    lists.add(tier, order.astype(np.uint32), rows[order], into[order])
    return lists, tier


def file_of(index: tuple[Lists, Any], path: Any) -> None:
    lists, tier = index
    memory = np.empty(lists.rows * SPACE.row_bytes, np.uint8)
    tier.read(np.zeros(1, np.uint64), np.array([len(memory)], np.uint32), memory)
    path.write_bytes(memory.tobytes())


@pytest.mark.parametrize("threads", [1, 2])
def test_many_callers_get_what_each_would_alone(index, rows, tmp_path, threads: int) -> None:
    lists, tier = index
    file_of(index, tmp_path / "rows")
    tiers = [vector_tiers.file_tier(f"file:{i}", tmp_path / "rows") for i in range(threads)]
    stream = lists.stream(tiers, in_flight=4, most_reads=64)
    allowed = np.packbits(np.arange(len(rows)) % 7 == 0, bitorder="little")
    # Of one, few and many queries; some look at all lists, some among a seventh of the vectors.
    wide = ListEffort(probes=24, reads=64)
    asks = []
    for i in range(40):
        few = rows[i : i + (1, 3, 200)[i % 3]]
        asks.append((few, 3 + i % 5, (EFFORT, wide)[i % 2], allowed if i % 4 == 3 else None))
    with ThreadPoolExecutor(8) as callers:
        found = list(callers.map(lambda ask: stream.search(*ask), asks))
    for ask, got in zip(asks, found, strict=True):
        alone = lists.search([tier], *ask)
        assert np.array_equal(got.slots, alone.slots) and np.array_equal(got.distances, alone.distances)
        assert np.array_equal(got.reads, alone.reads) and np.array_equal(got.scanned, alone.scanned)


def test_queries_that_come_by_the_clock(index, rows) -> None:
    lists, tier = index
    due = np.sort(np.random.default_rng(1).uniform(0, 0.05, 90))
    found, waited = lists.stream([tier]).replay(rows[:60], 4, EFFORT, due)
    alone = lists.search([tier], rows[:60], 4, EFFORT)
    assert np.array_equal(found.slots, alone.slots[np.arange(90) % 60])
    assert (waited > 0).all() and (waited < 60).all()


def test_changes_are_let_in(index, rows) -> None:
    lists, tier = index
    stream, ended = lists.stream([tier]), threading.Event()

    def search() -> int:
        count = 0
        while not ended.is_set():
            assert (stream.search(rows[count % 50 :][:2], 5, EFFORT).slots >= 0).all()
            count += 1
        return count

    fresh = rows[:64] + np.float32(0.01)
    slots = np.arange(5000, 5064, dtype=np.uint32)
    with ThreadPoolExecutor(3) as callers:
        searches = [callers.submit(search) for _ in range(3)]
        for _ in range(5):
            lists.add(tier, slots, fresh)
            assert slots[7] in stream.search(fresh[7:8], 5, EFFORT).slots
            assert lists.remove(slots) == len(slots)
        ended.set()
        assert all(each.result() > 0 for each in searches)
    assert not np.isin(stream.search(fresh, 5, EFFORT).slots, slots).any()


def test_a_tier_that_fails_ends_the_stream(index, rows, tmp_path) -> None:
    lists, _ = index
    file_of(index, tmp_path / "rows")
    size = (tmp_path / "rows").stat().st_size
    broken = vector_tiers.file_tier("file:rows", tmp_path / "rows", broken=[(0, size)])
    stream = lists.stream([broken])
    with ThreadPoolExecutor(4) as callers:
        asked = [callers.submit(stream.search, rows[i : i + 20], 3, EFFORT) for i in range(6)]
        assert all(isinstance(each.exception(), vector_tiers.TierLost) for each in asked)
    with pytest.raises(vector_tiers.TierLost):
        stream.search(rows[:1], 3, EFFORT)


def test_a_stream_says_how_much_a_query_may_read(index, rows) -> None:
    lists, tier = index
    with pytest.raises(ValueError, match="reads: this stream's queries may have 16"):
        lists.stream([tier], most_reads=16).search(rows[:1], 3, EFFORT)


@pytest.mark.parametrize("threads", [1, 2])
def test_walks_of_a_graph_join(rows, threads: int) -> None:
    graph = Graph.build(SPACE, np.arange(1500), rows, GraphOptions(degree=16, beam=32))
    stream = graph.stream(threads, width=3)
    allowed = np.packbits(np.arange(1500) % 2 == 0, bitorder="little")
    few = np.packbits(np.arange(1500) % 50 == 0, bitorder="little")
    asks = [(rows[i : i + (1, 3, 60)[i % 3]], 2 + i % 4, (None, None, allowed, few)[i % 4]) for i in range(24)]
    with ThreadPoolExecutor(6) as callers:
        found = list(callers.map(lambda ask: stream.search(ask[0], ask[1], allowed=ask[2]), asks))
    for (queries, k, which), got in zip(asks, found, strict=True):
        alone = graph.search(queries, k, allowed=which)
        assert np.array_equal(got.slots, alone.slots) and np.array_equal(got.distances, alone.distances)
    ended = threading.Event()
    with ThreadPoolExecutor(2) as callers:
        searches = [callers.submit(_search_until, stream, rows, ended) for _ in range(2)]
        for start in range(1500, 1560, 20):
            graph.insert(np.arange(start, start + 20), rows[start : start + 20])
            assert (stream.search(rows[start : start + 1], 1).slots == start).all()
            graph.remove(np.arange(start - 20, start))
        ended.set()
        assert all(each.result() > 0 for each in searches)
    assert not np.isin(stream.search(rows[1490:1540], 5).slots, np.arange(1480, 1540)).any()


def _search_until(stream: GraphStream, rows: NDArray[np.float32], ended: threading.Event) -> int:
    count = 0
    while not ended.is_set():
        assert (stream.search(rows[count % 50 :][:2], 5).slots >= 0).all()
        count += 1
    return count
