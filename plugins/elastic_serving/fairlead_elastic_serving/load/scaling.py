"""Makes a trace fit a server: shorter prompts, longer answers, fewer requests."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from .traces import Arrival


@dataclass(frozen=True, slots=True)
class Scale:
    """Factors of the lengths, and the share of the requests that is kept."""

    prompt: float
    answer: float
    kept: float
    most_tokens: int
    """Of a prompt and of an answer, each."""


def scaled(arrivals: Sequence[Arrival], scale: Scale, seed: int) -> list[Arrival]:
    """The same requests with other lengths, thinned at random; raises ValueError where a factor is not above 0."""
    if min(scale.prompt, scale.answer, scale.kept, scale.most_tokens) <= 0 or scale.kept > 1:
        raise ValueError(f"{scale}: accepted: above 0, kept 1 at most")
    drawn = random.Random(seed)
    return [
        Arrival(item.at_s, _times(item.prompt, scale.prompt, scale), _times(item.answer, scale.answer, scale))
        for item in arrivals
        if drawn.random() < scale.kept
    ]


def _times(tokens: int, factor: float, scale: Scale) -> int:
    return min(scale.most_tokens, max(1, round(tokens * factor)))
