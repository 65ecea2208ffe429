"""What an instance measured between two reports, in the terms of its bid."""

from __future__ import annotations

import time
from collections.abc import Callable

from .counters import Counters, percentile

FEWEST = 16


class Measurement:
    """Takes the difference of counters from report to report; `clock` in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._searches, self._seconds = clock, 0, 0.0

    def take(self, counters: Counters) -> dict[str, float]:
        """Return what was measured; nothing where too little was done to tell.

        `throughput_per_s`: queries a second of one thread that is always busy; `latency_p90_s`: of a request.
        """
        searches, seconds = counters.counts["searches"] - self._searches, counters.seconds - self._seconds
        if searches < FEWEST or seconds <= 0:
            return {}
        self._searches, self._seconds = counters.counts["searches"], counters.seconds
        latest = sorted(list(counters.latencies_s)[-searches:])
        return {"throughput_per_s": searches / seconds, "latency_p90_s": percentile(latest, 0.9)}
