"""What really happens: positions, fading, rates and looks. Time is an argument; one world is one realisation."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from fairlead_isac.granularity.layer import Observation, TrackedTarget
from fairlead_isac.granularity.looks import LookBook, Verdict, needs_of, symbol_snr
from fairlead_isac.granularity.slot import SlotSetting
from fairlead_isac.granularity.symbol import SymbolSetting
from fairlead_isac.physics.channel import correlation, exponential_profile, gaussian, noise_power_watts, path_gain
from fairlead_isac.simulation.mobility import polar
from fairlead_isac.simulation.scenario import MovingScenario, MovingUser

F64 = NDArray[np.float64]

#: Positions and large-scale gains are renewed this often.
MOVE_S = 0.005
#: Users' average rates (proportional fairness), and average channels as coarse layers know them.
AVERAGE_S, MEAN_GAINS_S = 0.5, 0.05
#: Slots of worth that are told to the cell's layer.
RECENT = 400
TAPS, PATHS = 6, 4


class World:
    """One realisation of a scenario.

    Fading: Rayleigh with an exponential power-delay profile, an autoregression in time with Clarke's correlation over a
    slot. Users' gains are after maximum-ratio beams over PATHS independent antennas' worth of diversity.

    Args:
        scenario: what moves.
        rng: draws fading.
    """

    def __init__(self, scenario: MovingScenario, rng: np.random.Generator) -> None:
        self.scenario, self.cell, self._rng = scenario, scenario.cell, rng
        numerology = self.cell.numerology
        self.slot_s, self.blocks = numerology.slot_s, self.cell.resource_blocks
        self.block_hz = numerology.bandwidth_hz / self.blocks
        self.book = LookBook(self.slot_s)
        delays, self._powers = exponential_profile(scenario.delay_spread_s, TAPS)
        centres = (np.arange(self.blocks) + 0.5) * self.block_hz
        self._phases = np.exp(-2j * np.pi * np.outer(centres, delays))
        doppler = scenario.fading_speed_m_per_s / numerology.wavelength_m
        self._kept = float(correlation(doppler, self.slot_s))
        self._taps = gaussian((len(scenario.users), TAPS, PATHS), rng)
        self._users = tuple(each.user for each in scenario.users)
        self.averages = np.full(len(self._users), 1.0)
        self._moved = -math.inf
        self._large = np.zeros(len(self._users))
        self.targets: tuple[TrackedTarget, ...] = ()
        self._mean_gains: F64 | None = None
        self._values: list[float] = []
        self._recent: F64 = np.zeros(0)

    def observe(self, t: float) -> tuple[Observation, list[Verdict]]:
        """Move on to ``t``; what is known then, and verdicts on refresh intervals that have ended."""
        if t - self._moved >= MOVE_S - 1e-9:
            self._move(t)
        verdicts = [self.book.begin(t, each.target.name, needs_of(each, self.cell)) for each in self._begins(t)]
        gains = self._gains()
        return (
            Observation(
                self.cell,
                self._users,
                gains,
                self._mean_gains if self._mean_gains is not None else gains,
                self.averages,
                self.targets,
                self._recent,
                self.scenario.cancellation_db,
            ),
            [verdict for verdict in verdicts if verdict is not None],
        )

    def apply(self, t: float, gains: F64, slot: SlotSetting, symbols: SymbolSetting) -> F64:
        """Send a slot; the users' rates in bit/s, and looks go to the book."""
        shares = np.maximum(slot.shares, 1e-12)
        bits = (slot.shares * np.log2(1.0 + slot.power * gains / shares)).sum(axis=1)
        rates = bits * self.block_hz * symbols.data_share
        self.averages = self.averages + (rates - self.averages) * min(1.0, self.slot_s / AVERAGE_S)
        for tracked in self.targets:
            if count := slot.looks.get(tracked.target.name, 0):
                self.book.add(t, tracked.target.name, symbol_snr(tracked.target, self.cell), count)
        self._remember(slot.value)
        return rates

    def _begins(self, t: float) -> list[TrackedTarget]:
        """Targets whose refresh interval may begin in this slot."""
        return [
            each
            for each in self.targets
            if (t + 1e-6) % (each.target.required.refresh_s or 0.1) < self.slot_s
            or not self.book.knows(each.target.name)
        ]

    def _move(self, t: float) -> None:
        self._moved = t
        self.targets = tuple(each.tracked(t) for each in self.scenario.targets)
        self._large = np.array([self._snr(each, t) for each in self.scenario.users])

    def _snr(self, moving: MovingUser, t: float) -> float:
        """Average SNR on a block for a watt on it."""
        even = self.cell.power_watts / self.blocks
        mean = 10.0 ** (moving.mean_snr_db / 10.0)
        if moving.trace is not None:
            # The trace is of rate: the SNR is the one that gives it.
            return float(2.0 ** min(moving.trace.at(t) * math.log2(1.0 + mean), 12.0) - 1.0) / even
        distance = polar(*moving.path.at(t))[0]
        gain = float(path_gain(distance, self.cell.numerology.carrier_hz, self.scenario.path_exponent))
        noise = noise_power_watts(self.block_hz, self.cell.noise_figure_db)
        return gain * self.cell.antennas / noise

    def _gains(self) -> F64:
        if len(self._users) == 0:
            return np.zeros((0, self.blocks))
        fresh = gaussian(self._taps.shape, self._rng, max(1.0 - self._kept**2, 0.0))
        self._taps = self._kept * self._taps + fresh
        response = self._phases @ (self._taps * np.sqrt(self._powers)[:, None])
        gains = (response.real**2 + response.imag**2).mean(axis=2) * self._large[:, None]
        forgets = min(1.0, self.slot_s / MEAN_GAINS_S)
        before = gains if self._mean_gains is None else self._mean_gains
        self._mean_gains = before + (gains - before) * forgets
        return gains

    def _remember(self, value: float) -> None:
        self._values.append(value)
        if len(self._values) % 20 == 0:
            self._values = self._values[-RECENT:]
            self._recent = np.array(self._values)
