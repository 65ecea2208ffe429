"""Microbatches of about the same cost, so that a pipeline's stages rarely wait (KunServe, "lookahead").

The queued prefill work is halved by cost, not by tokens, and each half again, until a part would have less than a
minimum of tokens. A request may be cut in the middle: its second part is a chunk with a longer prefix.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from .cost_model import Chunk, CostModel


def lookahead(queue: Sequence[Chunk], model: CostModel, least_tokens: int) -> list[list[Chunk]]:
    """Cut queued chunks to microbatches of about the same cost.

    Args:
        queue: the work, in order.
        model: what it costs.
        least_tokens: of a microbatch, if there are as many; at least 1.

    Returns:
        microbatches, each not empty, in order; together they are the queue's tokens.
    """
    if least_tokens < 1:
        raise ValueError(f"least_tokens {least_tokens}: accepted: 1 and above")
    if sum(chunk.tokens for chunk in queue) < 2 * least_tokens:
        return [list(queue)] if queue else []
    first, second = halves(queue, model, least_tokens)
    return [*lookahead(first, model, least_tokens), *lookahead(second, model, least_tokens)]


def halves(queue: Sequence[Chunk], model: CostModel, least_tokens: int = 1) -> tuple[list[Chunk], list[Chunk]]:
    """Cut chunks where both sides cost the same, as nearly as whole tokens and ``least_tokens`` on each side allow."""
    costs = _Sides(queue, model)

    def excess(tokens: int) -> float:
        first, second = costs.at(tokens)
        return first - second

    return cut(queue, _nearest(range(least_tokens, costs.tokens - least_tokens + 1), excess))


def evenly(queue: Sequence[Chunk], model: CostModel, parts: int) -> list[list[Chunk]]:
    """Cut chunks to so many microbatches of about the same cost, or to as many as there are tokens; see `lookahead`."""
    found, rest = list[list[Chunk]](), list(queue)
    for left in range(min(parts, sum(chunk.tokens for chunk in queue)), 1, -1):
        first, rest = _first_of(rest, model, left)
        found.append(first)
    return [*found, rest] if rest else found


def _first_of(queue: Sequence[Chunk], model: CostModel, parts: int) -> tuple[list[Chunk], list[Chunk]]:
    """Cut the first of so many microbatches off, two or more."""
    costs = _Sides(queue, model)

    def excess(tokens: int) -> float:
        first, rest = costs.at(tokens)
        # The rest will be cut to further microbatches, each of which costs anew what its chunks share.
        return first - (rest + (parts - 2) * model.shared_s) / (parts - 1)

    return cut(queue, _nearest(range(1, costs.tokens - parts + 2), excess))


def _nearest(places: range, excess: Callable[[int], float]) -> int:
    """The place at which the excess is nearest to nothing; it grows from place to place."""
    place = bisect_left(places, 0.0, key=excess)
    near = [places[index] for index in (place - 1, place) if 0 <= index < len(places)]
    return min(near, key=lambda tokens: abs(excess(tokens)))


class _Sides:
    """What both sides of a cut cost, wherever it is: each chunk is counted once, not again for every place.

    What several tokens cost more is left out, as both sides have it.
    """

    def __init__(self, queue: Sequence[Chunk], model: CostModel) -> None:
        self._queue, self._model = queue, model
        self._ends = list(accumulate(chunk.tokens for chunk in queue))
        self._costs = [0.0, *accumulate(model.part(chunk) - model.shared_s for chunk in queue)]

    @property
    def tokens(self) -> int:
        """Of all chunks."""
        return self._ends[-1]

    def at(self, tokens: int) -> tuple[float, float]:
        """Return the costs of what is before and after so many tokens, at least one on each side."""
        place, model = bisect_left(self._ends, tokens), self._model
        chunk, before, after = self._queue[place], self._costs[place], self._costs[-1] - self._costs[place + 1]
        left = self._ends[place] - tokens
        if not left:
            return self._costs[place + 1] + model.shared_s, after + model.shared_s
        whole = chunk.tokens - left
        return before + model.part(Chunk(chunk.prefix, whole)), after + model.part(Chunk(chunk.prefix + whole, left))


def cut(queue: Sequence[Chunk], tokens: int) -> tuple[list[Chunk], list[Chunk]]:
    """Cut chunks after a number of tokens; the chunk that this falls into becomes two."""
    first: list[Chunk] = []
    for place, chunk in enumerate(queue):
        if tokens <= 0:
            return first, list(queue[place:])
        if chunk.tokens > tokens:
            first.append(Chunk(chunk.prefix, tokens))
            return first, [Chunk(chunk.prefix + tokens, chunk.tokens - tokens), *queue[place + 1 :]]
        first.append(chunk)
        tokens -= chunk.tokens
    return first, []


#: How uneven microbatches are: part of a microbatch's time for which a stage waits in a round, for each stage but one.
UNEVEN = 0.25


@dataclass(frozen=True, slots=True)
class Round:
    """A round of a pipeline that drivers keep going: each microbatch goes through all stages once.

    Attributes:
        seconds: that it takes.
        idle: share of them for which a stage waits.
    """

    seconds: float
    idle: float


def round_of(
    fixed_s: float,
    work_s: float,
    parts: int,
    stages: int,
    drivers: int = 1,
    latency_s: float = 0.0,
    others_s: float | None = None,
    own_s: float = 0.0,
) -> Round:
    """Return what a round takes if each driver's work is cut to some microbatches, and goes on and on.

    A stage has ``drivers * parts`` microbatches in a round, and a microbatch comes round no sooner than through all
    stages, over all links and past its driver; as they are not quite even, a stage waits for a part of one beside that.
    Drivers cut alike: were each to count on the number that it sees of others, one would send many small microbatches
    and another one large one, and the instance of the first would keep everybody waiting.

    Args:
        fixed_s: seconds of a microbatch over all stages, however small.
        work_s: of a driver's work beside that.
        parts: microbatches of each driver.
        stages: of the group.
        drivers: that are at work, in as many parts.
        latency_s: from one stage to the next.
        others_s: seconds of the other drivers' work at a stage in a round beside what their microbatches cost however
            small; None: each has as much as this one.
        own_s: for which a driver's instance draws, plans and sends for each of its own microbatches.
    """
    each = (fixed_s + work_s / parts) / stages
    work = drivers * work_s / stages if others_s is None else work_s / stages + others_s
    busy = work + parts * (drivers * fixed_s / stages + own_s)
    seconds = max(busy, stages * (each + latency_s) + own_s) + (stages - 1) * UNEVEN * (each + own_s)
    return Round(seconds, 1 - busy / seconds if seconds else 0.0)


def best_parts(
    fixed_s: float,
    work_s: float,
    most: int,
    stages: int,
    drivers: int = 1,
    latency_s: float = 0.0,
    most_idle: float = 0.08,
    most_longer: float = 0.6,
    others_s: float | None = None,
    own_s: float = 0.0,
) -> int:
    """Return how many microbatches to cut a driver's work to: few cost little, many keep all stages busy.

    Every microbatch costs its fixed part anew. The fewest are chosen with which stages rarely wait, of those whose
    round takes not much longer than the shortest there is; else those with which they wait least. With two stages and
    drivers that are two each: one each is a shorter round, but whatever holds one of them up holds all up.

    Args:
        fixed_s, work_s, stages, drivers, latency_s, others_s, own_s: see `round_of`.
        most: microbatches.
        most_idle: share of the time for which stages may wait.
        most_longer: how much longer a round may take for that, as a share of the shortest.
    """
    rounds = {
        parts: round_of(fixed_s, work_s, parts, stages, drivers, latency_s, others_s, own_s)
        for parts in range(1, max(1, most) + 1)
    }
    best = min(rounds, key=lambda parts: rounds[parts].seconds)
    longest = (1 + most_longer) * rounds[best].seconds
    affordable = [parts for parts, one in rounds.items() if one.seconds <= longest]
    busy = (parts for parts in affordable if rounds[parts].idle <= most_idle)
    return next(busy, min(affordable, key=lambda parts: rounds[parts].idle))


def bubble_share(stages: int, microbatches: int) -> float:
    """Return the share of time for which stages wait, if all microbatches take the same time: (g - 1) / (m + g - 1).

    Raises ValueError where either is below 1.
    """
    if stages < 1 or microbatches < 1:
        raise ValueError(f"stages {stages}, microbatches {microbatches}: accepted: 1 and above")
    return (stages - 1) / (microbatches + stages - 1)


def measured_bubbles(costs: Sequence[float], stages: int) -> float:
    """Return the share of stage time that is idle if microbatches of these costs go through equal stages.

    A stage takes a microbatch when it and the stage before are done with what they have.
    """
    done = [0.0] * stages
    for cost in costs:
        ready = 0.0
        for stage in range(stages):
            ready = done[stage] = max(ready, done[stage]) + cost / stages
    whole = done[-1] * stages
    return 1.0 - sum(costs) / whole if whole else 0.0
