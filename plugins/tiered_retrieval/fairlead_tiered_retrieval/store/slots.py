"""Which slots are taken, and when a free one may be taken again."""

from __future__ import annotations

import heapq
import threading
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

Slots = NDArray[np.int64]


class SlotAllocator:
    """Small numbers for documents. A slot that was given back rests until nobody reads who may have seen it taken.

    Reads are counted by epoch (Fraser, Practical lock-freedom, 2004, section 5.2.3): each giving back ends one, and
    slots that rest since an epoch are free once no reader that began in it or before is left.

    Args:
        taken: slots that documents have.
    """

    def __init__(self, taken: Slots) -> None:
        self.top = int(taken.max()) + 1 if len(taken) else 0
        """No slot at or above it was ever taken."""
        free = np.ones(self.top, bool)
        free[taken] = False
        self._free = np.flatnonzero(free).tolist()
        self._resting: deque[tuple[int, list[int]]] = deque()
        self._readers: Counter[int] = Counter()
        self._epoch = 0
        self._lock = threading.Lock()

    @contextmanager
    def reading(self) -> Iterator[None]:
        """While in it, no slot changes its owner for the second time."""
        with self._lock:
            epoch = self._epoch
            self._readers[epoch] += 1
        try:
            yield
        finally:
            with self._lock:
                self._readers[epoch] -= 1
                if not self._readers[epoch]:
                    del self._readers[epoch]

    def take(self, count: int) -> Slots:
        """Return so many free slots, ascending, the lowest there are."""
        with self._lock:
            reused = [heapq.heappop(self._free) for _ in range(min(count, len(self._free)))]
            fresh = range(self.top, self.top + count - len(reused))
            self.top += len(fresh)
        return np.array([*reused, *fresh], np.int64)

    def put_back(self, slots: Iterable[int]) -> None:
        """Free slots at once that were taken and that nobody has seen."""
        with self._lock:
            for slot in slots:
                heapq.heappush(self._free, int(slot))

    def give_back(self, slots: Iterable[int]) -> None:
        """Let slots rest whose documents are gone."""
        resting = [int(slot) for slot in slots]
        if resting:
            with self._lock:
                self._resting.append((self._epoch, resting))
                self._epoch += 1

    def rest_over(self, busy: Slots) -> None:
        """Free the slots that have rested enough, except those that an index still holds."""
        with self._lock:
            oldest = min(self._readers, default=self._epoch + 1)
            over: list[int] = []
            while self._resting and self._resting[0][0] < oldest:
                over += self._resting.popleft()[1]
            held = set(busy.tolist()).intersection(over) if over else set()
            for slot in over:
                if slot not in held:
                    heapq.heappush(self._free, slot)
            if held:
                self._resting.append((self._epoch, sorted(held)))
                self._epoch += 1

    @property
    def resting(self) -> int:
        """Slots that rest."""
        with self._lock:
            return sum(len(slots) for _, slots in self._resting)
