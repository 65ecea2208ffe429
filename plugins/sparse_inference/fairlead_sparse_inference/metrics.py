"""The engine's measurements as Prometheus metrics.

What does not take place is absent rather than zero: predictors, guesses, a cache, reads, sessions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from .engine import Engine
from .engine.telemetry import TOKEN_BOUNDS_S, TokenTimes

NS = 1e9

Samples = Mapping[str, float]


class EngineCollector(Collector):
    """Reads the engine's counters when it is scraped; times in seconds, sizes in bytes."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def collect(self) -> Iterable[Metric]:
        """Return all metrics."""
        yield from self._work()
        yield from self._neurons()
        yield from self._reads()
        yield from self._energy()
        yield from self._sessions()
        yield from self._state()

    def _work(self) -> Iterator[Metric]:
        told = self._engine.telemetry
        tokens = {"prompt": told.prompt_tokens, "completion": told.completion_tokens}
        yield _counter("tokens", "Tokens computed.", "kind", tokens)
        yield _counter("prefix_cache_tokens", "Tokens of prompts known from others.", None, {"": told.cached_tokens})
        if told.drafted:
            outcomes = {"accepted": told.accepted, "rejected": told.drafted - told.accepted}
            yield _counter("draft_tokens", "Guesses at tokens.", "outcome", outcomes)
        yield _counter("requests", "Requests taken.", None, {"": told.requests})
        early = {"aborted": told.aborted, "failed": told.failed}
        yield _counter("requests_ended_early", "Requests that did not end by themselves.", "why", early)
        yield _counter("preemptions", "Sequences put back to make room.", None, {"": told.preempted})
        spent = {"prefill": told.prefill_s, "decode": told.decode_s}
        yield _counter("compute_seconds", "Time spent computing.", "phase", spent)
        yield _histogram("token_seconds", "Time of a token of an answer after the first.", told.token_times)

    def _neurons(self) -> Iterator[Metric]:
        work = self._engine.telemetry.by_field()
        yield _counter("neurons_active", "Neurons whose gate was not zero.", "layer", _by_layer(work["active"]))
        yield _counter("neurons_computed", "Gates computed.", "layer", _by_layer(work["computed"]))
        if work["predictor_ns"].any():
            predicted = _by_layer(work["predicted"])
            yield _counter("neurons_predicted", "Neurons that the predictor chose.", "layer", predicted)
            spent = {"": work["predictor_ns"].sum() / NS}
            yield _counter("predictor_seconds", "Time spent in the predictors.", None, spent)
        if work["experts"].any():
            used = _by_layer(work["experts"])
            yield _counter("experts_used", "Experts whose weights were read, once a turn.", "layer", used)
        counts = [(count == 0).sum() for count in self._engine.model.activations]
        yield _gauge("neurons_silent", "Neurons that no token has activated.", "layer", _by_layer(counts))

    def _reads(self) -> Iterator[Metric]:
        work = {name: float(column.sum()) for name, column in self._engine.telemetry.by_field().items()}
        found = {region: work[f"{region}_hits"] for region in ("fixed", "hot", "cold")}
        if any(found.values()) or work["misses"]:
            places = {**found, "storage": work["misses"]}
            yield _counter("neurons_found", "Neurons needed, by where they were.", "place", places)
        if work["reads"]:
            yield _counter("reads", "Reads from storage.", None, {"": work["reads"]})
            yield _counter("read_bytes", "Bytes read from storage.", None, {"": work["read_bytes"]})
            yield _counter("read_seconds", "Time with a read in flight.", None, {"": work["read_ns"] / NS})
            stalled = {"": work["stalled_ns"] / NS}
            yield _counter("read_stalled_seconds", "Part of it in which nothing was left to compute.", None, stalled)

    def _energy(self) -> Iterator[Metric]:
        told = self._engine.energy
        if any(told.tokens.values()):
            meaning = (
                "Energy of the whole device (processors with memory, or battery) while the engine computed, other "
                "processes included, given to the phases by their time."
            )
            yield _counter("energy_joules", meaning, "phase", told.joules)
            yield _counter("energy_tokens", "Tokens whose energy is in energy_joules.", "phase", told.tokens)
            yield _gauge(
                "energy_source", "Where the energy is counted: rapl, hwmon, battery.", "source", {told.source: 1}
            )
        elif told.reason:
            yield _gauge("energy_unmeasured", "Why energy is not measured.", "reason", {told.reason: 1})

    def _sessions(self) -> Iterator[Metric]:
        store = self._engine.sessions.store
        if store is not None:
            outcomes = {"saved": store.saved, "failed": store.failed, "ignored": store.ignored}
            yield _counter("sessions", "Sessions written, not written, and not usable.", "outcome", outcomes)
            recalled = {"": store.recalled_tokens}
            yield _counter("session_tokens", "Tokens of prompts brought back from storage.", None, recalled)

    def _state(self) -> Iterator[Metric]:
        (used, pages), (active, waiting) = self._engine.pages, self._engine.load
        cached = self._engine.cached_pages
        states = {"used": used, "cached": cached, "free": pages - used - cached}
        yield _gauge("kv_pages", "Pages of keys and values.", "state", states)
        yield _gauge("sequences", "Requests under way.", "state", {"active": active, "waiting": waiting})
        memory = {"": self._engine.memory_in_use()}
        yield _gauge("memory_bytes", "Memory that counts against the budget.", None, memory)


def _by_layer(values: Iterable[float]) -> Samples:
    return {str(layer): float(value) for layer, value in enumerate(values)}


def _histogram(name: str, meaning: str, times: TokenTimes) -> Metric:
    family = HistogramMetricFamily(f"fairlead_sparse_{name}", meaning)
    counts = times.counts.cumsum()
    bounds = [*(f"{bound:g}" for bound in TOKEN_BOUNDS_S), "+Inf"]
    family.add_metric([], [(bound, float(count)) for bound, count in zip(bounds, counts, strict=True)], times.total_s)
    return family


def _counter(name: str, meaning: str, label: str | None, samples: Samples) -> Metric:
    return _filled(CounterMetricFamily(f"fairlead_sparse_{name}", meaning, labels=[label] if label else []), samples)


def _gauge(name: str, meaning: str, label: str | None, samples: Samples) -> Metric:
    return _filled(GaugeMetricFamily(f"fairlead_sparse_{name}", meaning, labels=[label] if label else []), samples)


def _filled(family: CounterMetricFamily | GaugeMetricFamily, samples: Samples) -> Metric:
    for value, number in samples.items():
        family.add_metric([value] if value else [], float(number))
    return family
