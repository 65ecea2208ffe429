"""A local fleet for benchmarks: real broker, control plane, agents and workers, each a process of this machine."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from fairlead_agent.config import FleetConfig, load_fleet
from fairlead_agent.daemon.fleet import LocalFleet

T = TypeVar("T")

#: The workload that most benchmarks place: the model that ships with the sparse engine.
TINY: dict[str, Any] = {"name": "tiny-chat", "plugin": "sparse_inference", "config": {"model": "tiny-drelu"}}


class NotInTime(RuntimeError):
    """Something did not happen in time; the text says what, and what the fleet's parts said last."""


class RunningFleet:
    """A fleet on a thread of its own, in a folder that is removed at the end. Use it as a context manager.

    Args:
        config: the fleet; default: the one of ``fairlead up``, on a free port.
        make: makes the fleet, where it is not a plain :class:`LocalFleet`.
    """

    def __init__(
        self, config: FleetConfig | None = None, make: Callable[[FleetConfig, Path], LocalFleet] | None = None
    ) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="fairlead-bench-", ignore_cleanup_errors=True)
        self.folder = Path(self._folder.name)
        self.config = config or local_config()
        self._make = make or _local
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        """Bring it up and wait until all agents are online."""
        self._thread.start()
        self.local = self.run(self._made())
        try:
            self.run(self.local.start(), 120.0)
            self.http = httpx.Client(base_url=self.local.url, headers=self.headers(), timeout=60.0)
            self.wait_online({agent.name for agent in self.config.agents})
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    async def _made(self) -> LocalFleet:
        return self._make(self.config, self.folder)

    def _stop(self) -> None:
        if hasattr(self, "http"):
            self.http.close()
        self.run(self.local.stop(), 120.0)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._folder.cleanup()

    def run(self, work: Coroutine[Any, Any, T], timeout_s: float = 60.0) -> T:
        """Run a coroutine on the fleet's loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout_s)

    def headers(self) -> dict[str, str]:
        """What a client sends with every request."""
        return {"Authorization": f"Bearer {self.local.admin_token()}"}

    # --- the control plane ---------------------------------------------------------------------------------------

    def until(self, condition: Callable[[], T | None], what: str, timeout_s: float = 60.0, every_s: float = 0.05) -> T:
        """Wait for a condition.

        Raises:
            NotInTime: it did not come about.
        """
        deadline = time.monotonic() + timeout_s
        while not (found := condition()):
            if time.monotonic() > deadline:
                ends = "\n".join(f"--- {name}\n{child.tail(4)}" for name, child in self.local.children.items())
                raise NotInTime(f"{what}: not within {timeout_s:g} s\n{ends}")
            time.sleep(every_s)
        return found

    def get(self, path: str) -> Any:
        """GET from the control plane; raises where it refuses."""
        answer = self.http.get(path)
        answer.raise_for_status()
        return answer.json()

    def apply(self, **workload: Any) -> None:
        """Apply a workload."""
        self.http.put(f"/api/v1/workloads/{workload['name']}", json=workload).raise_for_status()

    def delete(self, name: str) -> None:
        """Delete a workload."""
        self.http.delete(f"/api/v1/workloads/{name}").raise_for_status()

    def online(self) -> set[str]:
        """The nodes that are there."""
        return {view["status"]["node"] for view in self.get("/api/v1/nodes") if view["status"]["online"]}

    def wait_online(self, names: set[str], timeout_s: float = 120.0) -> None:
        """Wait until these nodes are there."""
        self.until(lambda: names <= self.online(), f"{len(names)} agents online", timeout_s, every_s=0.2)

    def wait_ready(self, name: str, timeout_s: float = 120.0) -> None:
        """Wait until all replicas of a workload are placed and serve."""

        def ready() -> bool:
            view = self.get(f"/api/v1/workloads/{name}")
            wanted = view["workload"]["replicas"]
            return view["ready"] >= wanted and sum(slot["state"] == "placed" for slot in view["slots"]) >= wanted

        self.until(ready, f"workload {name} ready", timeout_s)

    def instances(self, name: str) -> dict[str, dict[str, Any]]:
        """The ready instances of a workload on nodes that are online, by node."""
        return {
            view["status"]["node"]: report
            for view in self.get("/api/v1/nodes")
            for report in view["instances"]
            if report["key"]["workload"] == name and report["state"] == "ready" and view["status"]["online"]
        }

    # --- faults ------------------------------------------------------------------------------------------------

    def kill_node(self, node: str, workers: list[int]) -> float:
        """kill -9 an agent and its workers, in one go; returns Unix time just before."""
        at = time.time()
        self.local.kill(node)
        for pid in workers:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return at

    def restart_agent(self, node: str) -> None:
        """Start an agent again and wait until it is there."""
        entry = next(agent for agent in self.config.agents if agent.name == node)
        self.until(lambda: node not in self.online(), f"{node} offline")
        self.run(self.local.start_agent(entry))
        self.wait_online({node})


def _local(config: FleetConfig, folder: Path) -> LocalFleet:
    return LocalFleet(config, folder, restart=False, broker_kind="mosquitto")


def local_config(**changes: Any) -> FleetConfig:
    """The fleet of ``fairlead up`` on a free port, with changes."""
    return load_fleet("local").model_copy(update={"control_plane_port": 0, **changes})
