"""What a scheduler is asked for and what it may use: users, targets, cells, channels, budgets. All of it is frozen.

Units are SI and linear (W, Hz, s, m, rad, bit/s) unless a name ends in ``_db``. A user's channel ``h`` is the vector
for which ``|h^H w|^2`` is the received power in W of a beam ``w`` whose power ``w^H w`` is in W.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from fairlead_isac.errors import IsacError

if TYPE_CHECKING:
    from fairlead_isac.physics.numerology import Numerology

Duplex = Literal["half", "full"]
Direction = Literal["down", "up"]
ComplexArray = NDArray[np.complex128]
FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class User:
    """A user of the cell's data: how much it counts and what it needs at least."""

    name: str
    weight: float = 1.0
    min_rate_bits_per_s: float = 0.0
    max_delay_s: float | None = None
    direction: Direction = "down"

    def __post_init__(self) -> None:
        _named(self)
        _check(self, "weight", self.weight > 0, "a number above 0")
        _check(self, "min_rate_bits_per_s", self.min_rate_bits_per_s >= 0, "a number of at least 0")
        _check(self, "max_delay_s", self.max_delay_s is None or self.max_delay_s > 0, "a number above 0, or None")
        _check(self, "direction", self.direction in ("down", "up"), "down or up")


@dataclass(frozen=True, slots=True)
class SensingNeed:
    """What estimates of a target must reach; None: not asked for. Standard deviations are of unbiased estimates."""

    range_std_m: float | None = None
    velocity_std_m_per_s: float | None = None
    angle_std_rad: float | None = None
    detection_probability: float | None = None
    false_alarm: float | None = None
    """Probability of a false alarm per tested cell; where it is None, detection is evaluated at 1e-6."""
    refresh_s: float | None = None

    def __post_init__(self) -> None:
        for name in ("range_std_m", "velocity_std_m_per_s", "angle_std_rad", "refresh_s"):
            value = getattr(self, name)
            _check(self, name, value is None or value > 0, "a number above 0, or None")
        for name in ("detection_probability", "false_alarm"):
            value = getattr(self, name)
            _check(self, name, value is None or 0 < value < 1, "a probability between 0 and 1, or None")


@dataclass(frozen=True, slots=True)
class Target:
    """Something to sense: where it is believed to be, how fast (away from the cell), and its radar cross section."""

    name: str
    angle_rad: float
    range_m: float
    velocity_m_per_s: float = 0.0
    reflectivity: float = 1.0
    """Radar cross section in m^2."""
    required: SensingNeed = field(default_factory=SensingNeed)
    weight: float = 1.0

    def __post_init__(self) -> None:
        _named(self)
        _check(self, "angle_rad", abs(self.angle_rad) <= math.pi, "an angle from -pi to pi")
        _check(self, "range_m", 0 < self.range_m < math.inf, "a distance above 0")
        _check(self, "velocity_m_per_s", math.isfinite(self.velocity_m_per_s), "a finite number")
        _check(self, "reflectivity", 0 < self.reflectivity < math.inf, "a cross section above 0")
        _check(self, "weight", self.weight > 0, "a number above 0")


@dataclass(frozen=True, slots=True)
class Cell:
    """A base station with a uniform linear array of half a wavelength's spacing, which sends and hears echoes."""

    name: str
    antennas: int
    power_watts: float
    noise_figure_db: float
    numerology: Numerology
    receive_antennas: int | None = None
    """None: as many as it sends with."""
    resource_blocks: int = 1

    def __post_init__(self) -> None:
        _named(self)
        _check(self, "antennas", self.antennas >= 1, "a whole number of at least 1")
        _check(self, "power_watts", 0 < self.power_watts < math.inf, "a power above 0")
        _check(self, "receive_antennas", (self.receive_antennas or 1) >= 1, "a whole number of at least 1, or None")
        _check(self, "resource_blocks", self.resource_blocks >= 1, "a whole number of at least 1")

    @property
    def echo_antennas(self) -> int:
        """Antennas that hear echoes and the uplink."""
        return self.receive_antennas or self.antennas


