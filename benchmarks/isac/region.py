"""Rates against illumination of three stages on the same channels: 16 antennas, 4 users, 20 dB, Rayleigh fading."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from fairlead_isac.physics.channel import rayleigh
from fairlead_isac.physics.numerology import Numerology
from fairlead_isac.scenario import Budget, Cell, Channels, Target, User
from fairlead_isac.stages.catalogue import stage

ANTENNAS, USERS, POWER_WATTS, DROPS = 16, 4, 100.0, 20
NUMEROLOGY = Numerology.new_radio(3.5e9, 1, 24)
CELL = Cell("cell", ANTENNAS, POWER_WATTS, 0.0, NUMEROLOGY)
BAND = NUMEROLOGY.bandwidth_hz
#: SINR in dB that all users have -> (rate in bit/s/Hz, normalised illumination) as they were found before.
CONVERGED = {10.0: (13.8, 0.91), 16.0: (21.4, 0.85), 20.0: (26.6, 0.72), 22.0: (29.3, 0.58)}
#: Share of time for sensing -> the same.
ORTHOGONAL = {0.1: (29.3, 0.16), 0.3: (22.8, 0.34), 0.5: (16.3, 0.53)}
SEPARATED = (22.1, 0.115)


@dataclass(frozen=True, slots=True)
class Point:
    """Mean over drops: sum rate in bit/s/Hz, illumination as a share of N P; drops whose rate was out of reach."""

    rate: float
    illumination: float
    short: int = 0


def drops(seed: int, count: int = DROPS) -> list[tuple[Channels, Target]]:
    """Rayleigh channels at a noise of 1 W and a target at a random angle within 60 degrees."""
    rng = np.random.default_rng(seed)
    names = tuple(f"u{at}" for at in range(USERS))
    return [
        (Channels(rayleigh(USERS, ANTENNAS, rng), names, 1.0, np.array([1e-3]), ("t",)), _target(rng))
        for _ in range(count)
    ]


def converged(scene: Iterable[tuple[Channels, Target]], sinr_db: float) -> Point:
    """All light that is left when each user has an SINR."""
    least = BAND * math.log2(1 + 10 ** (sinr_db / 10))
    return _mean("converged", scene, Budget(POWER_WATTS, price_rate=0.0, price_sensing=1.0), least)


def orthogonal(scene: Iterable[tuple[Channels, Target]], time: float) -> Point:
    """Users balanced with all power for the rest of the time."""
    return _mean("orthogonal", scene, Budget(POWER_WATTS, (time, time)), 0.0)


def separated(scene: Iterable[tuple[Channels, Target]], antennas_sensing: float = 0.5) -> Point:
    """The same share of antennas and of power for the radar, whose beam has nulls towards the users."""
    options = {"antennas_sensing": antennas_sensing, "power_sensing": antennas_sensing}
    return _mean("separated", scene, Budget(POWER_WATTS), 0.0, **options)


def _mean(name: str, scene: Iterable[tuple[Channels, Target]], budget: Budget, least: float, **options: float) -> Point:
    users = [User(f"u{at}", min_rate_bits_per_s=least) for at in range(USERS)]
    rates, lit, short = [], [], 0
    for channels, target in scene:
        decision = stage(name, CELL, users=users, targets=[target], **options).decide(channels, budget)
        rates.append(sum(decision.rate_bits_per_s.values()) / BAND)
        lit.append(decision.sensing["t"].illumination_watts / (ANTENNAS * POWER_WATTS))
        short += bool(decision.unmet)
    return Point(float(np.mean(rates)), float(np.mean(lit)), short)


def _target(rng: np.random.Generator) -> Target:
    return Target("t", float(np.deg2rad(rng.uniform(-60, 60))), 100.0)
