"""A model larger than the phone's memory is served by the phone, and a smaller budget changes its speed alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fairlead_agent.config import load_workloads
from fairlead_agent.plugin import Budget, BudgetReply
from fairlead_agent.runtime.control_client import ControlClient
from fairlead_agent.runtime.protocol import Reconfigure
from fairlead_agent.runtime.spec import HostSpec, read_spec
from fairlead_kernels import backend
from fairlead_sparse_inference.settings import MODELS
from tests.fleet.conftest import Fleet, FleetMaker
from tests.plugins.sparse_inference.bundles import synthetic_bundle

pytestmark = [
    pytest.mark.fleet,
    pytest.mark.slow,
    pytest.mark.skipif(backend().name != "native", reason="the compiled extension is not installed"),
]

NAME = "phone-llm"
MIB = 2**20
PHONE_BYTES = 192 * MIB
TOKENS = 120


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A synthetic model (random weights) of more bytes than the phone's profile gives away."""
    path = tmp_path_factory.mktemp("models") / "phone-llm"
    synthetic_bundle(path, MODELS / "tiny-drelu", hidden=2048, neurons=4096, layers=16)
    yield path
    (path / "neurons.bin").unlink()


def body(**changes: Any) -> dict[str, Any]:
    """A request that ends after TOKENS tokens only."""
    ends = {"1": -100, "4": -100}
    fixed = {"model": NAME, "prompt": "It was a dark", "max_tokens": TOKENS, "temperature": 0, "logit_bias": ends}
    return fixed | changes


def reconfigure(fleet: Fleet, spec: HostSpec, size: int) -> BudgetReply:
    """Tell the phone's worker what its agent tells it under pressure."""

    async def told() -> BudgetReply:
        client = await ControlClient.connect(spec.control_socket, spec.cookie, lambda event: None)
        budget = spec.budget.model_copy(update={"memory_bytes": {"dram": size}})
        try:
            answer = await client.request(Reconfigure(budget=Budget(**dict(budget)), deadline_s=5), timeout_s=20)
        finally:
            client.close()
        return BudgetReply.model_validate(answer)

    return fleet.run(told())


def streamed(fleet: Fleet, between: dict[int, Any]) -> str:
    """The text of a stream; calls between[n] after its n-th piece."""
    pieces: list[str] = []
    with fleet.http.stream("POST", "/v1/completions", json=body(stream=True), timeout=120) as answer:
        assert answer.status_code == 200, answer.read()
        for line in answer.iter_lines():
            if not line.startswith("data: {"):
                continue
            pieces += [choice["text"] for choice in json.loads(line[6:])["choices"]]
            between.pop(len(pieces), lambda: None)()
    assert not between, "the stream ended too early"
    return "".join(pieces)


def test_a_phone_serves_a_model_larger_than_its_memory(make_fleet: FleetMaker, model: Path, tmp_path: Path) -> None:
    assert sum(file.stat().st_size for file in model.iterdir()) > PHONE_BYTES
    fleet = make_fleet(agents={"phone": "phone", "edge": "edge-box"})
    (workload,) = load_workloads(NAME)
    config = {**workload.config, "model": str(model), "mode": "predictor", "prefix_cache": False}
    fleet.apply(**workload.model_copy(update={"config": config}).model_dump(mode="json"))
    fleet.ready(NAME, timeout_s=120)
    assert fleet.holders(NAME)[0]["node"] == "phone", "the label says so"
    (found,) = (fleet.folder / "agents" / "phone").rglob(f"*{NAME}*/spec.json")
    spec = read_spec(found)

    expected = fleet.http.post("/v1/completions", json=body(), timeout=120).json()["choices"][0]["text"]
    assert len(expected) > TOKENS / 4
    replies: list[BudgetReply] = []
    cut = lambda size: replies.append(reconfigure(fleet, spec, size))
    full = spec.budget.memory_bytes["dram"]
    assert full <= PHONE_BYTES
    between = {5: lambda: cut(4 * MIB), 20: lambda: cut(replies[0].minimum["dram"]), 70: lambda: cut(full)}
    assert streamed(fleet, between) == expected

    refused, smallest, grown = replies
    assert not refused.accepted and str(refused.minimum["dram"]) in refused.reason
    assert smallest.accepted and smallest.in_use["dram"] == smallest.minimum["dram"] < full
    assert grown.accepted and smallest.in_use["dram"] < grown.in_use["dram"] <= full
    report = fleet.until(lambda: fleet.holders(NAME)[0]["memory_bytes"] and fleet.holders(NAME)[0], "memory measured")
    assert report["memory_bytes"] <= report["limit_bytes"] <= PHONE_BYTES
    assert report["pid"] == fleet.holders(NAME)[0]["pid"], "it was never killed"
