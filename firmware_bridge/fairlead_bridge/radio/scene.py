"""What a simulated radio finds around it: reflectors, its own leaking signal, noise, and when it is not there. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal

from fairlead_bridge.radio.radio import RadioError

NEAREST_M = 0.5


@dataclass(frozen=True, slots=True)
class Target:
    """A point that reflects (``cross_section_m2``, the radar cross section), seen from the radio.

    Velocities are positive where it comes nearer. ``angle_rad`` is from the array's broadside. ``phase_rad`` is that of
    the reflection itself; the phase of the way comes on top.
    """

    name: str
    range_m: float
    velocity_m_per_s: float = 0.0
    cross_section_m2: float = 1.0
    angle_rad: float = 0.0
    angular_velocity_rad_per_s: float = 0.0
    phase_rad: float = 0.0

    @property
    def moves(self) -> bool:
        """Whether its way changes over time."""
        return self.velocity_m_per_s != 0 or self.angular_velocity_rad_per_s != 0

    def range_at(self, time_s: float) -> float:
        """Its distance, 0.5 m at least."""
        return max(NEAREST_M, self.range_m - self.velocity_m_per_s * time_s)

    def angle_at(self, time_s: float) -> float:
        """Its direction."""
        return self.angle_rad + self.angular_velocity_rad_per_s * time_s


@dataclass(frozen=True, slots=True)
class SelfInterference:
    """What the receiver hears of its own transmitter after all cancellation, per receive antenna.

    ``path``: a copy that is ``suppression_db`` weaker, after ``delay_s``. ``white``: noise whose power follows that of
    the signal sent at the time (what a canceller leaves of phase noise and of non-linearity).
    """

    suppression_db: float
    delay_s: float = 5e-9
    kind: Literal["path", "white"] = "path"


@dataclass(frozen=True, slots=True)
class Converter:
    """An analogue-to-digital converter per real part: what exceeds its full scale is clipped, the rest is rounded."""

    bits: int
    full_scale_watts: float


@dataclass(frozen=True, slots=True)
class Dropout:
    """The radio is not there in ``start_s <= time < end_s``."""

    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class Scene:
    """All that shapes what is received, from one time on. Targets are where they are said to be at that time."""

    targets: tuple[Target, ...] = ()
    clutter: tuple[Target, ...] = ()
    self_interference: SelfInterference | None = None
    noise_figure_db: float = 5.0
    temperature_kelvin: float = 290.0
    antenna_gain_db: float = 0.0
    converter: Converter | None = None
    dropouts: tuple[Dropout, ...] = ()

    def __post_init__(self) -> None:
        for target in (*self.targets, *self.clutter):
            _check(target)
        _check_times(self.dropouts)
        if not self.temperature_kelvin >= 0 or not math.isfinite(self.noise_figure_db):
            noise = f"{self.temperature_kelvin} K, {self.noise_figure_db} dB"
            raise RadioError(f"noise: {noise}; accepted: a temperature of 0 K or more and a finite figure")
        if self.converter and not (1 <= self.converter.bits <= 32 and self.converter.full_scale_watts > 0):
            raise RadioError(f"converter: {self.converter}; accepted: 1 to 32 bits and a full scale above 0 W")

    def lost_at(self, time_s: float) -> bool:
        """Whether the radio is gone then."""
        return any(dropout.start_s <= time_s < dropout.end_s for dropout in self.dropouts)


def ground_clutter(
    count: int, seed: int, nearest_m: float = 2.0, farthest_m: float = 100.0, cross_section_m2: float = 0.01
) -> tuple[Target, ...]:
    """Still reflectors at random ranges and directions, with exponential cross sections (Rayleigh amplitudes)."""
    random = Random(seed)
    return tuple(
        Target(
            name=f"clutter {number}",
            range_m=random.uniform(nearest_m, farthest_m),
            cross_section_m2=random.expovariate(1 / cross_section_m2),
            angle_rad=random.uniform(-math.pi / 2, math.pi / 2),
            phase_rad=random.uniform(0, 2 * math.pi),
        )
        for number in range(count)
    )


def _check(target: Target) -> None:
    values = (target.velocity_m_per_s, target.angle_rad, target.angular_velocity_rad_per_s, target.phase_rad)
    if not (0 < target.range_m < math.inf and 0 <= target.cross_section_m2 < math.inf):
        raise RadioError(
            f"target {target.name}: {target.range_m} m, {target.cross_section_m2} m^2; "
            "accepted: a range above 0 and a cross section of 0 or more"
        )
    if not all(map(math.isfinite, values)):
        raise RadioError(f"target {target.name}: {values}; accepted: finite velocities and angles")


def _check_times(dropouts: Sequence[Dropout]) -> None:
    for dropout in dropouts:
        if not dropout.start_s < dropout.end_s:
            raise RadioError(f"dropout: {dropout.start_s} to {dropout.end_s} s; accepted: an end after the start")
