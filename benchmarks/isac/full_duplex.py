"""Sum rates in full over half duplex by self-interference cancellation.

3.5 GHz, 100 MHz, 30 dBm down and 20 dBm up, noise figure 5 dB, 16 + 16 antennas, 4 users each way at 100 m in
free-space loss with Rayleigh fading. Half duplex gives each direction half of the time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from fairlead_isac.duplex.receiving import disturbance, uplink_sinr
from fairlead_isac.duplex.switching import break_even_db
from fairlead_isac.physics.channel import noise_power_watts, path_gain, rayleigh
from fairlead_isac.stages.beams import matched, peak, sinr_of

ANTENNAS, USERS, CARRIER_HZ, BAND_HZ, NOISE_FIGURE_DB = 16, 4, 3.5e9, 100e6, 5.0
DOWN_WATTS, UP_WATTS, DISTANCE_M, RANK = 1.0, 0.1, 100.0, 4
#: Cancellation in dB -> full over half duplex as it was found before.
FOUND = {90.0: 0.76, 100.0: 1.14, 110.0: 1.57, 120.0: 1.88, 130.0: 1.98}
BREAK_EVEN_DB = 96.0
Beams = Literal["maximum-ratio", "balanced"]


@dataclass(frozen=True, slots=True, eq=False)
class System:
    """One drop: what users get down, and their channels up."""

    down: float
    uplink: np.ndarray
    residual: np.ndarray

    def up(self, cancellation_db: float | None, *, narrow: bool = False) -> float:
        """Sum rate of users that send, bit/s/Hz; None: the cell is silent."""
        residual = self.residual if narrow else None
        noise = disturbance(ANTENNAS, _noise(), DOWN_WATTS, cancellation_db, residual)
        return float(np.log2(1 + uplink_sinr(self.uplink, np.full(USERS, UP_WATTS), noise)).sum())


def systems(seed: int, drops: int, beams: Beams) -> list[System]:
    """Drops of the system with beams of one kind."""
    rng = np.random.default_rng(seed)
    return [_system(rng, beams) for _ in range(drops)]


def ratio(drops: list[System], cancellation_db: float, *, narrow: bool = False) -> float:
    """Full over half duplex, the mean of the drops' ratios."""
    full = np.array([drop.down + drop.up(cancellation_db, narrow=narrow) for drop in drops])
    half = np.array([drop.down + drop.up(None) for drop in drops]) / 2
    return float((full / half).mean())


def break_even(drops: list[System], *, narrow: bool = False) -> float | None:
    """Cancellation at which both are alike; 40 dB where full duplex is better from there on."""
    return break_even_db(lambda cancellation_db: ratio(drops, cancellation_db, narrow=narrow))


def _system(rng: np.random.Generator, beams: Beams) -> System:
    loss = np.sqrt(path_gain(DISTANCE_M, CARRIER_HZ))
    downlink, uplink = rayleigh(USERS, ANTENNAS, rng) * loss, rayleigh(USERS, ANTENNAS, rng) * loss
    residual = rayleigh(RANK, ANTENNAS, rng).T
    if beams == "balanced":
        found = peak(downlink, np.zeros(USERS), np.ones(USERS), DOWN_WATTS, _noise())
        down = float(found.efficiency.sum())
    else:
        down = float(np.log2(1 + sinr_of(downlink, matched(downlink, DOWN_WATTS), _noise())).sum())
    return System(down, uplink, residual / np.linalg.norm(residual))


def _noise() -> float:
    return noise_power_watts(BAND_HZ, NOISE_FIGURE_DB)
