"""What a window of requests does to instances of a given speed and memory, by the cost model alone.

A step computes one token of every running request and chunks of prompts up to a number of tokens. Requests are admitted
in order when all their tokens find room; when a running one finds no room for its next token, the youngest gives its
memory up and is computed again later. With unlimited memory the same gives the demand for it, and with the memory that
dropping frees the tail that no handling of the burst can beat by much.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf

from benchmarks.serving.traces import Arrival
from fairlead_elastic_serving.planning.cost_model import Chunk, CostModel


@dataclass(frozen=True, slots=True)
class Speed:
    """How an instance computes: the cost of a step, tokens that one computes, sequences that run, at most."""

    cost: CostModel
    step_tokens: int = 512
    sequences: int = 64


@dataclass(slots=True)
class _Live:
    arrival: Arrival
    order: int
    known: int
    stored: int = 0


@dataclass(slots=True)
class Outcome:
    """What came of a simulated window.

    Attributes:
        ttft_s: of each request, in order of arrival.
        residence_s: from its first admission to its end.
        demand: (seconds, tokens of running and waiting requests) after each step.
        busy_s: seconds in which a step was under way.
        preemptions: how often a request gave its memory up.
    """

    ttft_s: list[float] = field(default_factory=list)
    residence_s: list[float] = field(default_factory=list)
    demand: list[tuple[float, int]] = field(default_factory=list)
    busy_s: float = 0.0
    preemptions: int = 0

    @property
    def peak(self) -> int:
        """Most tokens of running and waiting requests at one time."""
        return max((tokens for _, tokens in self.demand), default=0)


def simulate(arrivals: Sequence[Arrival], speed: Speed, capacity: float = inf) -> Outcome:
    """Replay requests on one instance that has room for so many tokens.

    Raises:
        ValueError: a request does not fit even alone.
    """
    return _Instance(arrivals, speed, capacity).run()


def spread(arrivals: Sequence[Arrival], instances: int) -> list[list[Arrival]]:
    """Deal requests out in turn, as the benchmarks do."""
    return [list(arrivals[index::instances]) for index in range(instances)]


class _Instance:
    def __init__(self, arrivals: Sequence[Arrival], speed: Speed, capacity: float) -> None:
        for item in arrivals:
            if item.prompt + item.answer > capacity:
                raise ValueError(f"{item}: more tokens than the capacity of {capacity:g}")
        self._speed, self._capacity = speed, capacity
        self._coming = deque(enumerate(sorted(arrivals, key=lambda item: item.at_s)))
        self._waiting: deque[_Live] = deque()
        self._running: list[_Live] = []
        self._now = 0.0
        self._first: dict[int, float] = {}
        self._admitted: dict[int, float] = {}
        self._outcome = Outcome()

    def run(self) -> Outcome:
        while self._coming or self._waiting or self._running:
            self._arrive()
            chunks = self._planned()
            if not chunks:
                self._now = self._coming[0][1].at_s
                continue
            seconds = self._speed.cost.batch([chunk for _, chunk in chunks])
            self._now += seconds
            self._outcome.busy_s += seconds
            self._computed(chunks)
        self._outcome.ttft_s = [self._first[order] for order in sorted(self._first)]
        return self._outcome

    def _arrive(self) -> None:
        while self._coming and self._coming[0][1].at_s <= self._now:
            order, arrival = self._coming.popleft()
            self._waiting.append(_Live(arrival, order, arrival.prompt))

    def _held(self) -> int:
        return sum(item.known for item in self._running)

    def _planned(self) -> list[tuple[_Live, Chunk]]:
        self._make_room()
        held = self._held()
        while self._waiting and len(self._running) < self._speed.sequences:
            if held + self._waiting[0].known > self._capacity:
                break
            item = self._waiting.popleft()
            self._admitted.setdefault(item.order, self._now)
            held += item.known
            self._running.append(item)
        left, chunks = self._speed.step_tokens, []
        for item in self._running:
            tokens = min(left, item.known - item.stored)
            if tokens:
                chunks.append((item, Chunk(item.stored, tokens)))
                left -= tokens
        return chunks

    def _make_room(self) -> None:
        self._running.sort(key=lambda item: item.order)
        while self._held() > self._capacity:
            item = self._running.pop()
            item.stored = 0
            self._waiting.appendleft(item)
            self._outcome.preemptions += 1

    def _computed(self, chunks: Sequence[tuple[_Live, Chunk]]) -> None:
        for item, chunk in chunks:
            item.stored += chunk.tokens
            if item.stored < item.known:
                continue
            item.known += 1
            self._first.setdefault(item.order, self._now - item.arrival.at_s)
            if item.known == item.arrival.prompt + item.arrival.answer:
                self._running.remove(item)
                self._outcome.residence_s.append(self._now - self._admitted[item.order])
        waiting = sum(item.known for item in self._waiting)
        self._outcome.demand.append((self._now, self._held() + waiting))


def compute_load(arrivals: Sequence[Arrival], speed: Speed, seconds: float, instances: int, batch: int) -> float:
    """Share of the instances' time that the requests' tokens take, if so many sequences decode together.

    A prompt costs its chunk, a further token of an answer its pairs and itself, and its part of what a step costs
    whatever it computes.
    """
    cost = speed.cost
    further = cost.chunk_s - cost.shared_s
    part = (cost.chunk_s + (batch - 1) * further + cost.several_s * (batch > 1)) / batch
    busy = 0.0
    for item in arrivals:
        decoded = item.answer - 1
        pairs = decoded * item.prompt + decoded * (decoded + 1) // 2
        busy += cost.pair_s * (Chunk(0, item.prompt).pairs + pairs) + cost.token_s * (item.prompt + decoded)
        # A token that is generated reads as many as it pairs with.
        busy += cost.read_s * (item.prompt + pairs)
        chunks = -(-item.prompt // speed.step_tokens)
        busy += further * chunks + part * decoded
    return busy / (seconds * instances)
