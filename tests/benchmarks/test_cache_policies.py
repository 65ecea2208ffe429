from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.cache_policies import belady, fixed, least_frequent, least_recent, merged, next_uses, uses_of

ITEMS = 6


def _trace(seed: int, length: int) -> list[NDArray[np.int32]]:
    random = np.random.default_rng(seed)
    sizes = random.integers(1, 4, length)
    return [random.choice(ITEMS, size, replace=False).astype(np.int32) for size in sizes]


def _least_possible(batches: list[NDArray[np.int32]], slots: int) -> int:
    """Every way to keep at most so many items of what is there after each batch."""
    costs: dict[frozenset[int], int] = {frozenset(): 0}
    for batch in batches:
        needed, after = frozenset(batch.tolist()), dict[frozenset[int], int]()
        for kept, cost in costs.items():
            there, paid = kept | needed, cost + len(needed - kept)
            for size in range(min(slots, len(there)) + 1):
                for left in map(frozenset, itertools.combinations(sorted(there), size)):
                    after[left] = min(paid, after.get(left, paid))
        costs = after
    return min(costs.values())


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("slots", [1, 2, 4])
def test_belady_reads_the_least_that_any_choice_reads(seed: int, slots: int) -> None:
    batches = _trace(seed, 7)
    assert belady(batches, ITEMS, slots).sum() == _least_possible(batches, slots)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("slots", [1, 3, ITEMS])
def test_no_policy_reads_less_than_belady(seed: int, slots: int) -> None:
    batches = _trace(seed, 60)
    least = belady(batches, ITEMS, slots).sum()
    assert least <= least_recent(batches, ITEMS, slots).sum()
    for half_life in (1.0, 20.0, float("inf")):
        assert least <= least_frequent(batches, ITEMS, slots, half_life).sum()
    # A fixed set has its first items for nothing.
    assert least <= fixed(batches, ITEMS, slots, uses_of(batches, ITEMS)).sum() + slots


@pytest.mark.parametrize("policy", [belady, least_recent, lambda b, i, s: least_frequent(b, i, s, 8.0)])
def test_with_room_for_all_each_item_is_read_once(policy) -> None:
    batches = _trace(3, 60)
    assert policy(batches, ITEMS, ITEMS).sum() == len(np.unique(np.concatenate(batches)))
    assert policy(batches, ITEMS, 0).sum() == sum(map(len, batches))


def test_least_recent_follows_a_worked_example() -> None:
    batches = [np.array(batch, np.int32) for batch in ([0], [1], [0], [2], [1], [0])]
    assert least_recent(batches, 3, 2).tolist() == [1, 1, 0, 1, 1, 1]
    # Item 2 is not kept: it is never needed again.
    assert belady(batches, 3, 2).tolist() == [1, 1, 0, 1, 0, 0]


def test_the_best_fixed_set_is_the_most_used() -> None:
    batches = [np.array(batch, np.int32) for batch in ([0, 1], [0, 2], [0, 1])]
    assert fixed(batches, 3, 2, uses_of(batches, 3)).tolist() == [0, 1, 0]


def test_next_uses_are_those_of_the_following_batches() -> None:
    batches = [np.array(batch, np.int32) for batch in ([0, 1], [2], [1])]
    assert [uses.tolist() for uses in next_uses(batches, 3)] == [[3, 2], [3], [3]]


def test_neighbours_become_one_read_as_far_as_gaps_and_lengths_allow() -> None:
    assert merged([], 4, 16) == (0, 0)
    assert merged([3], 4, 16) == (1, 1)
    assert merged([3, 7, 11], 4, 16) == (1, 9)
    assert merged([3, 8], 4, 16) == (2, 2)
    assert merged(list(range(32)), 1, 16) == (2, 32)
