"""What the engine measured: counters and histograms, under the meanings that vLLM's metrics have."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from ..planning.cost_model import Batch as Chunks

STEPS_KEPT = 512
TTFT_BOUNDS_S = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0)
TOKEN_BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0)
REQUEST_BOUNDS_S = (0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0)

LENGTH_BOUNDS = tuple(float(step * 10**power) for power in range(6) for step in (1, 2, 5))


class Histogram:
    """How many values fell below which bound; `counts` has one bucket more than there are bounds."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    @property
    def count(self) -> int:
        """How many values there were."""
        return sum(self.counts)

    def quantile(self, share: float) -> float | None:
        """Return the bound below which a share of the values lies; None without values or beyond all bounds."""
        wanted, seen = share * self.count, 0
        for bound, count in zip(self.bounds, self.counts, strict=False):
            seen += count
            if seen and seen >= wanted:
                return bound
        return None


@dataclass(slots=True)
class Telemetry:
    """Counters since the start.

    Attributes:
        prompt_tokens, cached_tokens: tokens of prompts that came in, and those of them that others had computed.
        queried_tokens: tokens of prompts that were looked up in the prefix cache.
        generation_tokens: tokens of answers.
        computed_tokens: tokens that steps computed, those that are computed again included.
        finished: requests that ended, by reason.
        good: requests that met both objectives: goodput is their rate.
        first_token_s, between_tokens_s: times to first tokens, and between two tokens of a request.
        request_s, queue_s, prefill_s, decode_s: whole times of requests, and their parts: until a step takes one
            in, until its first token, until its last one.
        mean_token_s: mean time of a token after the first, by request.
        prompt_lengths, answer_lengths: tokens of requests.
        steps: the last steps that this instance computed alone, as chunks and seconds: what a cost model is fitted to.
        processor_s: seconds of each of them for which the generation thread computed: what else the machine does is not
            in them, and neither is what other threads do.
    """

    requests: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    queried_tokens: int = 0
    generation_tokens: int = 0
    computed_tokens: int = 0
    step_count: int = 0
    step_s: float = 0.0
    good: int = 0
    finished: Counter[str] = field(default_factory=Counter)
    first_token_s: Histogram = field(default_factory=lambda: Histogram(TTFT_BOUNDS_S))
    between_tokens_s: Histogram = field(default_factory=lambda: Histogram(TOKEN_BOUNDS_S))
    request_s: Histogram = field(default_factory=lambda: Histogram(REQUEST_BOUNDS_S))
    queue_s: Histogram = field(default_factory=lambda: Histogram(REQUEST_BOUNDS_S))
    prefill_s: Histogram = field(default_factory=lambda: Histogram(REQUEST_BOUNDS_S))
    decode_s: Histogram = field(default_factory=lambda: Histogram(REQUEST_BOUNDS_S))
    mean_token_s: Histogram = field(default_factory=lambda: Histogram(TOKEN_BOUNDS_S))
    prompt_lengths: Histogram = field(default_factory=lambda: Histogram(LENGTH_BOUNDS))
    answer_lengths: Histogram = field(default_factory=lambda: Histogram(LENGTH_BOUNDS))
    steps: deque[tuple[Chunks, float]] = field(default_factory=lambda: deque(maxlen=STEPS_KEPT))
    processor_s: deque[float] = field(default_factory=lambda: deque(maxlen=STEPS_KEPT))

    def count_step(self, chunks: Chunks, spent_s: float, processor_s: float = 0.0) -> None:
        """Count a step, and for how much of it this thread computed."""
        self.processor_s.append(processor_s)
        self.step_count += 1
        self.step_s += spent_s
        self.computed_tokens += sum(chunk.tokens for chunk in chunks)
        self.steps.append((chunks, spent_s))


@dataclass(slots=True)
class Times:
    """When what happened to a request with so many tokens in its prompt, on the engine's clock."""

    arrived_s: float
    prompt: int = 0
    admitted_s: float | None = None
    first_s: float | None = None
    last_s: float | None = None
    tokens: int = 0

    def token(self, telemetry: Telemetry, now_s: float) -> None:
        """Count a token of the answer."""
        telemetry.generation_tokens += 1
        self.tokens += 1
        if self.first_s is None or self.last_s is None:
            self.first_s = now_s
            telemetry.first_token_s.add(now_s - self.arrived_s)
        else:
            telemetry.between_tokens_s.add(now_s - self.last_s)
        self.last_s = now_s

    def end(self, telemetry: Telemetry, reason: str, ttft_s: float, tpot_s: float) -> None:
        """Count the end of a request; it is good if it met both objectives."""
        telemetry.finished[reason] += 1
        if self.first_s is None or self.last_s is None or reason == "abort":
            return
        telemetry.request_s.add(self.last_s - self.arrived_s)
        telemetry.prefill_s.add(self.first_s - (self.arrived_s if self.admitted_s is None else self.admitted_s))
        telemetry.decode_s.add(self.last_s - self.first_s)
        telemetry.prompt_lengths.add(self.prompt)
        telemetry.answer_lengths.add(self.tokens)
        mean_s = (self.last_s - self.first_s) / max(1, self.tokens - 1)
        if self.tokens > 1:
            telemetry.mean_token_s.add(mean_s)
        telemetry.good += self.first_s - self.arrived_s <= ttft_s and mean_s <= tpot_s
