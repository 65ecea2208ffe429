"""What layers see in tests."""

from __future__ import annotations

import numpy as np

from fairlead_isac.granularity.layer import Observation, TrackedTarget
from fairlead_isac.physics.numerology import Numerology
from fairlead_isac.scenario import Cell, SensingNeed, Target, User

NUMEROLOGY = Numerology.new_radio(3.5e9, 1, 100)
CELL = Cell("cell", 16, 1.0, 5.0, NUMEROLOGY, None, 24)
SLOT_S = NUMEROLOGY.slot_s


def tracked(name: str = "car", range_m: float = 150.0, rcs: float = 0.5, **need: float) -> TrackedTarget:
    wanted = {"range_std_m": 0.3, "angle_std_rad": 0.3 / range_m, "velocity_std_m_per_s": 0.4, "refresh_s": 0.1, **need}
    return TrackedTarget(Target(name, 0.2, range_m, 3.0, rcs, SensingNeed(**wanted)), 0.5)


def seen(*targets: TrackedTarget, users: int = 3, seed: int = 0, **changes: object) -> Observation:
    """Three users at about 12 dB over 24 blocks."""
    gains = np.random.default_rng(seed).exponential(16.0 * 24, (users, 24))
    people = tuple(User(f"user-{number}") for number in range(users))
    known = {"mean_gains": np.full((users, 24), 16.0 * 24), "average_rates": np.full(users, 1e7), **changes}
    return Observation(CELL, people, gains, targets=targets, **known)  # type: ignore[arg-type]
