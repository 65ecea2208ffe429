"""A local fleet: broker, control plane and agents as processes of one machine, each with its own folder and login."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from fairlead_agent.bus.address import BrokerAddress
from fairlead_agent.bus.broker.base import Broker
from fairlead_agent.bus.broker.choose import choose
from fairlead_agent.bus.broker.process import free_port, is_free, listens
from fairlead_agent.bus.topics import AUTHORITY
from fairlead_agent.config import AgentEntry, FleetConfig
from fairlead_agent.daemon.fleet_child import Child
from fairlead_agent.daemon.fleet_state import FleetBusyError, FleetState
from fairlead_agent.daemon.launch import LIGHT_ENVIRONMENT
from fairlead_agent.runtime.files import write_private

CONTROL_PLANE = "control-plane"

#: What the broker retains is said again by its owner at every reconnect, so it need not be saved at each change.
SAVE_EVERY_S = 5

#: A child that ends is started again after this, doubled up to a minute while it keeps ending.
RESTART_S = 0.5


class FleetError(RuntimeError):
    """The fleet cannot be started; the text names the part and what it said last."""


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
        self._restart, self._broker_kind = restart, broker_kind
        self._state = FleetState(self.state_dir)
        self.broker: Broker | None = None
        self.children: dict[str, Child] = {}
        self._watchers: list[asyncio.Task[None]] = []
        self.url = ""
        self._address: BrokerAddress | None = None

    # --- life ------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Bring everything up; the control plane answers when this returns.

        Raises:
            FleetError: another fleet runs in the folder, the port is in use, or a part does not come up.
            BrokerError: there is no broker, or it does not start.
        """
        await self._take_folder()
        port = self.config.control_plane_port
        if port and not is_free(port):
            raise FleetError(f"port {port} of 127.0.0.1 is in use; choose another one, or 0 for any that is free")
        await self._start_broker()
        if self.config.authority == "stand-alone":
            await self._start_authority()
        await self._start_control_plane()
        for entry in self.config.agents:
            self._say(f"starting agent {entry.name} ({entry.profile})")
            await self.start_agent(entry)

    async def stop(self) -> None:
        """Stop agents first, so that their instances drain, then control plane and broker."""
        for child in self.children.values():
            child.wanted = False
        agents = [child for name, child in self.children.items() if name not in (CONTROL_PLANE, AUTHORITY)]
        await asyncio.gather(*(self._end(child) for child in agents))
        for name in (CONTROL_PLANE, AUTHORITY):
            if name in self.children:
                await self._end(self.children[name])
        for watcher in self._watchers:
            watcher.cancel()
        await asyncio.gather(*self._watchers, return_exceptions=True)
        if self.broker is not None:
            await self.broker.stop()
        self._state.close()

    def kill(self, name: str) -> int:
        """Kill a part with SIGKILL, for tests of what happens then; returns its pid."""
        process = self.children[name].process
        assert process is not None
        process.kill()
        return process.pid

    # --- parts -----------------------------------------------------------------------------------------------

    async def _take_folder(self) -> None:
        try:
            self._state.open()
        except FleetBusyError as error:
            raise FleetError(str(error)) from None
        except FileExistsError:
            raise FleetError(f"{self.state_dir}: is no folder") from None
        except OSError as error:
            raise FleetError(f"{self.state_dir}: {error.strerror}") from None
        for name in await self._state.end_leftovers():
            self._say(f"ended {name}, which an earlier fleet had left running here")

    async def _start_broker(self) -> None:
        environment = {**os.environ, **({"FAIRLEAD_BROKER": self._broker_kind} if self._broker_kind else {})}
        folder = self.state_dir / "broker"
        self.broker = choose(folder, site=self.config.site, save_every_s=SAVE_EVERY_S, environment=environment)
        self._say(f"starting broker: {self.broker.label}")
        self._address = await self.broker.start()

    async def _start_authority(self) -> None:
        folder = self.state_dir / AUTHORITY
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        address = self._broker_address()
        settings = {
            "site": self.config.site,
            "state_dir": str(folder),
            "broker_host": address.host,
            "broker_port": address.port,
            "authority_login": self._login(AUTHORITY, folder, control=True),
            "lease_ttl_s": self.config.lease_ttl_s,
        }
        path = folder / "settings.json"
        write_private(path, json.dumps(settings, indent=1))
        self._say("starting authority")
        arguments = [sys.executable, "-m", "fairlead_cloud.authority", "--settings", str(path)]
        await self._start(Child(AUTHORITY, arguments, folder / "authority.log"))

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
            "run_authority": self.config.authority == "control-plane",
            "lease_ttl_s": self.config.lease_ttl_s,
            "dwell_s": self.config.dwell,
        }
        path = folder / "settings.json"
        write_private(path, json.dumps(settings, indent=1))
        arguments = [sys.executable, "-m", "fairlead_cloud", "--settings", str(path)]
        self._say(f"starting control plane: {self.url}")
        child = Child(CONTROL_PLANE, arguments, folder / "control-plane.log")
        await self._start(child)
        await self._until(lambda: _serves(child, port), CONTROL_PLANE, 120.0)
        self._write_client_file(folder)

    async def start_agent(self, entry: AgentEntry) -> None:
        """Start one agent, or start it again."""
        path = self.write_agent_settings(entry)
        arguments = [sys.executable, "-m", "fairlead_agent.daemon", "--settings", str(path)]
        await self._start(Child(entry.name, arguments, path.parent / "agent.log", LIGHT_ENVIRONMENT))

    def write_agent_settings(self, entry: AgentEntry, **more: Any) -> Path:
        """Write the file that an agent is started with, with `more` settings; its folder is the agent's own."""
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
            "dwell_s": self.config.dwell,
            **more,
        }
        path = folder / "settings.json"
        write_private(path, json.dumps(settings, indent=1))
        return path

    def site_keys(self) -> dict[str, str]:
        """The site's public keys, as the control plane left them for agents."""
        return json.loads((self.state_dir / CONTROL_PLANE / "site-keys.json").read_text())

    def admin_token(self) -> str:
        """The control plane's first token."""
        return (self.state_dir / CONTROL_PLANE / "admin.token").read_text().strip()

    def _write_client_file(self, folder: Path) -> None:
        text = json.dumps({"url": self.url, "token": (folder / "admin.token").read_text().strip()})
        write_private(self.state_dir / "client.json", text)

    def _login(self, client: str, folder: Path, *, control: bool = False) -> dict[str, str]:
        assert self.broker is not None
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
        await self._spawn(child)
        self._watchers.append(asyncio.get_running_loop().create_task(self._watch(child)))

    async def _spawn(self, child: Child) -> None:
        await child.start()
        assert child.process is not None
        self._state.note(child.name, child.process.pid)

    async def _watch(self, child: Child) -> None:
        while child.process is not None:
            started = time.monotonic()
            code = await child.process.wait()
            if not child.wanted or not self._restart:
                return
            child.restarts = child.restarts + 1 if time.monotonic() - started < 60 else 0
            wait_s = min(60.0, RESTART_S * 2**child.restarts)
            self._say(f"{child.name} {_ending(code)}; it starts again in {wait_s:g} s; its log is {child.log_path}")
            await asyncio.sleep(wait_s)
            if child.wanted:
                await self._spawn(child)

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
                self.children[name].wanted = False
                raise FleetError(f"{name} did not come up; its log says last:\n{self.children[name].tail()}")
            await asyncio.sleep(0.05)


def _ending(code: int) -> str:
    return f"was ended by signal {-code}" if code < 0 else f"ended with status {code}"


async def _serves(child: Child, port: int) -> bool:
    # Something that accepts connections there may be a stranger who took the port meanwhile.
    return child.process is not None and listens(child.process.pid, port) and await answers(port)


async def answers(port: int) -> bool:
    """Whether something accepts connections on a port of this machine."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True
