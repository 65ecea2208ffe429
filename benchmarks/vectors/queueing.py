"""What random arrivals make of a server's times, without a clock: to tell queueing from faults in measured waits."""

from __future__ import annotations

import heapq
from bisect import bisect_right
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Server:
    """Times of a server that takes what has come in its order.

    Attributes:
        each_s: of every query.
        start_s: once for those that begin together; they are begun together whenever several have come.
        after_s: from the end of a query's own time to its answer; the server does others meanwhile (a tier's latency).
        together: queries that begin together at most.
        threads: of the server; each takes its part of what has come.
    """

    each_s: float
    start_s: float = 0.0
    after_s: float = 0.0
    together: int = 32
    threads: int = 1


def waits(due: F64, server: Server) -> F64:
    """Return seconds from when each query comes (ascending) until it is answered.

    With no ``start_s`` and one thread this is Lindley's recursion, of random arrivals an M/D/1 queue.
    """
    times, ended, begun = due.tolist(), np.empty(len(due)), 0
    free = [0.0] * server.threads
    while begun < len(times):
        now = max(heapq.heappop(free), times[begun])
        come = bisect_right(times, now, lo=begun) - begun
        taken = min(server.together, -(-come // server.threads))
        ends = now + server.start_s + server.each_s * np.arange(1, taken + 1)
        ended[begun : begun + taken] = ends + server.after_s
        heapq.heappush(free, float(ends[-1]))
        begun += taken
    return ended - due


def percentiles(waited: F64, skipped: float = 0.1) -> tuple[float, float]:
    """Return the median and the 99th percentile of waits, without the first share of them."""
    counted = waited[int(skipped * len(waited)) :]
    return float(np.percentile(counted, 50)), float(np.percentile(counted, 99))


def arrivals(rate: float, seconds: float, seed: int, first_s: float = 0.01) -> F64:
    """Return times of random arrivals (Poisson) at a rate, one at least."""
    random = np.random.default_rng(seed)
    return first_s + np.cumsum(random.exponential(1 / rate, max(1, int(rate * seconds))))
