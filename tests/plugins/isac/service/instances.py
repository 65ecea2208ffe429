"""Instances of one workload as their hosts run them: real cells and HTTP, peers named as agents do."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import uvicorn
from prometheus_client import CollectorRegistry

from fairlead_agent.plugin import Peer
from fairlead_agent.runtime.host.peers import PeerBoard
from fairlead_isac.collaboration.exchange import Exchange
from fairlead_isac.service.application import Application
from fairlead_isac.service.cell import Cell
from fairlead_isac.service.metrics import CellCollector
from fairlead_isac.service.seat import Seat
from fairlead_isac.service.sites import cell_name, settings_at
from fairlead_isac.settings import read_settings
from tests.patience import patient
from tests.plugins.isac.service.cells import GridFront, Recorder

#: Three masts on a road of 400 m, who look across it; a user in front of each, one between the first two.
CONFIG: dict[str, Any] = {
    "cell": {"carrier_hz": 3.5e9, "resource_blocks": 51, "antennas": 4, "power_watts": 0.5},
    "radio": {"channels": 4},
    "sites": [
        {"name": "west", "x_m": 0, "y_m": -200, "broadside_degrees": 0},
        {"name": "middle", "x_m": 0, "y_m": 0, "broadside_degrees": 0},
        {"name": "east", "x_m": 0, "y_m": 200, "broadside_degrees": 0},
    ],
    "users": [
        {"name": "left", "distance_m": 206, "angle_degrees": -76},
        {"name": "centre", "distance_m": 50, "angle_degrees": 0},
        {"name": "right", "distance_m": 206, "angle_degrees": 76},
    ],
    "targets": [{"name": "car", "angle_degrees": 5, "range_m": 60, "rcs_m2": 10}],
    "stage": "collaborative",
    "slot_s": 0.05,
}


class Host:
    """What a worker's host tells of the workload's instances."""

    def __init__(self, epoch: int) -> None:
        self.epoch, self.board = epoch, PeerBoard()

    def peers(self) -> AsyncIterator[tuple[Peer, ...]]:
        return self.board.stream()


class Instance:
    """One replica: its cell runs in threads, its application is served by uvicorn.

    Args:
        replica: its number.
        silent_s: silence after which it leaves others out.
        patience: of its agreements, in ticks.
        changes: of the config.
    """

    def __init__(self, replica: int, silent_s: float = patient(60), patience: int = 1200, **changes: Any) -> None:
        written = read_settings({**CONFIG, **changes})
        self.replica, self.host, self.warnings = replica, Host(epoch=10 + replica), list[str]()
        settings = settings_at(written, replica)
        placing = lambda number: settings_at(written, number)
        seat = Seat(replica, lambda number: cell_name(written, number), self.host, placing)
        warn = lambda event, **values: self.warnings.append(f"{event}: {values}")
        self.cell = Cell(settings, GridFront(settings), Recorder(), 1e7, warn, seat=seat)
        if self.cell.partners is not None:
            # As in service, but agreed on more often.
            self.cell.partners._exchange = Exchange(
                settings.cell.name, patience=patience, period_s=0.5, silent_s=silent_s
            )
        registry = CollectorRegistry()
        registry.register(CellCollector(self.cell, "isac", replica))
        application = Application(self.cell, registry).asgi()
        self._server = uvicorn.Server(
            uvicorn.Config(application, port=0, log_level="warning", lifespan="off", timeout_graceful_shutdown=1)
        )
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        until(lambda: self._server.started, "a server")
        self.url = f"http://127.0.0.1:{self._server.servers[0].sockets[0].getsockname()[1]}"
        self.cell.start()

    @property
    def peer(self) -> Peer:
        return Peer(
            workload="isac", replica=self.replica, node=f"n{self.replica}", epoch=self.host.epoch, address=self.url
        )

    def close(self) -> None:
        self.cell.close()
        self._server.should_exit = True
        self._thread.join(patient(60))


def introduce(*instances: Instance) -> None:
    """Name all instances to each of them, as nodes' reports do."""
    for each in instances:
        each.host.board.show(tuple(other.peer for other in instances if other is not each))


def until(condition: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + patient(120)
    while not (found := condition()):
        assert time.monotonic() < deadline, what
        time.sleep(0.02)
    return found
