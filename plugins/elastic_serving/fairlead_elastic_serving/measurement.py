"""What an instance measured between two reports, in the terms of its bid."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from .cost import REFERENCE_ANSWER, REFERENCE_PROMPT
from .engine.telemetry import Histogram, Telemetry
from .planning.cost_model import Batch, Chunk, CostModel, fit

#: Fewer steps than these say nothing.
FEWEST_STEPS = 16


class Measurement:
    """Takes the difference of the engine's counters from report to report.

    Args:
        sequences: that run at the same time, at most.
        clock: in seconds.
    """

    def __init__(self, sequences: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._sequences, self._clock = sequences, clock
        self._good, self._at_s = 0, clock()
        self._first_tokens: list[int] = []
        #: Fitted to the last steps; None before enough of them were measured.
        self.cost: CostModel | None = None

    def take(self, telemetry: Telemetry) -> dict[str, float]:
        """Return what was measured; what was not is left out.

        `throughput_per_s`: tokens a second of a full batch of reference requests, by the fitted step times: what a bid
        predicts, whatever the load was. `latency_p90_s`: to the first token, since the last call. `goodput_per_s`:
        requests that met both objectives, since the last call.
        """
        found = {**self._throughput(list(telemetry.steps)), **self._latency(telemetry.first_token_s)}
        now_s = self._clock()
        if now_s > self._at_s and telemetry.requests:
            found["goodput_per_s"] = (telemetry.good - self._good) / (now_s - self._at_s)
        self._good, self._at_s = telemetry.good, now_s
        return found

    def _throughput(self, steps: Sequence[tuple[Batch, float]]) -> dict[str, float]:
        # A model that never saw a large batch says nothing of one.
        largest = max((len(batch) for batch, _ in steps), default=0)
        if len(steps) < FEWEST_STEPS or 2 * largest < self._sequences:
            return {}
        self.cost = fit(steps)
        chunk = Chunk(REFERENCE_PROMPT + REFERENCE_ANSWER // 2, 1)
        seconds = self.cost.batch([chunk] * self._sequences)
        return {"throughput_per_s": self._sequences / seconds} if seconds > 0 else {}

    def _latency(self, times: Histogram) -> dict[str, float]:
        counts = list(times.counts)
        fresh = Histogram(times.bounds)
        fresh.counts = [
            now - before for now, before in zip(counts, self._first_tokens or [0] * len(counts), strict=True)
        ]
        self._first_tokens = counts
        value = fresh.quantile(0.9)
        return {} if value is None else {"latency_p90_s": value}
