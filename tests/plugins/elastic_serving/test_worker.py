"""The worker's life: prepare, serve, shrink, grow, drain; what it measures and tells."""

from __future__ import annotations

import asyncio
import logging
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

pytest.importorskip("torch", reason="the engine computes in torch")

from prometheus_client import CollectorRegistry

from fairlead_agent.plugin import Budget
from fairlead_elastic_serving.engine.telemetry import Telemetry
from fairlead_elastic_serving.facts import Facts
from fairlead_elastic_serving.measurement import Measurement
from fairlead_elastic_serving.planning.cost_model import Chunk, CostModel
from fairlead_elastic_serving.worker import Worker

MIB = 2**20


class Given:
    """What the worker host gives, without the host."""

    workload, replica, node, instance = "chat", 1, "edge", "edge/instance/chat.1"
    host: str | None = None

    def __init__(self, variant: str = "f32-cpu", budget: Budget | None = None, **config: Any) -> None:
        self.variant, self.budget = variant, budget or Budget(cores=1)
        self.config = {"max_sequences": 4, **config}
        self.log = SimpleNamespace(
            info=lambda event, **values: logging.info("%s %s", event, values),
            warning=lambda event, **values: logging.warning("%s %s", event, values),
        )
        self.metrics = CollectorRegistry()
        self.shown: list[float] = []
        self.facts: dict[str, float] = {}

    def progress(self, share: float, what: str) -> None:
        self.shown.append(share)

    def publish_fact(self, vertex: str, attribute: str, value: float, uncertainty: float = 0.0) -> None:
        assert vertex == self.instance
        self.facts[attribute] = value


