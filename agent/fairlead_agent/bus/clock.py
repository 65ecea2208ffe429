"""Virtual time for simulations: events in a heap, and nothing moves but by ``step`` and ``run_until``."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from typing import Protocol

Cancel = Callable[[], None]


class Scheduler(Protocol):
    """Tells the time and runs callbacks later."""

    def __call__(self) -> float:
        """The time now, in seconds."""
        ...

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Cancel:
        """Run ``callback`` after ``delay_s`` seconds, unless the returned function is called before."""
        ...


class VirtualClock:
    """A clock that is told when to move. Events of one moment run in the order in which they were scheduled.

    Args:
        now_s: the time at the beginning, in seconds.
    """

    def __init__(self, now_s: float = 0.0) -> None:
        self._now_s = now_s
        self._heap: list[tuple[float, int, list[Callable[[], None]]]] = []
        self._count = 0

    def __call__(self) -> float:
        """The time now, in seconds."""
        return self._now_s

    def __len__(self) -> int:
        return len(self._heap)

    def call_at(self, time_s: float, callback: Callable[[], None]) -> Cancel:
        """Run ``callback`` at ``time_s``; a time in the past means now."""
        cell = [callback]
        heapq.heappush(self._heap, (max(time_s, self._now_s), self._count, cell))
        self._count += 1
        return cell.clear

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Cancel:
        """Run ``callback`` after ``delay_s`` seconds."""
        return self.call_at(self._now_s + delay_s, callback)

    def step(self) -> bool:
        """Run the next event and move the time to it. False when none is left."""
        while self._heap:
            time_s, _, cell = heapq.heappop(self._heap)
            if cell:
                self._now_s = time_s
                cell[0]()
                return True
        return False

    def run_until(self, time_s: float) -> int:
        """Run all events up to and including ``time_s``, then stand there. Returns how many ran."""
        ran = 0
        while self.due(time_s):
            ran += self.step()
        self._now_s = max(self._now_s, time_s)
        return ran

    def due(self, time_s: float) -> bool:
        """True when an event is scheduled at or before ``time_s``."""
        while self._heap and not self._heap[0][2]:
            heapq.heappop(self._heap)
        return bool(self._heap) and self._heap[0][0] <= time_s


class LoopClock:
    """Real time: the clock of the running event loop."""

    def __call__(self) -> float:
        """The event loop's time, in seconds."""
        return asyncio.get_running_loop().time()

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Cancel:
        """Run ``callback`` after ``delay_s`` seconds, in the event loop."""
        loop = asyncio.get_running_loop()
        handle = loop.call_later(delay_s, callback) if delay_s > 0 else loop.call_soon(callback)
        return handle.cancel
