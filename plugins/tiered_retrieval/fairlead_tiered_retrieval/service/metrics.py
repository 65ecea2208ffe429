"""Metrics in Prometheus's form, read when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from .application import Application
from .counters import BOUNDS_S
from .local import Local

_PREFIX = "fairlead_retrieval_"
_COUNTERS = {
    "queries": "Queries answered: their rate is QPS.",
    "searches": "Requests to search, of one query or many.",
    "reads": "Exact vectors read from a tier.",
    "round_trips": "Batches of reads that had to wait for one another.",
    "tier_bytes": "Bytes read from a tier.",
}
_DONE = {"upserted": "Documents written.", "deleted": "Documents deleted."}


class StoreCollector(Collector):
    """Reads a store.

    Args:
        local: has it.
        application: counts requests.
        workload, replica: labels of everything.
    """

    def __init__(self, local: Local, application: Application, workload: str, replica: int) -> None:
        self._local, self._application = local, application
        self._labels = {"workload": workload, "replica": str(replica)}

    def collect(self) -> Iterator[Metric]:
        """Yield all of them."""
        local, store = self._local, self._local.store
        yield self._gauge("in_flight", "Requests at work.", self._application.in_flight)
        yield self._counter("refused", "Requests refused as too many were at work.", self._application.refused)
        yield self._gauge("memory_bytes", "Of indexes, ids and metadata.", store.memory.used)
        yield self._gauge("memory_limit_bytes", "That they may take; 0: not limited.", store.memory.budget or 0)
        yield self._counter("moves", "Times that vectors were moved between tiers.", local.placement.moves)
        for name, meaning in _DONE.items():
            yield self._counter(name, meaning, local.total.counts[name])
        yield self._latency()
        yield from self._of_collections()

    def _of_collections(self) -> Iterator[Metric]:
        local, names = self._local, ["workload", "replica", "collection"]
        gauges = {
            "documents": "Documents of a collection.",
            "collection_memory_bytes": "Main memory of a collection.",
            "collection_tier_bytes": "Bytes of a collection in its index, whatever tier they are in.",
            "disk_bytes": "Vectors, database and write-ahead log of a collection.",
            "beside": "Vectors that are searched beside the index.",
        }
        families = {name: GaugeMetricFamily(_PREFIX + name, text, labels=names) for name, text in gauges.items()}
        counters = {name: CounterMetricFamily(_PREFIX + name, text, labels=names) for name, text in _COUNTERS.items()}
        recall = GaugeMetricFamily(_PREFIX + "recall", "Measured against exact search on a sample.", labels=names)
        for name in local.store.names():
            status, labels = local.store.collection(name).status(), [*self._labels.values(), name]
            values = (status.count, status.memory_bytes, status.sizes.tier_bytes, status.disk_bytes, status.beside)
            for family, value in zip(families.values(), values, strict=True):
                family.add_metric(labels, value)
            counts = local.counters[name].counts if name in local.counters else {}
            for key, counter in counters.items():
                counter.add_metric(labels, counts.get(key, 0))
            if name in local.recalls:
                recall.add_metric(labels, local.recalls[name].recall)
        yield from (*families.values(), *counters.values(), recall)

    def _latency(self) -> Metric:
        total = self._local.total
        family = HistogramMetricFamily(
            f"{_PREFIX}search_seconds", "Of a request to search, without the network.", labels=list(self._labels)
        )
        below, buckets = 0, list[tuple[str, float]]()
        bounds = [*(f"{bound:g}" for bound in BOUNDS_S), "+Inf"]
        for bound, count in zip(bounds, list(total.buckets), strict=True):
            below += count
            buckets.append((bound, float(below)))
        family.add_metric(list(self._labels.values()), buckets, total.seconds)
        return family

    def _gauge(self, name: str, meaning: str, value: float) -> Metric:
        family = GaugeMetricFamily(_PREFIX + name, meaning, labels=list(self._labels))
        family.add_metric(list(self._labels.values()), value)
        return family

    def _counter(self, name: str, meaning: str, value: float) -> Metric:
        family = CounterMetricFamily(_PREFIX + name, meaning, labels=list(self._labels))
        family.add_metric(list(self._labels.values()), value)
        return family
