"""The control plane dies: nodes negotiate on their own, as long as the site's authority lives."""

from __future__ import annotations

import pytest

from tests.fleet.conftest import SHORT_TTL_S, TINY, Fleet, FleetMaker

pytestmark = [pytest.mark.fleet, pytest.mark.timeout(600)]


def serves(fleet: Fleet, nodes: set[str]) -> str | None:
    """Which of the nodes says in its log that it serves the workload."""
    for node in nodes:
        states = [line["state"] for line in fleet.log(node) if line["event"] == "instance"]
        if states and states[-1] == "ready":
            return node
    return None


def test_nodes_place_a_workload_again_without_the_control_plane(make_fleet: FleetMaker) -> None:
    fleet = make_fleet(ttl_s=2 * SHORT_TTL_S, authority="stand-alone")
    fleet.apply(**TINY, replicas=1)
    before = fleet.ready("tiny-chat")["slots"][0]
    victims = fleet.worker_pids(before["node"])
    assert victims
    others = {"phone", "edge", "gpu"} - {before["node"]}
    fleet.local.kill("control-plane")
    fleet.kill_processes(before["node"], victims)

    successor = fleet.until(lambda: serves(fleet, others), "a successor without a control plane")
    plane = fleet.local.children["control-plane"]
    fleet.run(plane.start())
    fleet.wait_online({successor, "control-plane"})
    after = fleet.ready("tiny-chat")["slots"][0]
    assert after["node"] == successor
    assert after["epoch"] > before["epoch"]
    assert fleet.complete("tiny-chat").status_code == 200
