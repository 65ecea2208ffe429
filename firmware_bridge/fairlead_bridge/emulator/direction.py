"""One direction of an emulated link as a queue: packets go in at one time and come out at another. Pure."""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass
from random import Random

from fairlead_bridge.emulator.conditions import Conditions, Losses


@dataclass(frozen=True, slots=True)
class Counts:
    """Packets so far. What was offered was delivered, was lost on the way, found the queue full, or is under way."""

    offered: int
    delivered: int
    lost: int
    dropped: int
    under_way: int
    delivered_bytes: int


class Direction:
    """Times are seconds of one clock that does not go back (an earlier time counts as the latest one so far)."""

    def __init__(self, conditions: Conditions, random: Random, start_s: float) -> None:
        self.conditions = conditions
        self._random = random
        self._losses = Losses(conditions, random)
        self._start_s = start_s
        self._now_s = start_s
        self._free_s = start_s
        self._latest_arrival_s = start_s
        self._waiting: deque[tuple[float, int]] = deque()
        self._waiting_bytes = 0
        self._under_way: list[tuple[float, int, bytes]] = []
        self._offered = self._delivered = self._lost = self._dropped = self._delivered_bytes = 0

    def offer(self, packet: bytes, at_s: float) -> bool:
        """A packet comes to the link; False where the queue is full."""
        self._advance(at_s)
        self._offered += 1
        if self._waiting and self._waiting_bytes + len(packet) > self.conditions.queue_bytes:
            self._dropped += 1
            return False
        departure_s = self._depart(len(packet))
        if self._losses.next():
            self._lost += 1
        else:
            heapq.heappush(self._under_way, (self._arrival(departure_s), self._offered, packet))
        return True

    @property
    def next_s(self) -> float | None:
        """When the next packet arrives at the other end; None where none is under way."""
        return self._under_way[0][0] if self._under_way else None

    def take(self, at_s: float) -> list[bytes]:
        """The packets that have arrived by then and were not taken yet, in the order of their arrival."""
        self._advance(at_s)
        arrived: list[bytes] = []
        while self._under_way and self._under_way[0][0] <= self._now_s:
            arrived.append(heapq.heappop(self._under_way)[2])
        self._delivered += len(arrived)
        self._delivered_bytes += sum(map(len, arrived))
        return arrived

    @property
    def counts(self) -> Counts:
        under_way = len(self._under_way)
        return Counts(self._offered, self._delivered, self._lost, self._dropped, under_way, self._delivered_bytes)

    @property
    def waiting_bytes(self) -> int:
        """Bytes that have not passed the bottleneck at the latest time."""
        return self._waiting_bytes

    def _advance(self, at_s: float) -> None:
        self._now_s = max(self._now_s, at_s)
        while self._waiting and self._waiting[0][0] <= self._now_s:
            self._waiting_bytes -= self._waiting.popleft()[1]

    def _depart(self, size_bytes: int) -> float:
        """When the packet has passed the bottleneck: those before it go first."""
        start_s = max(self._free_s, self._now_s)
        rate = self.conditions.rate
        if rate is not None:
            self._free_s = self._start_s + rate.finish(start_s - self._start_s, size_bytes * 8)
            self._waiting.append((self._free_s, size_bytes))
            self._waiting_bytes += size_bytes
            return self._free_s
        return start_s

    def _arrival(self, departure_s: float) -> float:
        conditions = self.conditions
        if conditions.reordering and self._random.random() < conditions.reordering:
            return departure_s
        delay_s = conditions.delay_s
        if conditions.jitter_s:
            delay_s = max(0.0, self._random.gauss(delay_s, conditions.jitter_s))
        self._latest_arrival_s = max(self._latest_arrival_s, departure_s + delay_s)
        return self._latest_arrival_s