@dataclass(frozen=True, slots=True, eq=False)
class Channels:
    """What was measured for one decision. Values may be NaN or infinite: stages leave such users and targets out.

    Args:
        users: complex [K, N], one gain for the whole band, or [K, RB, N], one for each resource block; in the order of
            ``user_names``.
        user_names: the K users that receive.
        noise_watts: noise power at a user's receiver over the whole band.
        sensing_gains: float [T], the power that one receiving antenna hears of a target's echo for 1 W of illumination
            ``a^H R a``: ``lambda^2 rcs / ((4 pi)^3 r^4)`` in free space.
        target_names: the T targets.
        sensing_noise_watts: noise power at one receiving antenna of the cell over the whole band; None: as
            ``noise_watts``.
        uplink: complex [U, M], from each sending user to the cell's M receiving antennas; None: nobody sends.
        uplink_names: the U users that send.
        uplink_power_watts: float [U], what each of them sends with.
        cancellation_db: how far self-interference is suppressed before decoding; None: it is not heard at all.
        residual: complex [M, r] with unit Frobenius norm, the directions in which residual self-interference arrives;
            None: it is white.
        clutter_angles_rad: float [C], where what stands still around the cell is seen; None: there is none.
        clutter_gains: float [C], its two-way power gains, as far as processing leaves it in targets' cells while data
            is sent: symbols of one modulus keep it in its own cells, others spread ``E|x|^4 - 1`` of it over all.
    """

    users: ComplexArray
    user_names: tuple[str, ...]
    noise_watts: float
    sensing_gains: FloatArray
    target_names: tuple[str, ...]
    sensing_noise_watts: float | None = None
    uplink: ComplexArray | None = None
    uplink_names: tuple[str, ...] = ()
    uplink_power_watts: FloatArray | None = None
    cancellation_db: float | None = None
    residual: ComplexArray | None = None
    clutter_angles_rad: FloatArray | None = None
    clutter_gains: FloatArray | None = None

    def __post_init__(self) -> None:
        _check_shape("users", self.users, (2, 3), len(self.user_names))
        _check_shape("sensing_gains", self.sensing_gains, (1,), len(self.target_names))
        _check(self, "noise_watts", self.noise_watts > 0, "a power above 0")
        heard = self.sensing_noise_watts
        _check(self, "sensing_noise_watts", heard is None or heard > 0, "a power above 0, or None")
        if self.uplink is not None:
            _check_shape("uplink", self.uplink, (2,), len(self.uplink_names))
            _check_shape("uplink_power_watts", self.uplink_power_watts, (1,), len(self.uplink_names))
        elif self.uplink_names:
            raise IsacError(f"Channels.uplink_names names {self.uplink_names!r}, and there are no uplink channels")
        if self.clutter_angles_rad is not None or self.clutter_gains is not None:
            angles, gains = np.shape(self.clutter_angles_rad), np.shape(self.clutter_gains)
            if len(angles) != 1 or angles != gains:
                raise IsacError(f"Channels.clutter_gains has shape {gains}; accepted: that of clutter_angles_rad, [C]")
        for name in ("user_names", "target_names", "uplink_names"):
            _check(self, name, len(set(getattr(self, name))) == len(getattr(self, name)), "names that differ")

    @property
    def antennas(self) -> int:
        """Sending antennas N."""
        return int(self.users.shape[-1])

    @property
    def resource_blocks(self) -> int:
        """Resource blocks with a gain of their own; 1 where the band has one gain."""
        return int(self.users.shape[1]) if self.users.ndim == 3 else 1

    @property
    def echo_noise_watts(self) -> float:
        """Noise at one receiving antenna of the cell."""
        return self.noise_watts if self.sensing_noise_watts is None else self.sensing_noise_watts


@dataclass(frozen=True, slots=True)
class Budget:
    """What a coarser layer gives a finer one: bounds to keep and prices to trade at.

    A stage meets the users' and targets' needs first. What is left is traded by the prices: the value of a decision is
    ``price_rate`` times the weighted sum of rates in bit/s/Hz plus ``price_sensing`` times the targets' weighted
    illumination as a share of the largest possible one.
    """

    power_watts: float
    time_fraction_sensing: tuple[float, float] = (0.0, 1.0)
    """The least and the largest share of time that may go to sensing alone."""
    resource_blocks: int | None = None
    """At most so many; None: all."""
    duplex: Duplex = "half"
    price_rate: float = 1.0
    price_sensing: float = 0.0
    uplink_fraction: float = 0.5
    """Share of time in which users send, where they cannot do so while the cell sends."""

    def __post_init__(self) -> None:
        low, high = self.time_fraction_sensing
        _check(self, "power_watts", 0 < self.power_watts < math.inf, "a power above 0")
        _check(self, "time_fraction_sensing", 0 <= low <= high <= 1, "two shares, 0 <= least <= largest <= 1")
        _check(self, "resource_blocks", (self.resource_blocks or 1) >= 1, "a whole number of at least 1, or None")
        _check(self, "duplex", self.duplex in ("half", "full"), "half or full")
        _check(self, "uplink_fraction", 0 <= self.uplink_fraction <= 1, "a share from 0 to 1")
        for name in ("price_rate", "price_sensing"):
            _check(self, name, 0 <= getattr(self, name) < math.inf, "a number of at least 0")


def _named(item: Any) -> None:
    if not isinstance(item.name, str) or not item.name:
        raise IsacError(f"{type(item).__name__}.name is {item.name!r}; accepted: a text that is not empty")


def _check(item: Any, name: str, holds: bool, accepted: str) -> None:
    if holds:
        return
    named = any(each.name == "name" for each in fields(item))
    who = f" of {item.name!r}" if named else ""
    raise IsacError(f"{type(item).__name__}.{name}{who} is {getattr(item, name)!r}; accepted: {accepted}")


def _check_shape(name: str, values: Any, dimensions: tuple[int, ...], count: int) -> None:
    shape = np.shape(values)
    if values is None or len(shape) not in dimensions or shape[0] != count:
        wanted = " or ".join(str(number) for number in dimensions)
        raise IsacError(f"Channels.{name} has shape {shape}; accepted: {wanted} dimensions, the first of {count}")
