"""Small seeded scenes: a cell, users, targets and channels."""

from __future__ import annotations

import numpy as np

from fairlead_isac.physics.channel import rayleigh, selective
from fairlead_isac.physics.numerology import Numerology
from fairlead_isac.scenario import Cell, Channels, SensingNeed, Target, User

NUMEROLOGY = Numerology.new_radio(3.5e9, 1, 24, 56)
CELL = Cell("cell", 8, 10.0, 5.0, NUMEROLOGY)


def users(count: int, min_rate: float = 0.0, **more: float) -> list[User]:
    """u0, u1, ... with a least rate in bit/s/Hz of the band."""
    return [User(f"u{at}", min_rate_bits_per_s=min_rate * NUMEROLOGY.bandwidth_hz, **more) for at in range(count)]


def targets(count: int, **need: float) -> list[Target]:
    """t0, t1, ... at different angles."""
    return [Target(f"t{at}", 0.4 - 0.7 * at, 100.0, required=SensingNeed(**need)) for at in range(count)]


def channels(seed: int, user_count: int, target_count: int, *, blocks: int = 0, gain: float = 1e-3, **more) -> Channels:
    """Rayleigh channels at a noise of 1 W, one gain for the band or one for each of ``blocks``."""
    rng = np.random.default_rng(seed)
    if blocks:
        found = selective(user_count, CELL.antennas, NUMEROLOGY, 2e-7, rng)[:, :: NUMEROLOGY.subcarriers // blocks]
    else:
        found = rayleigh(user_count, CELL.antennas, rng)
    names = tuple(f"u{at}" for at in range(user_count)), tuple(f"t{at}" for at in range(target_count))
    return Channels(found, names[0], 1.0, np.full(target_count, gain), names[1], **more)
