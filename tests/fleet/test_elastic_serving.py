"""Two replicas of a language model serve a burst as one, and each alone before and after it."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from fairlead_agent.config import load_workloads
from tests.fleet.conftest import Fleet, FleetMaker
from tests.patience import patient

pytest.importorskip("torch", reason="the engine computes in torch")

from fairlead_elastic_serving.load.client import Outcome, Server, replay
from fairlead_elastic_serving.load.traces import Arrival

pytestmark = [pytest.mark.fleet, pytest.mark.slow, pytest.mark.timeout(600)]

NAME = "elastic-serving"
#: So little that a few requests fill it, in pages so small that one request is not much of it.
SMALL = {"kv_bytes": 2 << 20, "page_bytes": 2048, "dtype": "float32", "prefix_cache": False}


@pytest.fixture
def fleet(make_fleet: FleetMaker) -> Iterator[Fleet]:
    """The shipped workload with little memory for keys and values, serving on two nodes."""
    fleet = make_fleet(agents={"edge": "edge-box", "gpu": "gpu-server"})
    (workload,) = load_workloads(NAME)
    config = {**workload.config, **SMALL}
    fleet.apply(**workload.model_copy(update={"config": config}).model_dump(mode="json"))
    fleet.ready(NAME)
    yield fleet


def burst(fleet: Fleet, requests: int, prompt: int, answer: int) -> list[Outcome]:
    """Send requests within a second and wait for all of them."""
    server = Server(fleet.local.url, NAME, fleet.local.admin_token(), silence_s=120.0)
    arrivals = [Arrival(index / requests, prompt, answer) for index in range(requests)]
    return asyncio.run(replay(server, arrivals, seed=3))


def told(fleet: Fleet) -> dict[str, dict[str, float]]:
    """What the instances say of themselves, by replica."""
    return fleet.get(f"/api/v1/workloads/{NAME}")["told"]


def metrics(fleet: Fleet) -> dict[str, float]:
    """Metrics of one of the instances, without labels."""
    text = fleet.http.get(f"/workloads/{NAME}/metrics").text
    lines = [line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#") and "_bucket" not in line]
    return {re.sub(r"\{.*\}", "", name): float(value) for name, value in lines}


def answered(fleet: Fleet) -> str:
    """A greedy answer by whoever is asked."""
    response = fleet.complete(NAME, "It was a dark", max_tokens=24)
    assert response.status_code == 200, response.text
    return response.json()["choices"][0]["text"]


def shown(fleet: Fleet) -> str:
    """What `fairlead get workloads` prints."""
    environment = {**os.environ, "FAIRLEAD_URL": fleet.local.url, "FAIRLEAD_TOKEN": fleet.local.admin_token()}
    command = [sys.executable, "-c", "from fairlead_agent.cli.main import main; main()", "get", "workloads"]
    limit = patient(180)
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=limit).stdout


def dropped(seen: list[dict[str, float]]) -> bool:
    """Whether an instance has said that it is one of two and has given layers away."""
    return any(facts["group_instances"] == 2 and facts["dropped_layers"] > 0 for facts in seen)


def watched(fleet: Fleet, work: Callable[[], list[Outcome]]) -> tuple[list[Outcome], list[dict[str, float]]]:
    """Do some work until layers were given away, and see all the while what the instances say of themselves.

    How much of it that takes depends on the machine: one may have answered before anybody looked at the memory.
    """
    seen: list[dict[str, float]] = []
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.2):
            seen.extend(told(fleet).values())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        outcomes = work()
        deadline = time.monotonic() + patient(60.0)
        while not dropped(seen) and time.monotonic() < deadline:
            outcomes += work()
        return outcomes, seen
    finally:
        ended.set()
        watcher.join()


def test_a_burst_drops_layers_is_served_and_restores(fleet: Fleet) -> None:
    holders = fleet.holders(NAME)
    assert {holder["node"] for holder in holders.values()} == {"edge", "gpu"}
    assert {holder["variant"] for holder in holders.values()} == {"f32-cpu"}
    fleet.until(lambda: set(told(fleet)) == {"0", "1"}, "facts of both instances")
    calm = told(fleet)
    assert all(facts["group_instances"] == 1 and facts["dropped_layers"] == 0 for facts in calm.values())
    assert "kv capacity" in shown(fleet) and "goodput" in shown(fleet)
    expected = answered(fleet)

    outcomes, seen = watched(fleet, lambda: burst(fleet, 20, 60, 40))
    assert {outcome.error for outcome in outcomes} == {""}
    assert {outcome.node for outcome in outcomes} == {"edge", "gpu"}, "the gateway uses both"
    assert dropped(seen)
    own = calm["0"]["kv_capacity_bytes"]
    assert max(facts["kv_capacity_bytes"] for facts in seen) > 2 * own, "weights became room"

    whole = lambda: all(
        facts["group_instances"] == 1 and facts["dropped_layers"] == 0 for facts in told(fleet).values()
    )
    fleet.until(whole, "all layers back")
    assert answered(fleet) == expected
    found = metrics(fleet)
    assert found["fairlead_elastic_drops_total"] >= 1 and found["fairlead_elastic_restores_total"] >= 1
    assert found["vllm:generation_tokens_total"] >= 40 and found["vllm:num_requests_running"] == 0
    assert found["vllm:time_to_first_token_seconds_count"] >= 1
    assert all(fleet.holders(NAME)[replica]["restarts"] == 0 for replica in (0, 1))
