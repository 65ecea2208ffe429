"""What the engine measured."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

_LATENCIES_KEPT = 256


@dataclass(slots=True)
class Telemetry:
    """Counters since the start; neurons are counted by layer, over all tokens of prompts and answers.

    Attributes:
        active: int64 [layers]: neurons whose gate was not zero.
        prompt_tokens, cached_tokens: tokens of prompts that were computed, and that were known from others.
        computed: how many neurons' gates were computed in each layer.
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
    decode_steps: int = 0
    computed: int = 0
    active: NDArray[np.int64] = field(init=False)
    first_token_s: deque[float] = field(default_factory=lambda: deque(maxlen=_LATENCIES_KEPT))

    def __post_init__(self) -> None:
        """Start with no activity."""
        self.active = np.zeros(self.layers, np.int64)

    def count_neurons(self, active: NDArray[np.int64], tokens: int, neurons: int) -> None:
        """Add one call's active neurons by layer."""
        self.active += active
        self.computed += tokens * neurons

    def count_time(self, tokens: int, spent_s: float, *, decode: bool) -> None:
        """Add the time of one turn, a decode step or a piece of a prompt."""
        if decode:
            self.decode_steps += 1
            self.decode_s += spent_s
        else:
            self.prompt_tokens += tokens
            self.prefill_s += spent_s

    def active_share(self) -> list[float]:
        """Return active / computed neurons by layer; zeros before the first token."""
        return (self.active / max(self.computed, 1)).tolist()

    @property
    def throughput_per_s(self) -> float | None:
        """Tokens of answers per second of decoding."""
        return self.decode_steps / self.decode_s if self.decode_steps else None

    @property
    def latency_p90_s(self) -> float | None:
        """90th percentile of the time from a request to its first token, over the last requests."""
        return float(np.quantile(self.first_token_s, 0.9)) if self.first_token_s else None
