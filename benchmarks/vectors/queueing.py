"""What random arrivals and a machine's pauses make of a server's times: to tell these from faults in measured waits."""

from __future__ import annotations

import heapq
import time
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


def paused_waits(due: F64, server: Server, pauses: F64) -> F64:
    """Return waits as `waits` does, where the machine stands still at times: pauses [n, 2] (from, to), ascending.

    Queries come during pauses too; a tier's latency is taken to pass meanwhile.
    """
    if not len(pauses):
        return waits(due, server)
    begin, length = pauses[:, 0], pauses[:, 1] - pauses[:, 0]
    before = np.concatenate([[0.0], np.cumsum(length)])

    def working(at: F64) -> F64:
        passed = np.searchsorted(begin, at, side="right")
        inside = np.minimum(at - begin[passed - 1], length[passed - 1]) if len(begin) else 0.0
        return at - np.where(passed, before[passed - 1] + inside, 0.0)

    came = working(due)
    ended = came + waits(came, server) - server.after_s
    # What ends where a pause begins has ended before it.
    return ended + before[np.searchsorted(begin - before[:-1], ended, side="left")] + server.after_s - due


def pauses_of(seconds: float, least_s: float = 1e-4) -> F64:
    """Look at the clock for some seconds; return when this thread stood still for `least_s` and more: [n, 2] from, to.

    Whatever else runs on the processor, or the host of a virtual machine, shows here, as it does in a search's time.
    """
    seen: list[tuple[float, float]] = []
    began = last = time.perf_counter()
    while last < began + seconds:
        now = time.perf_counter()
        if now - last >= least_s:
            seen.append((last - began, now - began))
        last = now
    return np.array(seen).reshape(-1, 2)


def percentiles(waited: F64, skipped: float = 0.1) -> tuple[float, float]:
    """Return the median and the 99th percentile of waits, without the first share of them."""
    counted = waited[int(skipped * len(waited)) :]
    return float(np.percentile(counted, 50)), float(np.percentile(counted, 99))


def arrivals(rate: float, seconds: float, seed: int, first_s: float = 0.01) -> F64:
    """Return times of random arrivals (Poisson) at a rate, one at least."""
    random = np.random.default_rng(seed)
    return first_s + np.cumsum(random.exponential(1 / rate, max(1, int(rate * seconds))))
