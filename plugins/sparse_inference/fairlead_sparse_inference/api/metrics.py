"""The engine's measurements as Prometheus metrics."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from fairlead_kernels.work import ACTIVE, COMPUTED

from ..engine import Engine

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Samples = Mapping[str, float]


class EngineCollector(Collector):
    """Reads the engine's counters when it is scraped; times in seconds, sizes in bytes."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def collect(self) -> Iterable[Metric]:
        """Return all metrics."""
        yield from self._work()
        yield from self._neurons()
        yield from self._state()

    def _work(self) -> Iterator[Metric]:
        told = self._engine.telemetry
        tokens = {"prompt": told.prompt_tokens, "completion": told.completion_tokens}
        yield _counter("tokens", "Tokens computed.", "kind", tokens)
        yield _counter("prefix_cache_tokens", "Tokens of prompts known from others.", None, {"": told.cached_tokens})
        yield _counter("requests", "Requests taken.", None, {"": told.requests})
        early = {"aborted": told.aborted, "failed": told.failed}
        yield _counter("requests_ended_early", "Requests that did not end by themselves.", "why", early)
        yield _counter("preemptions", "Sequences put back to make room.", None, {"": told.preempted})
        spent = {"prefill": told.prefill_s, "decode": told.decode_s}
        yield _counter("compute_seconds", "Time spent computing.", "phase", spent)

    def _neurons(self) -> Iterator[Metric]:
        told = self._engine.telemetry
        active = {str(layer): float(count) for layer, count in enumerate(told.work[:, ACTIVE])}
        yield _counter("neurons_active", "Neurons whose gate was not zero.", "layer", active)
        yield _counter("neurons_computed", "Gates computed in each layer.", None, {"": told.work[0, COMPUTED]})
        counts = enumerate(self._engine.model.activations)
        silent = {str(layer): float((count == 0).sum()) for layer, count in counts}
        yield _gauge("neurons_silent", "Neurons that no token has activated.", "layer", silent)

    def _state(self) -> Iterator[Metric]:
        (used, pages), (active, waiting) = self._engine.pages, self._engine.load
        cached = self._engine.cached_pages
        states = {"used": used, "cached": cached, "free": pages - used - cached}
        yield _gauge("kv_pages", "Pages of keys and values.", "state", states)
        yield _gauge("sequences", "Requests under way.", "state", {"active": active, "waiting": waiting})
        memory = {"": self._engine.memory_in_use()}
        yield _gauge("memory_bytes", "Memory that counts against the budget.", None, memory)


def render(registry: CollectorRegistry) -> bytes:
    """Return a registry's metrics as text."""
    return generate_latest(registry)


def _counter(name: str, meaning: str, label: str | None, samples: Samples) -> Metric:
    return _filled(CounterMetricFamily(f"fairlead_sparse_{name}", meaning, labels=[label] if label else []), samples)


def _gauge(name: str, meaning: str, label: str | None, samples: Samples) -> Metric:
    return _filled(GaugeMetricFamily(f"fairlead_sparse_{name}", meaning, labels=[label] if label else []), samples)


def _filled(family: CounterMetricFamily | GaugeMetricFamily, samples: Samples) -> Metric:
    for value, number in samples.items():
        family.add_metric([value] if value else [], float(number))
    return family
