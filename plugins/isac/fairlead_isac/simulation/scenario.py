"""A scenario in motion: a cell, users and targets with their paths, traces, fading."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from fairlead_isac.errors import IsacError
from fairlead_isac.granularity.layer import TrackedTarget
from fairlead_isac.physics.numerology import Numerology
from fairlead_isac.scenario import Cell, SensingNeed, Target, User
from fairlead_isac.simulation.mobility import Mobility, Straight, Waypoints, polar
from fairlead_isac.simulation.traces import RateTrace

#: A position within 1 m at 95 % (class 3 of 3GPP TS 22.137): the plane's 95 % circle has 2.45 standard deviations.
CIRCLE_95 = 2.448


@dataclass(frozen=True, slots=True, eq=False)
class MovingUser:
    """A user, its path and, if there is one, the trace that its link follows instead of its distance.

    Attributes:
        user: weight and needs.
        path: where it is.
        trace: of its rate, relative to the mean.
        mean_snr_db: of the whole band's power on the whole band, at the trace's mean rate.
    """

    user: User
    path: Mobility
    trace: RateTrace | None = None
    mean_snr_db: float = 12.0


@dataclass(frozen=True, slots=True, eq=False)
class MovingTarget:
    """A target, its path and what is asked of its estimates.

    Attributes:
        name: unique.
        path: where it is.
        rcs_m2: radar cross section.
        position_std_m: of both range and the distance across; the angle's part follows from the range.
        need: the other requirements; its angle_std_rad is replaced.
        velocity_resolution_m_per_s: see `TrackedTarget`.
        weight: of its refresh intervals.
    """

    name: str
    path: Mobility
    rcs_m2: float = 1.0
    position_std_m: float | None = None
    need: SensingNeed = field(default_factory=lambda: SensingNeed(refresh_s=0.1))
    velocity_resolution_m_per_s: float | None = 0.5
    weight: float = 1.0

    def tracked(self, t: float) -> TrackedTarget:
        """The target as it is at a time."""
        distance, angle, speed = polar(*self.path.at(t))
        need, across = self.need, self.position_std_m
        angle_std = need.angle_std_rad if across is None else across / distance
        required = SensingNeed(
            need.range_std_m if across is None else across,
            need.velocity_std_m_per_s,
            angle_std,
            need.detection_probability,
            need.false_alarm,
            need.refresh_s,
        )
        limit = math.pi / 2.0
        clipped = max(-limit, min(limit, angle))
        target = Target(self.name, clipped, distance, speed, self.rcs_m2, required, self.weight)
        return TrackedTarget(target, self.velocity_resolution_m_per_s)


@dataclass(frozen=True, slots=True, eq=False)
class MovingScenario:
    """All that `simulate` needs.

    Attributes:
        cell: antennas, power, numerology.
        users, targets: with their paths.
        delay_spread_s: of the users' channels.
        fading_speed_m_per_s: of users and of what is around them; sets the Doppler spread.
        path_exponent: of users without a trace.
        cancellation_db: of self-interference; None: nobody sends up.
    """

    cell: Cell
    users: tuple[MovingUser, ...]
    targets: tuple[MovingTarget, ...]
    delay_spread_s: float = 0.3e-6
    fading_speed_m_per_s: float = 8.0
    path_exponent: float = 3.0
    cancellation_db: float | None = None

    def __post_init__(self) -> None:
        for kind, names in (
            ("user", [each.user.name for each in self.users]),
            ("target", [each.name for each in self.targets]),
        ):
            twice = next((name for name in names if names.count(name) > 1), None)
            if twice is not None:
                raise IsacError(f"{kind} {twice!r} is there twice; accepted: each name once")


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of target: radar cross section, speeds, how far away it may be."""

    name: str
    rcs_m2: float
    speeds_m_per_s: tuple[float, float]
    farthest_m: float


KINDS = (
    Kind("vehicle", 10.0, (8.0, 20.0), 300.0),
    Kind("walker", 0.5, (0.8, 2.0), 400.0),
    Kind("drone", 0.02, (4.0, 15.0), 300.0),
)


def street(
    seed: int, seconds: float, traces: list[RateTrace], users: int = 6, targets: int = 8, blocks: int = 24
) -> MovingScenario:
    """A street with vehicles, people and drones to be sensed, and passengers whose links follow traces.

    3.5 GHz, 30 kHz, 36 MHz, 16 antennas, 1 W. Every target is to be placed within 1 m (95 %), told apart by 0.5 m/s,
    ten times a second, and detected with 98 % (class 3 of TS 22.137, with a velocity's resolution of class 4).

    Args:
        seed: of paths, speeds, mean SNRs and which user gets which trace.
        seconds: for how long random paths are drawn.
        traces: at least one.
        users, targets: how many; vehicles, walkers and drones in turn.
        blocks: units of allocation, which share the band evenly.
    """
    rng = np.random.default_rng(seed)
    numerology = Numerology.new_radio(3.5e9, 1, 100)
    cell = Cell("street", 16, 1.0, 5.0, numerology, None, blocks)
    order = rng.permutation(len(traces))
    passengers = tuple(
        MovingUser(
            User(f"user-{number}"),
            Waypoints((60.0, 260.0, -120.0, 120.0), (1.0, 15.0), seconds, rng),
            traces[int(order[number % len(order)])],
            float(rng.uniform(8.0, 16.0)),
        )
        for number in range(users)
    )
    return MovingScenario(cell, passengers, tuple(_sensed(number, seconds, rng) for number in range(targets)))


def _sensed(number: int, seconds: float, rng: np.random.Generator) -> MovingTarget:
    kind = KINDS[number % len(KINDS)]
    need = SensingNeed(velocity_std_m_per_s=0.4, detection_probability=0.98, false_alarm=1e-6, refresh_s=0.1)
    if kind.name == "vehicle":
        lane, low, high = 60.0 + 4.0 * number, *kind.speeds_m_per_s
        speed, phase = float(rng.uniform(low, high)), float(rng.uniform(0.0, 60.0))
        path: Mobility = Straight((lane, -kind.farthest_m), (lane, kind.farthest_m), speed, phase)
    else:
        path = Waypoints((60.0, kind.farthest_m, -150.0, 150.0), kind.speeds_m_per_s, seconds, rng)
    return MovingTarget(f"{kind.name}-{number}", path, kind.rcs_m2, 1.0 / CIRCLE_95 / math.sqrt(2.0), need)
