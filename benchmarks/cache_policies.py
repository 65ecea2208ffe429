"""Replacement policies over a trace of batches: what each has to read, and what no policy can do without.

A trace is a list of batches, int32 arrays of items without repeats; a batch is what one layer needs for one token. What
is needed and not in memory is read; after each batch a policy keeps at most ``slots`` items. What a batch brought may
leave at once, so that Belady's rule is a bound for every policy that reads on demand, those that do not admit included.
Each function returns the items that each batch had to read, int64 [batches].
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Batches = Sequence[NDArray[np.int32]]
Counts = NDArray[np.int64]


def next_uses(batches: Batches, items: int) -> list[NDArray[np.int64]]:
    """For each batch, the next batch that needs each of its items; ``len(batches)`` where none does."""
    upcoming = np.full(items, len(batches), np.int64)
    found: list[NDArray[np.int64]] = []
    for time in range(len(batches) - 1, -1, -1):
        found.append(upcoming[batches[time]])
        upcoming[batches[time]] = time
    return found[::-1]


def belady(batches: Batches, items: int, slots: int) -> Counts:
    """The least that any policy reads on demand: what is needed last leaves first (Belady's MIN)."""
    cached, needed_at = np.zeros(items, np.bool_), np.full(items, -1, np.int64)
    waiting: dict[int, list[NDArray[np.int32]]] = {}
    latest: list[int] = []  # a heap of the times in `waiting`, negated
    held, misses = 0, np.zeros(len(batches), np.int64)
    for time, (batch, uses) in enumerate(zip(batches, next_uses(batches, items), strict=True)):
        misses[time] = len(batch) - np.count_nonzero(cached[batch])
        held += int(misses[time])
        cached[batch], needed_at[batch] = True, uses
        for use in np.unique(uses).tolist():
            if use not in waiting:
                waiting[use] = []
                heapq.heappush(latest, -use)
            waiting[use].append(batch[uses == use])
        while held > slots:
            last = -latest[0]
            if not waiting[last]:
                del waiting[last]
                heapq.heappop(latest)
                continue
            found = waiting[last].pop()
            found = found[cached[found] & (needed_at[found] == last)]
            leaving = found[: held - slots]
            cached[leaving] = False
            held -= len(leaving)
            if len(found) > len(leaving):
                waiting[last].append(found[len(leaving) :])
    return misses


def least_recent(batches: Batches, items: int, slots: int) -> Counts:
    """What was not used for the longest time leaves first (LRU)."""
    cached, used_at = np.zeros(items, np.bool_), np.full(items, -1, np.int64)
    order: deque[tuple[int, NDArray[np.int32]]] = deque()
    held, misses = 0, np.zeros(len(batches), np.int64)
    for time, batch in enumerate(batches):
        misses[time] = len(batch) - np.count_nonzero(cached[batch])
        held += int(misses[time])
        cached[batch], used_at[batch] = True, time
        order.append((time, batch))
        while held > slots:
            then, found = order.popleft()
            found = found[cached[found] & (used_at[found] == then)]
            leaving = found[: held - slots]
            cached[leaving] = False
            held -= len(leaving)
            if len(found) > len(leaving):
                order.appendleft((then, found[len(leaving) :]))
    return misses


def least_frequent(
    batches: Batches, items: int, slots: int, half_life: float, first: NDArray[np.float64] | None = None
) -> Counts:
    """What was used least leaves first; a use counts half after ``half_life`` batches (LFU with decay).

    Args:
        batches: the trace.
        items: how many there are.
        slots: how many are kept.
        half_life: batches; infinity forgets nothing.
        first: uses of each item before the trace begins, [items].
    """
    score = np.zeros(items) if first is None else first.astype(np.float64)
    cached, misses = np.zeros(items, np.bool_), np.zeros(len(batches), np.int64)
    growth, weight = 2.0 ** (1 / half_life), 1.0
    for time, batch in enumerate(batches):
        misses[time] = len(batch) - np.count_nonzero(cached[batch])
        weight *= growth
        score[batch] += weight
        cached[batch] = True
        kept = np.flatnonzero(cached)
        if len(kept) > slots:
            surplus = len(kept) - slots
            cached[kept[np.argpartition(score[kept], surplus - 1)[:surplus]]] = False
        if weight > 1e100:
            score, weight = score / weight, 1.0
    return misses


def fixed(batches: Batches, items: int, slots: int, uses: NDArray[np.number]) -> Counts:
    """Those with the most uses are in memory, always the same; with the trace's own uses the best such set."""
    cached = np.zeros(items, np.bool_)
    cached[np.argsort(-uses, kind="stable")[:slots]] = True
    return np.array([len(batch) - np.count_nonzero(cached[batch]) for batch in batches], np.int64)


def uses_of(batches: Batches, items: int) -> Counts:
    """How many batches need each item, [items]."""
    uses = np.zeros(items, np.int64)
    for batch in batches:
        uses[batch] += 1
    return uses


def merged(items: Sequence[int], reach: int, most: int) -> tuple[int, int]:
    """How many reads bring these items (of one layer, ascending), as the engine joins neighbours; of how many places.

    Args:
        items: places in the file.
        reach: the largest step from one to the next within a read.
        most: places that a read covers.
    """
    reads, places, first, last = 0, 0, -1, -1
    for item in items:
        if reads == 0 or item - last > reach or item - first >= most:
            reads, places, first = reads + 1, places + 1, item
        else:
            places += item - last
        last = item
    return reads, places
