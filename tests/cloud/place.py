"""A control plane, a broker, nodes, and an HTTP client, all real."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from fairlead_agent.bus.broker.base import Broker
from fairlead_agent.bus.broker.choose import choose
from fairlead_agent.bus.mqtt import MqttTransport
from fairlead_agent.bus.topics import AUTHORITY
from fairlead_agent.messages import Workload
from fairlead_agent.placement.settings import PlacementSettings
from fairlead_cloud.api.app import create_app
from fairlead_cloud.plane import ControlPlane
from fairlead_cloud.serve import ensure_admin_token
from fairlead_cloud.settings import BrokerLogin, PlaneSettings
from tests.cloud.backends import serving
from tests.cloud.node import BenchNode, MakeApp
from tests.patience import patient

SITE = "test"

#: A lease that outlives any standstill of the machine; see :func:`_settle` for the other limits.
TTL_S = patient(120)


class Place:
    """What a test of the control plane stands on."""

    def __init__(self, folder: Path, broker: Broker, port: int) -> None:
        self.folder, self.broker, self.port = folder, broker, port
        self.nodes: list[BenchNode] = []
        self._plane: ControlPlane | None = None
        self.url = ""
        self.token = ""
        self._clients: list[httpx.AsyncClient] = []

    def login(self, name: str, *, control: bool = False) -> BrokerLogin:
        user, password = self.broker.credentials(name, control=control)
        file = self.folder / f"{name}.password"
        file.write_text(password)
        return BrokerLogin(username=user, password_file=file)

    def settings(self, **changes: Any) -> PlaneSettings:
        values: dict[str, Any] = {
            "site": SITE,
            "state_dir": self.folder / "plane",
            "broker_port": self.port,
            "login": self.login("control-plane", control=True),
            "authority_login": self.login(AUTHORITY, control=True),
            "lease_ttl_s": TTL_S,
            "gateway_wait_s": patient(60),
            "port": 0,
        }
        return PlaneSettings.model_validate({**values, **changes})

    @contextlib.asynccontextmanager
    async def plane(
        self, validate: Callable[[Workload], Workload] | None = None, **changes: Any
    ) -> AsyncIterator[ControlPlane]:
        """A control plane that serves HTTP and has joined the site."""
        settings = self.settings(**changes)
        settings.state_dir.mkdir(parents=True, exist_ok=True)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("fairlead_cloud.plane.PlacementSettings", _settle)
            self._plane = plane = ControlPlane(settings, validate)
        await plane.database.open()
        await ensure_admin_token(plane)
        self.token = (settings.state_dir / "admin.token").read_text().strip()
        async with serving(create_app(plane), lifespan="on") as self.url:
            await until(lambda: plane.transport.connected)
            yield plane
        self._plane = None

    def client(self, token: str | None = None) -> httpx.AsyncClient:
        """A client with the administrator's token, or another; '' for none."""
        text = self.token if token is None else token
        headers = {"Authorization": f"Bearer {text}"} if text else {}
        made = httpx.AsyncClient(base_url=self.url, headers=headers, timeout=patient(120))
        self._clients.append(made)
        return made

    async def node(self, name: str, make_app: MakeApp, **how: Any) -> BenchNode:
        """A node that has joined the site; where a control plane runs, one that it will ask for bids."""
        made = BenchNode(name, MqttTransport(self.broker.address(name), name), make_app, site=SITE, **how)
        self.nodes.append(made)
        await made.start()
        await until(lambda: made.transport.connected)
        if (plane := self._plane) is not None:
            await until(lambda: name in {status.node for status in plane.view.online()})
        return made

    async def close(self) -> None:
        for node in self.nodes:
            await node.stop()
        for client in self._clients:
            await client.aclose()


@contextlib.asynccontextmanager
async def place(folder: Path) -> AsyncIterator[Place]:
    """A broker and room for the rest."""
    broker = choose(folder / "broker", site=SITE)
    address = await broker.start()
    made = Place(folder, broker, address.port)
    try:
        yield made
    finally:
        await made.close()
        await broker.stop()


def _settle(**values: Any) -> PlacementSettings:
    """Settings of a site on which nobody is given up because a machine stands still."""
    long = {"bid_deadline_s": patient(60), "claim_grace_s": patient(60)}
    return PlacementSettings(**values, **long, award_attempts=round(patient(120)))


async def until(condition: Callable[[], object], timeout_s: float = patient(60)) -> None:
    """Wait for ``condition``; the limit only ends a hopeless wait."""
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.01)


async def ready(plane: ControlPlane, workload: str, count: int = 1) -> None:
    """Wait until so many replicas serve, by their leases."""

    def serving_now() -> bool:
        found = plane.report.instances_of(workload)
        return sum(r.state == "ready" and plane.holds(r.key, r.epoch, node) for node, r in found) >= count

    async with asyncio.timeout(patient(60)):
        while not serving_now():
            await plane.changed(0.5)


async def apply(client: httpx.AsyncClient, name: str = "chat", **spec: Any) -> httpx.Response:
    """Apply a workload."""
    return await client.put(f"/api/v1/workloads/{name}", json={"name": name, "plugin": "echo", **spec})
