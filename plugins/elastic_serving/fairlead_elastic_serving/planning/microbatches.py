"""Microbatches of about the same cost, so that a pipeline's stages rarely wait (KunServe, "lookahead").

The queued prefill work is halved by cost, not by tokens, and each half again, until a part would have less than a
minimum of tokens. A request may be cut in the middle: its second part is a chunk with a longer prefix.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

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
    total = sum(chunk.tokens for chunk in queue)

    def excess(tokens: int) -> float:
        first, second = cut(queue, tokens)
        return model.batch(first) - model.batch(second)

    places = range(least_tokens, total - least_tokens + 1)
    # The first side's cost grows with every token and the other's falls, so that the place is found by bisection.
    place = bisect_left(places, 0.0, key=excess)
    near = [places[index] for index in (place - 1, place) if 0 <= index < len(places)]
    return cut(queue, min(near, key=lambda tokens: abs(excess(tokens))))


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
