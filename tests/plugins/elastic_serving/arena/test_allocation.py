"""Rings of free pages and allocation by prefix sums, in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairlead_elastic_serving.arena.allocation import Ring, fill, slices
from fairlead_elastic_serving.errors import OutOfPages


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(1, 20), st.lists(st.tuples(st.booleans(), st.integers(0, 8)), max_size=20))
def test_a_ring_is_a_queue(capacity: int, steps: list[tuple[bool, int]]) -> None:
    ring, queue = Ring(capacity, np.arange(capacity)), list(range(capacity))
    held: list[int] = []
    for take, number in steps:
        if take and number <= len(queue):
            taken = ring.take(number).tolist()
            assert taken == queue[:number]
            queue, held = queue[number:], held + taken
        elif not take:
            given_back, held = held[:number], held[number:]
            ring.give(np.array(given_back, np.int32))
            queue += given_back
        assert ring.count == len(queue) and ring.peek(99).tolist() == queue


def test_a_ring_refuses_what_it_has_not_and_what_it_cannot_hold() -> None:
    ring = Ring(3, np.array([5, 6]))
    with pytest.raises(OutOfPages, match="3 pages are asked for and 2 are free"):
        ring.take(3)
    with pytest.raises(ValueError, match="accepted: up to 1"):
        ring.give(np.array([1, 2]))
    assert ring.peek(3).tolist() == [5, 6]


def test_pages_can_be_removed_from_the_middle() -> None:
    ring = Ring(5, np.array([4, 2, 9, 7]))
    ring.take(1)
    ring.remove(np.array([9, 1]))
    assert ring.peek(5).tolist() == [2, 7]


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.integers(0, 4), min_size=1, max_size=12), st.booleans(), st.integers(0, 2**31))
def test_each_row_gets_a_slice_of_its_own(counts: list[int], from_right: bool, seed: int) -> None:
    random = np.random.default_rng(seed)
    wanted = np.array(counts, np.int32)
    first = random.integers(0, 4, len(wanted))
    rows = random.permutation(len(wanted) + 2)[: len(wanted)]
    tables = np.full((len(wanted) + 2, 9), -1, np.int32)
    pages = random.permutation(100)[: wanted.sum()].astype(np.int32)
    fill(tables, rows, first, wanted, pages, from_right=from_right)
    for row, start, count, begin in zip(rows, first, wanted, slices(wanted), strict=False):
        side = tables[row, ::-1] if from_right else tables[row]
        assert side[start : start + count].tolist() == pages[begin : begin + count].tolist()
    assert (tables >= 0).sum() == wanted.sum()
