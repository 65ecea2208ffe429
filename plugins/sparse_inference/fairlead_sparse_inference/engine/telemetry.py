"""What the engine measured."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from fairlead_kernels.work import ACTIVE, COMPUTED, Work, empty_work

_LATENCIES_KEPT = 256


@dataclass(slots=True)
class Telemetry:
    """Counters since the start; neurons are counted by layer, over all tokens of prompts and answers.

    Attributes:
        prompt_tokens, cached_tokens: tokens of prompts that were computed, and that were known from others.
        decode_tokens, decode_s: tokens of answers after the first one, and the time that they took.
        drafted, accepted: guesses at tokens, and those that stood.
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
