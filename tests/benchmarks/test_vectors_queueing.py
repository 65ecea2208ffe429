"""Waits that random arrivals make of a server's times, and the open loop of a benchmark that is held against them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.vectors.fairlead_engines import IndexEngine
from benchmarks.vectors.queueing import Server, arrivals, paused_waits, pauses_of, percentiles, waits
from fairlead_kernels.backend import extension
from fairlead_tiered_retrieval.lists import ListIndex
from fairlead_tiered_retrieval.space import Space


def test_equal_times_wait_as_the_formula_says() -> None:
    """Pollaczek and Khinchine: of an M/D/1 queue the mean is 1 + load / (2 (1 - load)) times of service."""
    waited = waits(arrivals(0.7, 200_000, seed=1), Server(1.0))
    assert waited.mean() == pytest.approx(1 + 0.7 / 0.6, rel=0.03)
    p50, p99 = percentiles(waited)
    assert p99 / p50 == pytest.approx(4.2, rel=0.08)


def test_a_tier_s_time_and_more_threads_draw_the_percentiles_together() -> None:
    due, one = arrivals(0.7, 100_000, seed=2), Server(1.0)
    servers = {"one": (due, one), "two": (due / 2, replace(one, threads=2)), "tier": (due, replace(one, after_s=2.0))}
    found = {name: percentiles(waits(*each)) for name, each in servers.items()}
    ratio = {name: p99 / p50 for name, (p50, p99) in found.items()}
    assert ratio["tier"] < 3.0 < ratio["two"] < ratio["one"]


def test_what_begins_together_saves_time() -> None:
    due = arrivals(0.9, 20_000, seed=3)
    apart = waits(due, Server(0.6, start_s=0.5, together=1))
    joined = waits(due, Server(0.6, start_s=0.5))
    # Of 1.1 a query one server is busy for 99 % of the time; of 0.6 and a shared 0.5 for much less.
    assert np.median(apart) > 5 * np.median(joined) and percentiles(apart)[1] > 5 * percentiles(joined)[1]


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.floats(0, 5), min_size=1, max_size=40),
    st.floats(0.01, 2),
    st.floats(0, 1),
    st.integers(1, 4),
    st.integers(1, 3),
)
def test_none_is_answered_before_it_could_be(
    gaps: list[float], each: float, start: float, together: int, threads: int
) -> None:
    waited = waits(np.cumsum(gaps), Server(each, start, 0.25, together, threads))
    assert (waited >= start + each + 0.25 - 1e-9).all()
    # With one thread each is answered after the one before it.
    assert threads > 1 or (np.diff(np.cumsum(gaps) + waited) >= each - 1e-9).all()


def test_a_pause_delays_what_comes_in_it_and_what_waits_behind() -> None:
    due, server = np.array([0.0, 1.5, 2.5, 9.0]), Server(1.0, after_s=0.25)
    assert paused_waits(due, server, np.zeros((0, 2))).tolist() == waits(due, server).tolist()
    # Still from 1 to 4: the first has just ended, the second and the third come meanwhile.
    assert paused_waits(due, server, np.array([[1.0, 4.0]])).tolist() == [1.25, 3.75, 3.75, 1.25]
    # In the middle of the first and in the middle of the last.
    assert paused_waits(due, server, np.array([[0.5, 0.75], [9.5, 11.5]])).tolist() == [1.5, 1.25, 1.25, 3.25]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(0.01, 2), min_size=1, max_size=20), st.lists(st.floats(0.01, 1), max_size=10), st.randoms())
def test_pauses_only_add_and_no_more_than_themselves(gaps: list[float], lengths: list[float], random) -> None:
    due, server = np.cumsum(gaps), Server(0.4)
    ends = np.cumsum([0.01 + random.random() + length for length in lengths])
    pauses = np.stack([ends - np.array(lengths), ends], axis=1).reshape(-1, 2)
    later = paused_waits(due, server, pauses) - waits(due, server)
    assert (later >= -1e-9).all() and (later <= (pauses[:, 1] - pauses[:, 0]).sum() + 1e-9).all()


def test_a_thread_that_looks_at_the_clock_sees_where_it_stood_still(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 0.00001, 0.00002, 0.5, 0.50001, 1.2, 1.3])
    monkeypatch.setattr("benchmarks.vectors.queueing.time.perf_counter", lambda: next(clock))
    np.testing.assert_allclose(pauses_of(1.0), [[0.00002, 0.5], [0.50001, 1.2]])


@pytest.mark.skipif(extension() is None, reason="streams need compiled kernels")
def test_an_open_loop_tells_the_load_that_it_was(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.vectors.fairlead_engines.FULL", 200)
    monkeypatch.setattr("benchmarks.vectors.fairlead_engines.ALONE", 5)
    rows = np.random.default_rng(0).normal(0, 1, (600, 16)).astype(np.float32)
    ListIndex.build(Space("float32", "l2", 16), np.arange(600), rows).save(tmp_path)
    np.save(tmp_path / "queries.npy", rows[:50])
    engine = IndexEngine("lists")
    engine.open(tmp_path, rows)
    told = engine.load(str(tmp_path / "queries.npy"), 5, 0.9, share=0.5, seconds=0.02, seed=1)
    assert 0 < told["p50_ms"] <= told["p99_ms"] and told["alone_ms"] > 0 and told["constant_p50_ms"] > 0
    assert told["share"] > 0 and told["rate"] > 0
    with pytest.raises(ValueError, match="accepted: lists"):
        flat = IndexEngine("flat")
        flat.build(rows, tmp_path, 1)
        flat.load(str(tmp_path / "queries.npy"), 5, 0.9, 0.5, 0.02, 1)
