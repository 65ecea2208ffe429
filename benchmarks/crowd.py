"""A fleet of many agents on one machine: real agents, several to a process, one MQTT session each."""

from __future__ import annotations

import asyncio
import shutil
import sys
from pathlib import Path

from fairlead_agent.bus.address import BrokerAddress
from fairlead_agent.bus.broker.mosquitto import MosquittoBroker
from fairlead_agent.bus.topics import AUTHORITY
from fairlead_agent.config import AgentEntry, FleetConfig
from fairlead_agent.daemon.fleet import CONTROL_PLANE, SAVE_EVERY_S, Child, LocalFleet
from fairlead_agent.daemon.readings import measure_once
from fairlead_agent.plugin.discovery import PATH_VARIABLE

#: The login of whoever listens to what the site says, for measuring.
OBSERVER = "observer"


class Crowd(LocalFleet):
    """Like a local fleet, with the agents in groups.

    Args:
        config: the fleet.
        state_dir: where everything of it lies.
        plugins: a folder of plugins for all agents.
        per_process: agents in one process.
        sense_interval_s: how often each agent reads its device.
    """

    def __init__(
        self, config: FleetConfig, state_dir: Path, *, plugins: Path, per_process: int, sense_interval_s: float
    ) -> None:
        super().__init__(config, state_dir, restart=False, broker_kind="mosquitto")
        self._plugins, self._per_process, self._sense_interval_s = plugins, per_process, sense_interval_s
        self._settings: list[Path] = []
        self._measured: Path | None = None

    async def start(self) -> None:
        """Bring everything up."""
        await super().start()
        for first in range(0, len(self._settings), self._per_process):
            paths = [str(path) for path in self._settings[first : first + self._per_process]]
            name = f"agents-{first}"
            arguments = [sys.executable, "-m", "benchmarks.crowd_process", *paths]
            await self._start(Child(name, arguments, self.state_dir / f"{name}.log"))

    async def start_agent(self, entry: AgentEntry) -> None:
        """Write the settings of one agent; :meth:`start` starts them in groups."""
        path = self.write_agent_settings(entry, sense_interval_s=self._sense_interval_s)
        await asyncio.to_thread(self._measure, path.parent)
        self._settings.append(path)

    def _measure(self, folder: Path) -> None:
        """The device is the same for all agents, and measuring it takes a second: one agent's measurement does."""
        if self._measured is None:
            measure_once(folder, folder)
            self._measured = folder / "measured.json"
        else:
            shutil.copy(self._measured, folder)

    def observer(self) -> BrokerAddress:
        """The broker with a login that may read everything."""
        assert self.broker is not None
        address = self._broker_address()
        return BrokerAddress(address.host, address.port, *self.broker.credentials(OBSERVER, control=True))

    async def _start(self, child: Child) -> None:
        # The control plane checks configs with the plugins that it finds itself.
        child.environment[PATH_VARIABLE] = str(self._plugins)
        await super()._start(child)

    async def _start_broker(self) -> None:
        broker = MosquittoBroker(self.state_dir / "broker", site=self.config.site, save_every_s=SAVE_EVERY_S)
        # Before it starts: a running broker reads all logins again for each new one.
        for name in (CONTROL_PLANE, AUTHORITY, OBSERVER):
            broker.credentials(name, control=True)
        for entry in self.config.agents:
            broker.credentials(entry.name)
        self.broker, self._address = broker, await broker.start()
