"""What users and targets can have together: the sum rate against illumination of each stage of integration.

For rates that users ask for at least, from little to all that they could have, each stage illuminates the target as
much as it can.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..physics.channel import noise_power_watts, radar_gain, rayleigh
from ..scenario import Budget, Cell, Channels, Target, User
from ..stages.catalogue import stage as make_stage
from ..stages.decision import Decision

STAGES = ("separated", "orthogonal", "converged", "collaborative")
SHARES = (0.02, 0.15, 0.3, 0.45, 0.6, 0.75, 0.85, 0.95, 0.999)
#: Beside this, data is worth nothing: what users do not need goes to the target.
PRICE = 1e6


@dataclass(frozen=True, slots=True)
class Point:
    """One operating point: sum rate in bit/s/Hz, illumination over the largest one (N P)."""

    rate: float
    illumination: float


def region(
    cell: Cell,
    users: int,
    snr_db: float,
    target: Target,
    rng: np.random.Generator,
    stages: Sequence[str] = STAGES,
    drops: int = 5,
    progress: Callable[[float], None] = lambda share: None,
) -> dict[str, list[Point]]:
    """Points of each stage, averaged over Rayleigh drops.

    Args:
        cell: antennas, power, numerology.
        users: how many.
        snr_db: of the whole power on one antenna at a user.
        target: that is illuminated.
        rng: draws channels.
        stages: by name.
        drops: of channels.
        progress: called with the share that is done.
    """
    scenes = [_channels(cell, users, snr_db, target, rng) for _ in range(drops)]
    found: dict[str, list[Point]] = {}
    for at, name in enumerate(stages):
        points = []
        for number, share in enumerate(SHARES):
            points.append(_mean([_point(name, cell, channels, target, share) for channels in scenes]))
            progress((at + (number + 1) / len(SHARES)) / len(stages))
        found[name] = points
    return found


def _channels(cell: Cell, users: int, snr_db: float, target: Target, rng: np.random.Generator) -> Channels:
    noise = noise_power_watts(cell.numerology.bandwidth_hz, 7.0)
    gain = 10 ** (snr_db / 10) * noise / cell.power_watts
    names = tuple(f"user-{number}" for number in range(users))
    reflected = np.array([radar_gain(target.range_m, cell.numerology.carrier_hz, target.reflectivity)], np.float64)
    drawn = rayleigh(users, cell.antennas, rng) * np.sqrt(gain)
    return Channels(drawn, names, noise, reflected.ravel(), (target.name,))


def _point(name: str, cell: Cell, channels: Channels, target: Target, share: float) -> Point:
    alone = make_stage("orthogonal", cell, users=[User(each) for each in channels.user_names])
    most = alone.decide(channels, Budget(cell.power_watts)).rate_bits_per_s
    asked = [User(each, min_rate_bits_per_s=share * most[each]) for each in channels.user_names]
    stage = make_stage(name, cell, users=asked, targets=[target])
    # Cells that collaborate trade by needs, not by prices: a cell alone is told the time that users leave.
    least = 1 - share if name == "collaborative" else 0.0
    decision = stage.decide(channels, Budget(cell.power_watts, (least, 1.0), price_rate=1.0, price_sensing=PRICE))
    return _of(decision, cell, target)


def _of(decision: Decision, cell: Cell, target: Target) -> Point:
    rate = sum(decision.rate_bits_per_s.values()) / cell.numerology.bandwidth_hz
    lit = decision.sensing[target.name].illumination_watts if target.name in decision.sensing else 0.0
    return Point(rate, lit / (cell.antennas * cell.power_watts))


def _mean(points: Sequence[Point]) -> Point:
    return Point(
        float(np.mean([point.rate for point in points])), float(np.mean([point.illumination for point in points]))
    )
