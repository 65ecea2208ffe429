"""A local fleet: broker, control plane and agents as processes of one machine, each with its own folder and login."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog

from fairlead_agent.bus.address import BrokerAddress
from fairlead_agent.bus.broker.choose import choose
from fairlead_agent.bus.topics import AUTHORITY
from fairlead_agent.config import AgentEntry, FleetConfig
from fairlead_agent.runtime.files import write_private

log = structlog.get_logger()

CONTROL_PLANE = "control-plane"

#: A child that ends is started again after this, doubled up to a minute while it keeps ending.
RESTART_S = 0.5


class FleetError(RuntimeError):
    """The fleet cannot be started; the text names the part and what it said last."""


@dataclass(slots=True)
class Child:
    """One process of the fleet."""

    name: str
    arguments: list[str]
    log_path: Path
    environment: dict[str, str] = field(default_factory=dict[str, str])
    process: asyncio.subprocess.Process | None = None
    wanted: bool = True
    restarts: int = 0

    async def start(self) -> None:
        """Start it; it writes its log itself."""
        with self.log_path.open("ab") as file:
            self.process = await asyncio.create_subprocess_exec(
                *self.arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                env={**os.environ, **self.environment},
                start_new_session=True,
            )

    def tail(self, lines: int = 6) -> str:
        """The last lines that it wrote."""
        try:
            return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines:])
        except OSError:
            return ""


class LocalFleet:
    """Starts and stops a fleet. ``say`` hears what is being done.

    Args:
        config: the fleet.
        state_dir: where everything of it lies; kept between runs.
        restart: start again what ended by itself.
        broker_kind: ``mosquitto``, ``embedded``, or None to choose.
    """

    def __init__(
        self,
        config: FleetConfig,
        state_dir: Path,
        *,
        restart: bool = True,
        broker_kind: str | None = None,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.config, self.state_dir, self._say = config, state_dir.absolute(), say
        self._restart = restart
        environment = {**os.environ, **({"FAIRLEAD_BROKER": broker_kind} if broker_kind else {})}
        self.broker = choose(self.state_dir / "broker", site=config.site, environment=environment)
        self.children: dict[str, Child] = {}
        self._watchers: list[asyncio.Task[None]] = []
        self.url = ""
        self._address: BrokerAddress | None = None

    # --- life ------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Bring everything up; the control plane answers when this returns.

        Raises:
            FleetError: a part does not come up.
        """
        self.state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._say(f"broker: {self.broker.label}")
        self._address = await self.broker.start()
        await self._start_control_plane()
        for entry in self.config.agents:
            self._say(f"agent: {entry.name} ({entry.profile})")
            await self.start_agent(entry)

    async def stop(self) -> None:
        """Stop agents first, so that their instances drain, then control plane and broker."""
        for child in self.children.values():
            child.wanted = False
        agents = [child for name, child in self.children.items() if name != CONTROL_PLANE]
        await asyncio.gather(*(self._end(child) for child in agents))
        if CONTROL_PLANE in self.children:
            await self._end(self.children[CONTROL_PLANE])
        for watcher in self._watchers:
            watcher.cancel()
        await asyncio.gather(*self._watchers, return_exceptions=True)
        await self.broker.stop()

    def kill(self, name: str) -> int:
        """Kill a part with SIGKILL, for tests of what happens then; returns its pid."""
        process = self.children[name].process
        assert process is not None
        process.kill()
        return process.pid

    # --- parts -----------------------------------------------------------------------------------------------

    async def _start_control_plane(self) -> None:
        folder = self.state_dir / CONTROL_PLANE
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        port = self.config.control_plane_port or free_port()
        self.url = f"http://127.0.0.1:{port}"
        address = self._broker_address()
        settings = {
            "site": self.config.site,
            "state_dir": str(folder),
            "port": port,
            "broker_host": address.host,
            "broker_port": address.port,
            "login": self._login(CONTROL_PLANE, folder, control=True),
            "authority_login": self._login(AUTHORITY, folder, control=True),
            "lease_ttl_s": self.config.lease_ttl_s,
        }
        path = folder / "settings.json"
        write_private(path, json.dumps(settings, indent=1))
        arguments = [sys.executable, "-m", "fairlead_cloud", "--settings", str(path)]
        await self._start(Child(CONTROL_PLANE, arguments, folder / "control-plane.log"))
        self._say(f"control plane: {self.url}")
        await self._until(lambda: answers(port), CONTROL_PLANE, 30.0)
        self._write_client_file(folder)

    async def start_agent(self, entry: AgentEntry) -> None:
        """Start one agent, or start it again."""
        folder = self.state_dir / "agents" / entry.name
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        address = self._broker_address()
        settings = {
            "site": self.config.site,
            "node": entry.name,
            "profile": entry.profile,
            "state_dir": str(folder),
            "broker": {"host": address.host, "port": address.port, **self._login(entry.name, folder)},
            "site_keys": self.site_keys(),
            "lease_ttl_s": self.config.lease_ttl_s,
        }
        path = folder / "settings.json"
        write_private(path, json.dumps(settings, indent=1))
        arguments = [sys.executable, "-m", "fairlead_agent.daemon", "--settings", str(path)]
        await self._start(Child(entry.name, arguments, folder / "agent.log"))

    def site_keys(self) -> dict[str, str]:
        """The control plane's public key, as agents are given it."""
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        from fairlead_agent.messages.signing import key_id, public_bytes

        pem = (self.state_dir / CONTROL_PLANE / "site-key.pem").read_bytes()
        public = public_bytes(load_pem_private_key(pem, password=None))  # pyright: ignore[reportArgumentType]
        return {key_id(public): base64.b64encode(public).decode()}

    def admin_token(self) -> str:
        """The control plane's first token."""
        return (self.state_dir / CONTROL_PLANE / "admin.token").read_text().strip()

    def _write_client_file(self, folder: Path) -> None:
        text = json.dumps({"url": self.url, "token": (folder / "admin.token").read_text().strip()})
        write_private(self.state_dir / "client.json", text)

    def _login(self, client: str, folder: Path, *, control: bool = False) -> dict[str, str]:
        username, password = self.broker.credentials(client, control=control)
        path = folder / f"{client}.password"
        write_private(path, password)
        return {"username": username, "password_file": str(path)}

    def _broker_address(self) -> BrokerAddress:
        assert self._address is not None
        return self._address

    # --- processes -------------------------------------------------------------------------------------------

    async def _start(self, child: Child) -> None:
        self.children[child.name] = child
        await child.start()
        self._watchers.append(asyncio.get_running_loop().create_task(self._watch(child)))

    async def _watch(self, child: Child) -> None:
        while child.process is not None:
            started = time.monotonic()
            code = await child.process.wait()
            if not child.wanted or not self._restart:
                return
            child.restarts = child.restarts + 1 if time.monotonic() - started < 60 else 0
            log.warning("fleet.child_ended", child=child.name, code=code, said=child.tail(2))
            await asyncio.sleep(min(60.0, RESTART_S * 2**child.restarts))
            if child.wanted:
                await child.start()

    async def _end(self, child: Child) -> None:
        process = child.process
        if process is None or process.returncode is not None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(10.0):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

    async def _until(self, condition: Callable[[], Awaitable[bool]], name: str, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while not await condition():
            process = self.children[name].process
            if process is None or process.returncode is not None or time.monotonic() > deadline:
                raise FleetError(f"{name} did not come up; its log says last:\n{self.children[name].tail()}")
            await asyncio.sleep(0.05)


async def answers(port: int) -> bool:
    """Whether something accepts connections on a port of this machine."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


def free_port() -> int:
    """A TCP port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: Any = probe.getsockname()[1]
    return int(port)
