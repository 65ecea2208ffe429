"""Two instances on two nodes are two cells: each serves the nearer user, and one goes on when the other dies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fairlead_agent.config import load_workloads
from tests.fleet.conftest import Fleet, FleetMaker

pytestmark = [pytest.mark.fleet, pytest.mark.slow, pytest.mark.timeout(600)]

CONFIG: dict[str, Any] = {
    "cell": {"carrier_hz": 3.5e9, "resource_blocks": 51, "antennas": 4, "power_watts": 0.5},
    "sites": [{"name": "west", "y_m": -150}, {"name": "east", "y_m": 150}],
    "users": [
        {"name": "left", "distance_m": 160, "angle_degrees": -70},
        {"name": "right", "distance_m": 160, "angle_degrees": 70},
    ],
    "stage": "collaborative",
    "samples_per_s": 1e6,
}


def test_instances_on_two_nodes_agree_and_one_goes_on_alone(make_fleet: FleetMaker, tmp_path: Path) -> None:
    fleet: Fleet = make_fleet(agents={"mast-1": "edge-box", "mast-2": "edge-box"}, dwell_s=2.0)
    (workload,) = load_workloads("isac")
    fleet.apply(**workload.model_copy(update={"config": CONFIG, "replicas": 2}).model_dump(mode="json"))
    fleet.ready("isac")

    def said() -> dict[str, Any]:
        """What the cell that the gateway picks says of the others."""
        return fleet.http.get("/workloads/isac/status").json()["cells"]

    fleet.until(lambda: said()["with"], "an agreement")
    assert said()["serving"] == {"left": "west", "right": "east"}
    area = {"range_m": 160, "angle_degrees": 65, "speed_m_per_s": 10, "rcs_m2": 0.02}
    asked = {"needs": {"refresh_s": 1, "horizontal_m": 20}, "area": area}
    told = [fleet.http.post("/workloads/isac/sensing/requests", json=asked).json() for _ in range(2)]
    assert [each["id"].partition("@")[2] for each in told] == ["east", "east"], told
    assert told[0]["chosen"].startswith("east takes ")
    for each in told:
        assert fleet.http.delete(f"/workloads/isac/sensing/requests/{each['id']}").json()["state"] == "cancelled"
    gone = fleet.holders("isac")[1]["node"]
    fleet.kill(gone)

    def alone() -> bool:
        """Whether the one that is left serves both users, and names the other."""
        status = fleet.http.get("/workloads/isac/status").json()
        return "east" in status["cells"]["left_out"] and all(rate > 0 for rate in status["rate_bits_per_s"].values())

    fleet.until(alone, "the other cell left out")
    assert fleet.holders("isac").keys() == {0}
