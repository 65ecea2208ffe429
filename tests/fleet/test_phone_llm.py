"""A model larger than the phone's memory is served by the phone, and a smaller budget changes its speed alone."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from fairlead_agent.config import config_path, load_workloads
from fairlead_agent.plugin import Budget, BudgetReply
from fairlead_agent.runtime.control_client import ControlClient
from fairlead_agent.runtime.protocol import Reconfigure
from fairlead_agent.runtime.spec import HostSpec, read_spec
from fairlead_kernels import backend
from fairlead_sparse_inference.settings import MODELS
from fairlead_sparse_inference.top.reading import Reading, parse
from tests.fleet.conftest import Fleet, FleetMaker
from tests.patience import patient
from tests.plugins.sparse_inference.bundles import synthetic_bundle

pytestmark = [
    pytest.mark.fleet,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(backend().name != "native", reason="the compiled extension is not installed"),
]

NAME = "phone-llm"
MIB = 2**20
PHONE_BYTES = 192 * MIB
TOKENS = 120
ANSWER_S = patient(240)
#: The agent compares budgets every two seconds: so many answers, one after the other, are under way when it does.
MANY_TOKENS, MOST_ANSWERS = 100, 40


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
            order = Reconfigure(budget=Budget(**dict(budget)), deadline_s=5)
            answer = await client.request(order, timeout_s=patient(60))
        finally:
            client.close()
        return BudgetReply.model_validate(answer)

    return fleet.run(told())


def served(fleet: Fleet, model: Path) -> HostSpec:
    """Apply the shipped workload with this model; what the phone's worker was started with once it serves."""
    (workload,) = load_workloads(NAME)
    config = {**workload.config, "model": str(model), "mode": "predictor", "prefix_cache": False}
    fleet.apply(**workload.model_copy(update={"config": config}).model_dump(mode="json"))
    fleet.ready(NAME)
    (found,) = (fleet.folder / "agents" / "phone").rglob(f"*{NAME}*/spec.json")
    return read_spec(found)


def streamed(fleet: Fleet, between: dict[int, Any], **changes: Any) -> str:
    """The text of a stream; calls between[n] after its n-th piece."""
    pieces: list[str] = []
    with fleet.http.stream("POST", "/v1/completions", json=body(stream=True, **changes), timeout=ANSWER_S) as answer:
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
    spec = served(fleet, model)
    assert fleet.holders(NAME)[0]["node"] == "phone", "the label says so"

    expected = fleet.http.post("/v1/completions", json=body(), timeout=ANSWER_S).json()["choices"][0]["text"]
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


class Phone:
    """A phone whose owner edits its profile while the agent runs."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._profile: dict[str, Any] = yaml.safe_load(config_path("profiles", "phone").read_text())
        self.give(PHONE_BYTES)

    def give(self, size: int) -> None:
        """Write that workloads may use so many bytes."""
        self._profile["budget"]["dram"] = f"{size} B"
        self.path.write_text(yaml.safe_dump(self._profile))

    def reload(self, fleet: Fleet) -> None:
        """Have the agent read its profile again."""
        process = fleet.local.children["phone"].process
        assert process is not None
        process.send_signal(signal.SIGHUP)


def counters(fleet: Fleet) -> Reading:
    """What the worker counts, by the gateway."""
    return parse(fleet.http.get(f"/workloads/{NAME}/metrics").text, "phone", 0.0)


def moved(reading: Reading, held: float | None) -> Reading | None:
    """The reading, if the worker holds more or less memory in it than before."""
    return reading if reading.sum("memory_bytes") != held else None


def test_an_owner_who_takes_memory_back_changes_the_speed_alone(
    make_fleet: FleetMaker, model: Path, tmp_path: Path
) -> None:
    phone = Phone(tmp_path / "phone.yaml")
    fleet = make_fleet(agents={"phone": str(phone.path), "edge": "edge-box"})
    spec = served(fleet, model)
    full, wanted = spec.budget.memory_bytes["dram"], PHONE_BYTES // 2
    expected = fleet.http.post("/v1/completions", json=body(max_tokens=MANY_TOKENS), timeout=ANSWER_S).json()
    readings = [counters(fleet)]

    def move(size: int, arrived: Callable[[int], bool]) -> None:
        """Give another budget in the middle of an answer, and answer on until the worker fits it."""

        def told() -> None:
            phone.give(size)
            phone.reload(fleet)

        between = {5: told}
        for _ in range(MOST_ANSWERS):
            assert streamed(fleet, between, max_tokens=MANY_TOKENS) == expected["choices"][0]["text"]
            if arrived(fleet.holders(NAME)[0]["limit_bytes"]):
                break
        fleet.until(lambda: arrived(fleet.holders(NAME)[0]["limit_bytes"]), f"a limit for {size} bytes")
        assert streamed(fleet, {}, max_tokens=MANY_TOKENS) == expected["choices"][0]["text"]
        held = readings[-1].sum("memory_bytes")
        readings.append(fleet.until(lambda: moved(counters(fleet), held), "memory that follows the limit"))

    move(wanted, lambda limit: limit < full)
    move(full, lambda limit: limit == full)

    before, cut, grown = (reading.sum("memory_bytes") or 0 for reading in readings)
    assert cut < before <= full and cut < grown <= full
    assert fleet.holders(NAME)[0]["restarts"] == 0
    told = [event for event in fleet.log("phone") if event["event"] == "budget.moved"]
    # The plugin's estimate of its least was too low here: the worker says so, keeps that, and gives the rest.
    *refused, taken, given_back = told
    assert all(not event["accepted"] and f"at least {taken['bytes']}" in event["reason"] for event in refused)
    assert taken["accepted"] and wanted < cut <= taken["bytes"] < full
    assert given_back["accepted"] and given_back["bytes"] == full


def test_a_profile_that_does_not_fit_changes_nothing(make_fleet: FleetMaker, tmp_path: Path) -> None:
    phone = Phone(tmp_path / "phone.yaml")
    fleet = make_fleet(agents={"phone": str(phone.path)})
    logged = lambda name: [event for event in fleet.log("phone") if event["event"] == name]
    phone.path.write_text("name: phone\nbudget: {dram: much}\n")
    phone.reload(fleet)
    (refused,) = fleet.until(lambda: logged("profile.not_reloaded"), "the profile refused")
    assert f"{phone.path}:2: budget.dram" in refused["reason"]
    phone.give(64 * MIB)
    phone.reload(fleet)
    (taken,) = fleet.until(lambda: logged("profile.reloaded"), "the profile taken")
    assert taken["budget"]["dram"] == 64 * MIB and taken["needs_restart"] == []
    process = fleet.local.children["phone"].process
    assert process is not None and process.returncode is None
