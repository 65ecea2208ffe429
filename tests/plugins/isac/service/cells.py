"""A cell for tests: small bands, a radio of pure arithmetic that can be taken away, a clock that tests move."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fairlead_isac.errors import RadioUnavailable
from fairlead_isac.physics.channel import gaussian
from fairlead_isac.physics.echo import Reflector, response
from fairlead_isac.physics.numerology import SPEED_OF_LIGHT
from fairlead_isac.requests.admission import element_snr
from fairlead_isac.service.cell import Cell
from fairlead_isac.service.cell_state import cell_of
from fairlead_isac.settings import Settings, read_settings

#: 190 MHz at 7 GHz; a user behind the way to clients, one that is nobody's link.
CONFIG: dict[str, Any] = {
    "cell": {
        "carrier_hz": 7e9,
        "subcarrier_spacing_hz": 60e3,
        "resource_blocks": 264,
        "antennas": 16,
        "power_watts": 1.0,
    },
    "users": [
        {"name": "clients", "peer": "gateway", "distance_m": 80, "offered_bits_per_s": 2e8, "angle_degrees": 20},
        {"name": "phone", "distance_m": 60, "angle_degrees": -40},
    ],
    "targets": [{"name": "drone", "angle_degrees": 5, "range_m": 150.0, "velocity_m_per_s": 8.0, "rcs_m2": 1.0}],
    "stage": "orthogonal",
}


class GridFront:
    """Echoes of targets on the grid, as four channels of a quarter of the array each receive them."""

    def __init__(self, settings: Settings, seed: int = 1) -> None:
        self.settings, self.cell = settings, cell_of(settings)
        self.centres = np.arange(4) * self.cell.antennas / 8
        self.gone = ""
        self.opened = 0
        self._rng = np.random.default_rng(seed)

    def open(self) -> None:
        self._check()
        self.opened += 1

    def close(self) -> None:
        pass

    def look(self, sent: Any, numerology: Any, looks: Any, area: Any) -> Any:
        self._check()
        received = gaussian((4, *sent.shape), self._rng)
        for target in self.settings.targets:
            there = area.model_copy(update={"range_m": target.range_m, "rcs_m2": target.rcs_m2})
            amplitude = math.sqrt(element_snr(there, self.cell, looks) / 4)
            reflector = Reflector.at(target.range_m, -target.velocity_m_per_s, numerology, amplitude)
            phases = np.exp(2j * np.pi * self.centres * math.sin(math.radians(target.angle_degrees)))
            along = numerology.frequencies_hz - numerology.frequencies_hz.mean()
            across = numerology.times_s - numerology.times_s.mean()
            moved = np.exp(-4j * np.pi * target.velocity_m_per_s / SPEED_OF_LIGHT * np.outer(along, across))
            received += phases[:, None, None] * (sent * moved * response([reflector], numerology))
        return received

    def _check(self) -> None:
        if self.gone:
            raise RadioUnavailable(self.gone)


class Recorder:
    """Takes facts."""

    node, instance = "edge", "edge/instance/isac.0"

    def __init__(self) -> None:
        self.facts: dict[tuple[str, str], list[float]] = {}

    def publish_fact(self, vertex: str, attribute: str, value: float, uncertainty: float = 0.0) -> None:
        self.facts.setdefault((vertex, attribute), []).append(value)

    def last(self, vertex: str, attribute: str) -> float:
        return self.facts[(vertex, attribute)][-1]


class Clock:
    """Seconds that only tests let pass."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Bench:
    """A cell whose loop is stepped by hand."""

    def __init__(self, **changes: Any) -> None:
        self.settings = read_settings({**CONFIG, **changes})
        self.front, self.facts, self.clock = GridFront(self.settings), Recorder(), Clock()
        self.warnings: list[str] = []
        warn = lambda event, **values: self.warnings.append(f"{event}: {values}")
        self.cell = Cell(self.settings, self.front, self.facts, 1e7, warn, self.clock, self.clock)
        self.cell.loop.open()

    def slots(self, count: int = 1) -> None:
        for _ in range(count):
            self.clock.now += self.settings.slot_s
            self.cell.loop.slot()

    def sense(self, count: int = 1, step_s: float = 0.1) -> None:
        for _ in range(count):
            self.clock.now += step_s
            self.cell.loop.sense_due()
