"""The scheduler runs on the edge box; what it gives to sensing moves another workload, and explain says why."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fairlead_agent.config import load_workloads
from fairlead_kernels import backend
from tests.fleet.conftest import TINY, Fleet, FleetMaker, write_profile
from tests.patience import patient

pytestmark = [
    pytest.mark.fleet,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(backend().name != "native", reason="the compiled extension is not installed"),
]

NAME = "isac"
#: What counts is how soon clients get an answer.
CHAT = {**TINY, "name": "chat", "objectives": {"weights": {"throughput": 0, "energy": 0, "memory": 0}}}
#: As quick as the edge box; clients are far away.
FAR = {
    "budget": {"dram": "1 GiB", "cores": 1},
    "simulated": {"speed_factor": 0.8, "links": [{"peer": "gateway", "bandwidth": "500 Mbit/s", "latency": "80 ms"}]},
}
AREA = ("--range", "140", "--speed", "10", "--rcs", "0.1", "--angle", "4")


def command(fleet: Fleet, *words: str, status: int = 0) -> str:
    """What `fairlead` prints."""
    environment = {**os.environ, "FAIRLEAD_URL": fleet.local.url, "FAIRLEAD_TOKEN": fleet.local.admin_token()}
    run = [sys.executable, "-c", "from fairlead_agent.cli.main import main; main()", *words]
    done = subprocess.run(run, env=environment, capture_output=True, text=True, timeout=patient(180))
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout


def link(fleet: Fleet) -> dict[str, float]:
    """The edge box's link to clients, as the resource graph has it."""
    edges = (edge["data"] for edge in fleet.get("/api/v1/graph")["edges"])
    found = next(each for each in edges if (each["source"], each["target"]) == ("edge", "control-plane"))
    return {name: measured["value"] for name, measured in found["measured"].items()}


def holder(fleet: Fleet, name: str) -> str:
    """Where the only replica of a workload serves; empty: nowhere now."""
    return next((each["node"] for each in fleet.holders(name).values()), "")


def test_a_higher_sensing_class_moves_a_workload(make_fleet: FleetMaker, tmp_path: Path) -> None:
    far = write_profile(tmp_path / "far.yaml", **FAR)
    fleet = make_fleet(agents={"edge": "edge-box", "far": far}, dwell_s=2.0)
    (workload,) = load_workloads(NAME)
    # As fast as a quiet machine: what is admitted must not depend on what else runs here.
    config = {**workload.config, "samples_per_s": 1e6}
    applied = workload.model_copy(update={"config": config}).model_dump(mode="json")
    assert fleet.place(**applied)["slots"][0]["node"] == "edge"
    fleet.until(lambda: 1e8 < link(fleet)["bandwidth_bits_per_s"] < 9e8, "the link that the schedule gives")
    assert fleet.place(**CHAT)["slots"][0]["node"] == "edge", command(fleet, "explain", "chat")

    asked = json.loads(command(fleet, "isac", "request", "--class", "1", *AREA, "--json"))
    assert asked["met"] and asked["looks"]["air_share"] < 0.02
    told = command(fleet, "isac", "watch", asked["id"], "--count", "2", "--json").splitlines()
    objects = json.loads(told[-1])["detections"]
    assert objects[0]["range_m"] == pytest.approx(110, abs=30) and abs(objects[0]["velocity_m_per_s"]) == pytest.approx(
        3, abs=0.5
    )
    refused = json.loads(command(fleet, "isac", "request", "--class", "7", *AREA, "--json", status=1))
    assert "range resolution: 0.394 m over 380 MHz, 0.375 m asked for" in refused["reasons"][0]

    raised = json.loads(command(fleet, "isac", "request", "--class", "4", *AREA, "--json"))
    assert raised["met"] and raised["looks"]["air_share"] > 0.25
    fleet.until(lambda: link(fleet)["bandwidth_bits_per_s"] < 1e7, "the link that sensing leaves")
    told: list[str] = []

    def moved() -> bool:
        """Whether chat serves far away; what was said of the decision, which later reviews replace, is kept."""
        told.extend(fleet.get("/api/v1/workloads/chat/explain")["lines"])
        return holder(fleet, "chat") == "far"

    fleet.until(moved, "the move of chat")
    carries = [line for line in told if "the link from edge to control-plane carries" in line]
    assert any("1 kbit/s instead of" in line for line in carries), carries
    assert any("edge/q8-sparse-native" in line and "p90 latency" in line for line in told), told
    assert "far" in command(fleet, "explain", "chat")
    assert fleet.complete("chat").status_code == 200 and holder(fleet, NAME) == "edge"

    assert "cancelled" in command(fleet, "isac", "cancel", raised["id"])
    fleet.until(lambda: link(fleet)["bandwidth_bits_per_s"] > 1e8, "the link without that request")
    lines = fleet.http.get(f"/workloads/{NAME}/decisions?layer=cell").json()["decisions"]
    assert any(raised["id"] in line["reason"] for line in lines)
