"""What the engine measured."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels.work import ACTIVE, COMPUTED, FIELDS, Work, empty_work

_LATENCIES_KEPT = 256
#: Upper bounds of the buckets of a token's time; a last bucket holds what took longer.
TOKEN_BOUNDS_S = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024)


class TokenTimes:
    """How many tokens took how long; `counts` has one bucket more than there are bounds."""

    def __init__(self) -> None:
        self.counts = np.zeros(len(TOKEN_BOUNDS_S) + 1, np.int64)
        self.total_s = 0.0

    def add(self, tokens: int, spent_s: float) -> None:
        """Add tokens that came out of one turn."""
        if tokens:
            self.counts[bisect_left(TOKEN_BOUNDS_S, spent_s / tokens)] += tokens
            self.total_s += spent_s


@dataclass(slots=True)
class Telemetry:
    """Counters since the start; neurons are counted by layer, over all tokens of prompts and answers.

    Attributes:
        prompt_tokens, cached_tokens: tokens of prompts that were computed, and that were known from others.
        decode_tokens, decode_s: tokens of answers after the first one, and the time that they took.
        drafted, accepted: guesses at tokens, and those that stood.
        token_times: how long the tokens of answers took, each turn's time in equal parts.
        work: int64 [layers, fields of fairlead_kernels.work]: what the feed-forward layers did.
    """

    layers: int
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    requests: int = 0
    aborted: int = 0
    failed: int = 0
    preempted: int = 0
    prefill_s: float = 0.0
    decode_s: float = 0.0
    decode_tokens: int = 0
    drafted: int = 0
    accepted: int = 0
    work: Work = field(init=False)
    token_times: TokenTimes = field(default_factory=TokenTimes)
    first_token_s: deque[float] = field(default_factory=lambda: deque(maxlen=_LATENCIES_KEPT))

    def __post_init__(self) -> None:
        """Start with no activity."""
        self.work = empty_work(self.layers)

    def count_answer(self, tokens: int, drafted: int, accepted: int) -> None:
        """Add tokens of an answer, and what guesses at them came to."""
        self.completion_tokens += tokens
        self.drafted += drafted
        self.accepted += accepted

    def count_prefill(self, tokens: int, spent_s: float) -> None:
        """Add a piece of a prompt."""
        self.prompt_tokens += tokens
        self.prefill_s += spent_s

    def count_decode(self, tokens: int, spent_s: float) -> None:
        """Add a turn that gave tokens of answers."""
        self.decode_tokens += tokens
        self.decode_s += spent_s
        self.token_times.add(tokens, spent_s)

    def by_field(self) -> dict[str, NDArray[np.int64]]:
        """Return copies of the columns of `work`, int64 [layers], by their names."""
        return dict(zip(FIELDS, self.work.copy().T, strict=True))

    def active_share(self) -> list[float]:
        """Return active / all neurons whose gates were computed, by layer; zeros before the first token."""
        return (self.work[:, ACTIVE] / np.maximum(self.work[:, COMPUTED], 1)).tolist()

    @property
    def throughput_per_s(self) -> float | None:
        """Tokens of answers per second of decoding."""
        return self.decode_tokens / self.decode_s if self.decode_tokens else None

    @property
    def latency_p90_s(self) -> float | None:
        """90th percentile of the time from a request to its first token, over the last requests."""
        return float(np.quantile(self.first_token_s, 0.9)) if self.first_token_s else None
