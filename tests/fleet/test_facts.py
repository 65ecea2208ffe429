"""Changing one measured fact changes who wins, and explain says so."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from fairlead_agent.config import AgentEntry
from tests.fleet.conftest import TINY, Fleet, FleetMaker, write_profile

pytestmark = [pytest.mark.fleet, pytest.mark.timeout(600)]

#: Two devices alike but for what a test changes.
ALIKE: dict[str, Any] = {
    "budget": {"dram": "512 MiB", "cores": 1},
    # The same memory bandwidth for both: what each measures at its start depends on what else runs just then.
    "simulated": {
        "memory_bandwidth": "8 GB/s",
        "links": [{"peer": "gateway", "bandwidth": "100 Mbit/s", "latency": "5 ms"}],
    },
    "power": {"idle_watts": 1, "core_watts": 2},
}


def two_alike(make_fleet: FleetMaker, folder: Path, **better: Any) -> Fleet:
    """A fleet of ``first``, which is ``better`` in one thing, and ``second``."""
    first = write_profile(folder / "first.yaml", **{**ALIKE, **better})
    second = write_profile(folder / "second.yaml", **ALIKE)
    return make_fleet(agents={"first": first, "second": second})


def winner(fleet: Fleet, name: str) -> str:
    """Who holds the only replica of a workload, once it serves."""
    return fleet.place(**{**TINY, "name": name}, replicas=1)["slots"][0]["node"]


def why_lost(fleet: Fleet, name: str, node: str) -> str:
    """Why the native variant of a node did not win."""
    bids = fleet.get(f"/api/v1/workloads/{name}/explain")["record"]["bids"]
    return next(b["reason"] for b in bids if b["node"] == node and b["variant"] in ("q8-sparse-native", "any"))


def why(fleet: Fleet, name: str) -> str:
    """The whole explanation, for a test that fails."""
    return "\n".join(fleet.get(f"/api/v1/workloads/{name}/explain")["lines"])


def restart(fleet: Fleet, node: str) -> None:
    """End an agent in good order and start it again."""
    child = fleet.local.children[node]
    assert child.process is not None
    child.process.terminate()
    fleet.until(lambda: node not in fleet.online(), f"{node} offline")
    fleet.until(lambda: child.process is not None and child.process.returncode is not None, f"{node} ended")
    fleet.restart_agent(node)
    fleet.wait_online({node})


def test_less_free_memory_loses(make_fleet: FleetMaker, tmp_path: Path) -> None:
    """The agent of ``first`` reads /proc of a tree that the test writes: its memory runs out while it runs."""
    proc = tmp_path / "proc"
    proc.mkdir()
    for name in ("cpuinfo", "meminfo", "loadavg", "mounts", "self/mountinfo", "self/status", "self/cgroup"):
        (proc / name).parent.mkdir(exist_ok=True)
        shutil.copy(f"/proc/{name}", proc / name)
    fleet = two_alike(make_fleet, tmp_path, power={"idle_watts": 1, "core_watts": 0.5})
    settings = fleet.folder / "agents" / "first" / "settings.json"
    values = json.loads(settings.read_text())
    settings.write_text(json.dumps({**values, "roots": {"proc": str(proc)}}))
    child = fleet.local.children["first"]
    assert child.process is not None
    child.process.kill()
    fleet.until(lambda: "first" not in fleet.online(), "first offline")
    fleet.run(child.start())
    fleet.wait_online({"first"})

    assert winner(fleet, "before") == "first"
    lines = (proc / "meminfo").read_text().splitlines()
    few = [f"MemAvailable: {90 * 1024} kB" if line.startswith("MemAvailable") else line for line in lines]
    (proc / "meminfo").write_text("\n".join(few) + "\n")
    assert winner(fleet, "after") == "second"
    assert "memory" in why_lost(fleet, "after", "first") or "room" in why_lost(fleet, "after", "first")


def test_a_slower_link_loses(make_fleet: FleetMaker, tmp_path: Path) -> None:
    fleet = two_alike(make_fleet, tmp_path, power={"idle_watts": 1, "core_watts": 1})
    assert winner(fleet, "before") == "first"
    slow = {"memory_bandwidth": "8 GB/s", "links": [{"peer": "gateway", "bandwidth": "8 kbit/s", "latency": "5 ms"}]}
    write_profile(tmp_path / "first.yaml", **{**ALIKE, "power": {"idle_watts": 1, "core_watts": 1}, "simulated": slow})
    fleet.delete("before")
    restart(fleet, "first")
    assert winner(fleet, "after") == "second", why(fleet, "after")
    assert "latency" in why_lost(fleet, "after", "first")


def test_what_was_learnt_about_estimates_counts(make_fleet: FleetMaker, tmp_path: Path) -> None:
    """The cost model's calibration: ``first`` turned out to be ten times slower than it says."""
    fleet = two_alike(make_fleet, tmp_path, power={"idle_watts": 1, "core_watts": 1})
    assert winner(fleet, "before") == "first"
    fleet.delete("before")
    child = fleet.local.children["first"]
    assert child.process is not None
    child.process.terminate()
    fleet.until(lambda: child.process is not None and child.process.returncode is not None, "first ended")
    learnt = {
        "throughput sparse_inference q8-sparse-native": [-2.3, 0.01, 20],
        "latency sparse_inference q8-sparse-native": [2.3, 0.01, 20],
    }
    (fleet.folder / "agents" / "first" / "calibration.json").write_text(json.dumps(learnt))
    fleet.run(fleet.local.start_agent(AgentEntry(name="first", profile=str(tmp_path / "first.yaml"))))
    fleet.wait_online({"first"})
    assert winner(fleet, "after") == "second", why(fleet, "after")
    reason = why_lost(fleet, "after", "first")
    assert "latency" in reason or "throughput" in reason