def client(app: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test", timeout=60)


BODY = {"model": "chat", "prompt": "The rain fell", "max_tokens": 6, "temperature": 0, "ignore_eos": True}


def samples(text: str) -> dict[str, float]:
    """Metrics by name and labels, without the labels that all have."""
    lines = [line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#")]
    mine = 'model_name="chat"', 'engine="1"'
    found: dict[str, float] = {}
    for name, value in lines:
        assert all(label in name for label in mine) or name.endswith("_created"), name
        short = name.replace(mine[1], "").replace(mine[0], "").replace("{,", "{").replace(",}", "}").replace(",,", ",")
        found[short.replace("{}", "")] = float(value)
    return found


async def test_a_worker_serves_shrinks_grows_and_drains() -> None:
    worker, given = Worker(), Given()
    worker.prepare(given)
    assert given.shown[-1] == 1.0
    async with client(worker.application(given)) as http:
        before = (await http.post("/v1/completions", json=BODY)).json()["choices"]
        whole = worker.reconfigure(Budget(), 1.0)
        least = whole.minimum["dram"]
        assert least < whole.in_use["dram"]
        shrunk = worker.reconfigure(Budget(memory_bytes={"dram": least}, cores=1), 1.0)
        assert shrunk.accepted and shrunk.in_use["dram"] == least
        assert (await http.post("/v1/completions", json=BODY)).json()["choices"] == before
        refused = worker.reconfigure(Budget(memory_bytes={"dram": least - 1}), 1.0)
        assert not refused.accepted and f"at least {least}" in refused.reason
        assert refused.in_use == shrunk.in_use
        grown = worker.reconfigure(Budget(memory_bytes={"dram": least + 2 * MIB}), 1.0)
        assert least < grown.in_use["dram"] <= least + 2 * MIB
        assert worker.reconfigure(Budget(), 1.0).in_use == whole.in_use
        worker.drain()
        assert (await http.post("/v1/completions", json=BODY)).status_code == 503


async def test_a_stream_survives_a_budget_that_moves() -> None:
    worker = Worker()
    async with client(worker.application(Given())) as http:
        body = {**BODY, "max_tokens": 24}
        expected = (await http.post("/v1/completions", json=body)).json()["choices"][0]["text"]
        tasks = [asyncio.create_task(http.post("/v1/completions", json=body)) for _ in range(2)]
        await asyncio.sleep(0.05)
        least = (await asyncio.to_thread(worker.reconfigure, Budget(), 5.0)).minimum["dram"]
        for size in (least, least + MIB):
            reply = await asyncio.to_thread(worker.reconfigure, Budget(memory_bytes={"dram": size}), 5.0)
            assert reply.accepted, reply.reason
        answers = [(await task).json()["choices"][0]["text"] for task in tasks]
        assert answers == [expected] * 2


async def test_metrics_have_vllms_names_and_count() -> None:
    worker = Worker()
    async with client(worker.application(Given(slo={"ttft_s": 60, "tpot_s": 60}))) as http:
        usage = (await http.post("/v1/completions", json=BODY)).json()["usage"]
        await http.post("/v1/completions", json=BODY)
        text = (await http.get("/metrics")).text
    told = samples(text)
    assert told["vllm:num_requests_running"] == told["vllm:num_requests_waiting"] == 0
    assert told["vllm:prompt_tokens_total"] == told["vllm:prefix_cache_queries_total"] == 2 * usage["prompt_tokens"]
    assert told["vllm:generation_tokens_total"] == 12
    assert told['vllm:request_success_total{finished_reason="length"}'] == 2
    assert told['vllm:request_success_total{finished_reason="abort"}'] == 0
    assert told["vllm:num_preemptions_total"] == 0
    assert 0 <= told["vllm:kv_cache_usage_perc"] <= 1
    for name, count in {
        "time_to_first_token": 2,
        "inter_token_latency": 10,
        "e2e_request_latency": 2,
        "request_queue_time": 2,
    }.items():
        assert told[f"vllm:{name}_seconds_count"] == told[f'vllm:{name}_seconds_bucket{{le="+Inf"}}'] == count
    parts = [told[f"vllm:request_{part}_time_seconds_sum"] for part in ("queue", "prefill", "decode")]
    assert sum(parts) == pytest.approx(told["vllm:e2e_request_latency_seconds_sum"])
    assert told["vllm:request_prompt_tokens_sum"] == 2 * usage["prompt_tokens"]
    assert told["vllm:request_generation_tokens_sum"] == 12
    assert told["vllm:request_time_per_output_token_seconds_count"] == 2
    assert told["vllm:e2e_request_latency_seconds_sum"] > told["vllm:time_to_first_token_seconds_sum"] > 0
    assert told["fairlead_elastic_good_requests_total"] == 2
    assert told["fairlead_elastic_kv_capacity_bytes"] == told["fairlead_elastic_kv_own_capacity_bytes"] > 0
    assert told["fairlead_elastic_dropped_layers"] == 0
    assert told["fairlead_elastic_group_instances"] == 1


async def test_keys_and_values_in_tiers_are_served_and_never_in_a_group(caplog: pytest.LogCaptureFixture) -> None:
    worker, given = Worker(), Given(kv_format="tiered", model="tiny-recall", context_tokens=512)
    given.host = "127.0.0.1"
    with caplog.at_level(logging.INFO):
        app = worker.application(given)
    assert "kv_format is not raw" in caplog.text
    async with client(app) as http:
        answer = await http.post("/v1/completions", json=BODY)
        assert answer.status_code == 200 and answer.json()["usage"]["completion_tokens"] == 6
        assert samples((await http.get("/metrics")).text)["fairlead_elastic_group_instances"] == 1


async def test_what_this_engine_lacks_is_refused_by_name() -> None:
    async with client(Worker().application(Given())) as http:
        answer = await http.post("/v1/completions", json={**BODY, "session": "mine"})
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "session")


async def test_facts_say_how_the_instance_stands() -> None:
    worker, given = Worker(), Given(slo={"ttft_s": 60, "tpot_s": 60})
    now = [100.0]
    async with client(worker.application(given)) as http:
        facts = Facts(worker._running(), None, given, clock=lambda: now[0])
        facts.tell()
        assert given.facts["group_instances"] == 1 and given.facts["goodput_per_s"] == 0
        assert given.facts["kv_capacity_bytes"] > 0
        given.facts.clear()
        facts.tell()
        assert given.facts == {}, "nothing has changed"
        for _ in range(3):
            await http.post("/v1/completions", json=BODY)
        now[0] += 6.0
        facts.tell()
        assert given.facts["goodput_per_s"] == 0.5
        now[0] += 30.0
        facts.tell()
        assert given.facts["goodput_per_s"] == 0 and "kv_capacity_bytes" in given.facts, "told again after a while"


def test_a_full_batchs_rate_is_told_by_fitted_steps() -> None:
    """Whatever the load was: a bid predicts a full batch, and is held against that."""
    telemetry, cost = Telemetry(), CostModel(pair_s=1e-7, token_s=1e-4, chunk_s=3e-3, shared_s=2e-3)
    measurement = Measurement(8, clock=lambda: 0.0)
    assert measurement.take(telemetry) == {}
    for step in range(40):
        batch = [Chunk(10 * step + place, 1) for place in range(1 + step % 3)]
        telemetry.count_step(batch, cost.batch(batch))
    assert measurement.take(telemetry) == {}, "batches of three say nothing of eight"
    for step in range(40):
        batch = [Chunk(7 * step + place, 1 + step % 5) for place in range(1 + step % 6)]
        telemetry.count_step(batch, cost.batch(batch))
    reference = [Chunk(256 + 32, 1)] * 8
    assert measurement.take(telemetry)["throughput_per_s"] == pytest.approx(8 / cost.batch(reference), rel=0.01)


def test_latency_and_goodput_are_those_since_the_last_report() -> None:
    telemetry, now = Telemetry(requests=1), [0.0]
    measurement = Measurement(8, clock=lambda: now[0])
    telemetry.first_token_s.add(0.2)
    telemetry.good, now[0] = 4, 2.0
    assert measurement.take(telemetry) == {"latency_p90_s": 0.25, "goodput_per_s": 2.0}
    now[0] = 4.0
    assert measurement.take(telemetry) == {"goodput_per_s": 0.0}


@pytest.mark.parametrize(
    ("variant", "config", "budget", "words"),
    [
        ("int4", {}, None, "accepted: f32-cpu, bf16-cpu, bf16-cuda"),
        ("f32-cpu", {}, {"dram": 8 * MIB}, "accepted: at least"),
        ("f32-cpu", {"kv_bytes": 4096}, None, "kv_bytes = 4096: accepted: at least"),
        ("f32-cpu", {"context_tokens": 4096}, None, "context_tokens = 4096: accepted: at most 512"),
        ("f32-cpu", {"model": "/gone"}, None, "/gone"),
    ],
)
def test_what_cannot_start_says_why(variant: str, config: dict[str, Any], budget: Any, words: str) -> None:
    given = Given(variant, Budget(memory_bytes=budget or {}), **config)
    with pytest.raises(Exception, match=r"accepted|gone") as caught:
        Worker().prepare(given)
    assert words in str(caught.value)
