"""The engine's measurements as Prometheus metrics, under vLLM's names where vLLM has the same, so that dashboards work.

What vLLM does not know is under `fairlead_elastic_`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from .engine.engine import Engine
from .engine.telemetry import Histogram
from .group.membership import Membership
from .standing import Standing, standing

#: Reasons of vLLM that are always there, so that a rate over them is never empty.
REASONS = ("stop", "length", "abort", "error")


class EngineCollector(Collector):
    """Reads the engine's counters when it is scraped; times in seconds, sizes in bytes.

    Args:
        engine: that serves.
        membership: its part in groups, where it has peers.
        model: name that clients know the model by: vLLM's label `model_name`.
        replica: number of the instance: vLLM's label `engine`.
    """

    def __init__(self, engine: Engine, membership: Membership | None, model: str, replica: int) -> None:
        self._engine, self._membership = engine, membership
        self._labels = {"model_name": model, "engine": str(replica)}

    def collect(self) -> Iterable[Metric]:
        """Return all metrics."""
        now = standing(self._engine, self._membership)
        yield from self._requests(now)
        yield from self._tokens()
        yield from self._times()
        yield from self._elastic(now)

    def _requests(self, now: Standing) -> Iterator[Metric]:
        told = self._engine.telemetry
        yield self._gauge("vllm:num_requests_running", "Requests that run.", now.running)
        yield self._gauge("vllm:num_requests_waiting", "Requests that wait.", now.waiting)
        yield self._gauge(
            "vllm:kv_cache_usage_perc", "Share of the pages for keys and values in use, 0 to 1.", now.usage
        )
        yield self._counter("vllm:num_preemptions", "Requests that had to give their pages up.", now.preemptions)
        ended = CounterMetricFamily(
            "vllm:request_success", "Requests that ended.", labels=[*self._labels, "finished_reason"]
        )
        counts = {**dict.fromkeys(REASONS, 0), **told.finished, "error": told.failed}
        for reason, count in counts.items():
            ended.add_metric([*self._labels.values(), reason], count)
        yield ended

    def _tokens(self) -> Iterator[Metric]:
        told = self._engine.telemetry
        yield self._counter("vllm:prompt_tokens", "Tokens of prompts.", told.prompt_tokens)
        yield self._counter("vllm:prompt_tokens_cached", "Those of them that were known.", told.cached_tokens)
        yield self._counter("vllm:generation_tokens", "Tokens of answers.", told.generation_tokens)
        yield self._counter("vllm:prefix_cache_queries", "Tokens looked up in the prefix cache.", told.queried_tokens)
        yield self._counter("vllm:prefix_cache_hits", "Tokens found in the prefix cache.", told.cached_tokens)

    def _times(self) -> Iterator[Metric]:
        told = self._engine.telemetry
        yield self._histogram(
            "vllm:time_to_first_token_seconds", "From arrival to the first token.", told.first_token_s
        )
        yield self._histogram("vllm:inter_token_latency_seconds", "Between two tokens.", told.between_tokens_s)
        yield self._histogram("vllm:e2e_request_latency_seconds", "From arrival to the last token.", told.request_s)
        yield self._histogram("vllm:request_queue_time_seconds", "From arrival to the first step.", told.queue_s)
        yield self._histogram("vllm:request_prefill_time_seconds", "From there to the first token.", told.prefill_s)
        yield self._histogram("vllm:request_decode_time_seconds", "From there to the last token.", told.decode_s)
        mean = "Mean time of a token after the first, by request."
        yield self._histogram("vllm:request_time_per_output_token_seconds", mean, told.mean_token_s)
        yield self._histogram("vllm:request_prompt_tokens", "Tokens of prompts, by request.", told.prompt_lengths)
        yield self._histogram("vllm:request_generation_tokens", "Tokens of answers, by request.", told.answer_lengths)

    def _elastic(self, now: Standing) -> Iterator[Metric]:
        told, name = self._engine.telemetry, "fairlead_elastic_{}".format
        yield self._gauge(name("kv_capacity_bytes"), "For keys and values now.", now.kv_capacity_bytes)
        yield self._gauge(name("kv_own_capacity_bytes"), "The same if no layer were given away.", now.kv_own_bytes)
        yield self._gauge(name("dropped_layers"), "Layers that were given away.", now.dropped_layers)
        yield self._gauge(name("group_instances"), "Instances that hold one copy of the layers together.", now.group)
        yield self._gauge(name("plan_epoch"), "Of the plan in force; 0: none yet.", now.plan_epoch)
        yield self._counter(name("drops"), "Times that layers were given away.", now.drops)
        yield self._counter(name("restores"), "Times that they came back.", now.restores)
        yield self._gauge(name("memory_bytes"), "Of the budget, that the engine holds.", now.memory_bytes)
        yield self._counter(
            name("good_requests"), "Requests that met both objectives: their rate is goodput.", told.good
        )
        yield self._counter(name("steps"), "Steps computed.", told.step_count)
        yield self._counter(name("step_seconds"), "Time spent computing steps.", told.step_s)
        yield self._counter(name("computed_tokens"), "Tokens computed, again ones included.", told.computed_tokens)

    def _gauge(self, name: str, meaning: str, value: float) -> Metric:
        family = GaugeMetricFamily(name, meaning, labels=list(self._labels))
        family.add_metric(list(self._labels.values()), value)
        return family

    def _counter(self, name: str, meaning: str, value: float) -> Metric:
        family = CounterMetricFamily(name, meaning, labels=list(self._labels))
        family.add_metric(list(self._labels.values()), value)
        return family

    def _histogram(self, name: str, meaning: str, told: Histogram) -> Metric:
        family = HistogramMetricFamily(name, meaning, labels=list(self._labels))
        below, buckets = 0, list[tuple[str, float]]()
        # Counts move while they are read: the last bucket is what they sum to here.
        for bound, count in zip([*(f"{bound:g}" for bound in told.bounds), "+Inf"], list(told.counts), strict=True):
            below += count
            buckets.append((bound, float(below)))
        family.add_metric(list(self._labels.values()), buckets, told.total)
        return family
