"""A whole local fleet for tests: real broker, control plane, agents and workers, as processes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
import yaml

from fairlead_agent.bus.broker.mosquitto import find_mosquitto
from fairlead_agent.config import AgentEntry, FleetConfig, load_fleet
from fairlead_agent.daemon.fleet import CONTROL_PLANE, Child, LocalFleet
from tests.patience import patient

T = TypeVar("T")

BROKERS = ["mosquitto", "embedded"]

#: A lease that outlives any standstill of the machine, and one for tests that wait for its end.
LONG_TTL_S, SHORT_TTL_S = patient(60), 3.0


#: What an agent keeps of its first start's measurement, as a quiet machine has it: each agent would measure again, and
#: what it finds depends on what else runs just then.
MEASURED = {
    "memory_bandwidth_bytes_per_s": 8e9,
    "memory_bandwidth_uncertainty": 1e9,
    "storage_read_bytes_per_s": 6e8,
    "storage_random_4k_reads_per_s": 8e3,
}


class PatientFleet(LocalFleet):
    """A fleet whose gateway waits for a replica for as long as one may take to be placed on an overloaded machine, and
    whose agents have measured their machine before.
    """

    def write_agent_settings(self, entry: AgentEntry, **more: Any) -> Path:
        path = super().write_agent_settings(entry, **more)
        (path.parent / "measured.json").write_text(json.dumps(MEASURED))
        return path

    async def _start(self, child: Child) -> None:
        if child.name == CONTROL_PLANE:
            path = self.state_dir / CONTROL_PLANE / "settings.json"
            path.write_text(json.dumps({**json.loads(path.read_text()), "gateway_wait_s": patient(90)}))
        await super()._start(child)


class Fleet:
    """A :class:`LocalFleet` on a thread of its own, with what tests ask of it."""

    def __init__(self, config: FleetConfig, folder: Path, broker: str, *, restart: bool = False) -> None:
        self.folder = folder
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.local = self.run(_made(config, folder, broker, restart))
        self.http: httpx.Client

    def run(self, work: Coroutine[Any, Any, T], timeout_s: float = patient(180)) -> T:
        """Run a coroutine on the fleet's loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout_s)

    def start(self) -> None:
        """Bring it up, and wait until all agents are there."""
        self.run(self.local.start())
        headers = {"Authorization": f"Bearer {self.local.admin_token()}"}
        self.http = httpx.Client(base_url=self.local.url, headers=headers, timeout=patient(120))
        self.wait_online({agent.name for agent in self.local.config.agents})

    def stop(self) -> None:
        """End everything."""
        if hasattr(self, "http"):
            self.http.close()
        self.run(self.local.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(patient(30))

    def until(self, condition: Callable[[], T], what: str, timeout_s: float = patient(120)) -> T:
        """Wait for a condition; says what was waited for where it does not come."""
        deadline = time.monotonic() + timeout_s
        while True:
            found = condition()
            if found:
                return found
            assert time.monotonic() < deadline, f"{what}: not within {timeout_s} s\n{self.decisions()}\n{self.logs()}"
            time.sleep(0.05)

    def wait_online(self, names: set[str]) -> None:
        """Wait until these nodes are online."""

        def there() -> bool:
            with contextlib.suppress(httpx.TransportError):
                return names <= self.online()
            return False  # the control plane is still on its way up

        self.until(there, f"agents {names} online")

    def wait_offline(self, name: str) -> None:
        """Wait until a node is known to be gone."""
        self.until(lambda: name not in self.online(), f"{name} offline")

    def online(self) -> set[str]:
        """The nodes that are online."""
        return {node["status"]["node"] for node in self.get("/api/v1/nodes") if node["status"]["online"]}

    def get(self, path: str) -> Any:
        """GET from the control plane."""
        answer = self.http.get(path)
        assert answer.status_code == 200, f"{path}: {answer.status_code} {answer.text}"
        return answer.json()

    def apply(self, **workload: Any) -> dict[str, Any]:
        """Apply a workload."""
        answer = self.http.put(f"/api/v1/workloads/{workload['name']}", json=workload)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def ready(self, name: str, replicas: int | None = None, timeout_s: float = patient(240)) -> dict[str, Any]:
        """Wait until a workload's replicas serve."""

        def look() -> dict[str, Any] | None:
            view = self.get(f"/api/v1/workloads/{name}")
            wanted = view["workload"]["replicas"] if replicas is None else replicas
            placed = [slot for slot in view["slots"] if slot["state"] == "placed"]
            return view if view["ready"] >= wanted and len(placed) >= wanted else None

        return self.until(look, f"{name} ready", timeout_s)

    def place(self, attempts: int = 3, **workload: Any) -> dict[str, Any]:
        """Apply a workload and wait until its replicas serve where the bids of all nodes have put them.

        A node that had no turn before the call's deadline has no part in the decision: the call is then made anew.
        """
        name = workload["name"]
        while True:
            self.apply(**workload)
            view, attempts = self.ready(name), attempts - 1
            bids = self.get(f"/api/v1/workloads/{name}/explain")["record"]["bids"]
            if not attempts or all(bid["outcome"] != "no-answer" for bid in bids):
                return view
            self.delete(name)

    def delete(self, name: str) -> None:
        """Want a workload no more, and wait until its room is free."""
        assert self.http.delete(f"/api/v1/workloads/{name}").status_code == 200
        self.until(lambda: not self.holders(name), f"{name} gone")
        self.until(lambda: self.released(name), f"leases of {name} released")

    def released(self, name: str) -> bool:
        """Whether nobody holds a lease of a workload."""
        leases = self.get("/api/v1/leases")
        return all(lease["node"] is None for lease in leases if lease["workload"] == name)

    def holders(self, name: str) -> dict[int, dict[str, Any]]:
        """The ready instances of a workload by replica, each with its node."""
        return {
            report["key"]["replica"]: {**report, "node": node["status"]["node"]}
            for node in self.get("/api/v1/nodes")
            for report in node["instances"]
            if report["key"]["workload"] == name and report["state"] == "ready" and node["status"]["online"]
        }

    def complete(self, name: str, prompt: str = "It was", max_tokens: int = 8) -> httpx.Response:
        """One completion through the gateway."""
        body = {"model": name, "prompt": prompt, "max_tokens": max_tokens, "temperature": 0}
        return self.http.post("/v1/completions", json=body)

    def kill(self, node: str, *, workers: bool = True) -> None:
        """kill -9 an agent and its workers."""
        self.kill_processes(node, self.worker_pids(node) if workers else [])

    def kill_processes(self, node: str, workers: list[int]) -> None:
        """kill -9 an agent and these workers, without asking the control plane."""
        self.local.kill(node)
        for pid in workers:
            os.kill(pid, signal.SIGKILL)

    def worker_pids(self, node: str) -> list[int]:
        """The workers of a node."""
        found = next(each for each in self.get("/api/v1/nodes") if each["status"]["node"] == node)
        return [report["pid"] for report in found["instances"] if report["pid"] and report["state"] != "stopped"]

    def restart_agent(self, node: str) -> None:
        """Start an agent again."""
        entry = next(agent for agent in self.local.config.agents if agent.name == node)
        self.run(self.local.start_agent(entry))

    def log(self, node: str) -> list[dict[str, Any]]:
        """What an agent logged."""
        path = self.folder / "agents" / node / "agent.log"
        return [json.loads(line) for line in path.read_text().splitlines() if line.startswith("{")]

    def decisions(self) -> str:
        """What is said of every workload's placement, for a test that failed."""
        try:
            names = [each["workload"]["name"] for each in self.get("/api/v1/workloads")]
            return "\n".join("\n".join(self.get(f"/api/v1/workloads/{name}/explain")["lines"]) for name in names)
        except (httpx.HTTPError, AssertionError) as error:
            return f"the control plane does not say what it decided: {error}"

    def logs(self) -> str:
        """The ends of all logs, for a test that failed."""
        return "\n".join(f"--- {name}\n{child.tail(8)}" for name, child in self.local.children.items())


async def _made(config: FleetConfig, folder: Path, broker: str, restart: bool) -> LocalFleet:
    return PatientFleet(config, folder, restart=restart, broker_kind=broker)


def need_broker(kind: str) -> str:
    """Skip, visibly, where a broker is not installed."""
    if kind == "mosquitto" and find_mosquitto() is None:
        pytest.skip("mosquitto is not installed")
    if kind == "embedded":
        pytest.importorskip("amqtt", reason="amqtt is not installed")
    return kind


FleetMaker = Callable[..., Fleet]


@contextlib.contextmanager
def fleets(folder: Path) -> Iterator[FleetMaker]:
    """Makes fleets that are stopped at the end: ``make(broker="mosquitto", agents={"name": "profile"})``."""
    made: list[Fleet] = []

    def make(
        broker: str = "mosquitto",
        agents: dict[str, str] | None = None,
        *,
        restart: bool = False,
        ttl_s: float = LONG_TTL_S,
        dwell_s: float = 60.0,
        authority: str = "control-plane",
    ) -> Fleet:
        config = load_fleet("local")
        changes: dict[str, Any] = {
            "control_plane_port": 0,
            "lease_ttl": ttl_s,
            "dwell": dwell_s,
            "authority": authority,
        }
        if agents is not None:
            changes["agents"] = tuple(AgentEntry(name=name, profile=profile) for name, profile in agents.items())
        fleet = Fleet(
            config.model_copy(update=changes), folder / f"fleet{len(made)}", need_broker(broker), restart=restart
        )
        made.append(fleet)
        fleet.start()
        return fleet

    try:
        yield make
    finally:
        for fleet in made:
            fleet.stop()


@pytest.fixture
def make_fleet(tmp_path: Path) -> Iterator[FleetMaker]:
    """Fleets of one test."""
    with fleets(tmp_path) as make:
        yield make


@pytest.fixture(scope="module")
def make_shared_fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FleetMaker]:
    """Fleets that the tests of a file have in common: starting one takes longer than most of what is asked of it."""
    with fleets(tmp_path_factory.mktemp("shared")) as make:
        yield make


def write_profile(path: Path, **values: Any) -> str:
    """A profile file for a test."""
    path.write_text(yaml.safe_dump({"name": path.stem, **values}))
    return str(path)


TINY = {"name": "tiny-chat", "plugin": "sparse_inference", "config": {"model": "tiny-drelu"}}
