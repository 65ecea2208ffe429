"""What the control plane counts, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

#: Seconds; a small request through the gateway lies in the first buckets, a long answer in the last.
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class Meter:
    """Counters and gauges of one control plane, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "fairlead_gateway_requests",
            "Requests by workload and status; 499: the client left first.",
            ["workload", "status"],
            registry=self.registry,
        )
        self._failures = Counter(
            "fairlead_gateway_failed_attempts",
            "Instances that were asked and did not answer; most requests then go to another one.",
            ["workload"],
            registry=self.registry,
        )
        self._seconds = Histogram(
            "fairlead_gateway_request_seconds",
            "From the request's head to the end of its answer.",
            ["workload"],
            buckets=BUCKETS,
            registry=self.registry,
        )

    def answered(self, workload: str, status: int, seconds: float) -> None:
        """A request is over; ``workload`` is empty where none was found."""
        self._requests.labels(workload, str(status)).inc()
        self._seconds.labels(workload).observe(seconds)

    def failed(self, workload: str) -> None:
        """An instance of ``workload`` was asked and did not answer."""
        self._failures.labels(workload).inc()

    def gauge(self, name: str, summary: str, value: Callable[[], float]) -> None:
        """Read ``value`` whenever metrics are asked for."""
        Gauge(name, summary, registry=self.registry).set_function(value)

    def text(self) -> bytes:
        """All of it in Prometheus's text form."""
        return generate_latest(self.registry)
