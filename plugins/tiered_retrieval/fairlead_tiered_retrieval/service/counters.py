"""What was done since the start, counted by whoever does it and read by metrics, facts and reports."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Sequence

#: Latencies that are kept for percentiles.
KEPT = 2048
BOUNDS_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


class Counters:
    """Counts of one collection, or of all."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.counts: Counter[str] = Counter()
        self.latencies_s: deque[float] = deque(maxlen=KEPT)
        self.buckets = [0] * (len(BOUNDS_S) + 1)
        self.seconds = 0.0

    def searched(self, queries: int, seconds: float, reads: int, round_trips: int, tier_bytes: int) -> None:
        """Count one search of some queries."""
        with self._lock:
            self.counts.update(searches=1, queries=queries, reads=reads, round_trips=round_trips, tier_bytes=tier_bytes)
            self.latencies_s.append(seconds)
            self.seconds += seconds
            self.buckets[sum(seconds > bound for bound in BOUNDS_S)] += 1

    def add(self, name: str, count: int = 1) -> None:
        """Count something else."""
        with self._lock:
            self.counts[name] += count

    def report(self) -> dict[str, float]:
        """Per query, for people: latency, reads, round trips and bytes of the tier."""
        with self._lock:
            counts, latencies = dict(self.counts), sorted(self.latencies_s)
        queries = counts.get("queries", 0)
        if not queries or not latencies:
            return {}
        return {
            "queries": queries,
            "latency_p50_s": percentile(latencies, 0.5),
            "latency_p99_s": percentile(latencies, 0.99),
            "reads_per_query": counts["reads"] / queries,
            "round_trips_per_query": counts["round_trips"] / queries,
            "tier_bytes_per_query": counts["tier_bytes"] / queries,
        }


def percentile(values: Sequence[float], share: float) -> float:
    """Of values in order."""
    return values[min(len(values) - 1, int(share * len(values)))]
