"""How users and targets move."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fairlead_isac.errors import IsacError

F64 = NDArray[np.float64]

#: Nearer to the cell nobody comes.
NEAREST_M = 5.0


class Mobility(Protocol):
    """A path in the plane; the cell is at the origin, its broadside along x."""

    def at(self, t: float) -> tuple[F64, F64]:
        """Position and velocity, float64 [2] each, in m and m/s, at a time in s."""
        ...


@dataclass(frozen=True, slots=True)
class Still:
    """Does not move."""

    x_m: float
    y_m: float

    def at(self, t: float) -> tuple[F64, F64]:
        """As `Mobility`."""
        return np.array([self.x_m, self.y_m]), np.zeros(2)


@dataclass(frozen=True, slots=True)
class Straight:
    """Drives back and forth between two points at a constant speed, as a vehicle on a road."""

    start_m: tuple[float, float]
    end_m: tuple[float, float]
    speed_m_per_s: float
    phase_s: float = 0.0

    def at(self, t: float) -> tuple[F64, F64]:
        """As `Mobility`."""
        start, end = np.array(self.start_m), np.array(self.end_m)
        length = float(np.linalg.norm(end - start))
        if length == 0.0:
            return start, np.zeros(2)
        run = (self.speed_m_per_s * (t + self.phase_s)) % (2.0 * length)
        along, direction = (end - start) / length, 1.0 if run <= length else -1.0
        return start + along * min(run, 2.0 * length - run), direction * self.speed_m_per_s * along


class Waypoints:
    """Random waypoint (Johnson and Maltz 1996): straight to one random point after the other, each at its own speed.

    Args:
        area_m: (nearest x, farthest x, lowest y, highest y).
        speeds_m_per_s: least and largest.
        seconds: for how long points are drawn; then the path is repeated.
        rng: draws points and speeds.
    """

    def __init__(
        self,
        area_m: tuple[float, float, float, float],
        speeds_m_per_s: tuple[float, float],
        seconds: float,
        rng: np.random.Generator,
    ) -> None:
        low, high = speeds_m_per_s
        if not 0.0 < low <= high or not area_m[0] < area_m[1] or not area_m[2] < area_m[3]:
            raise IsacError(f"waypoints: area {area_m}, speeds {speeds_m_per_s}; accepted: least before largest")
        points, times = [self._point(area_m, rng)], [0.0]
        while times[-1] < seconds:
            points.append(self._point(area_m, rng))
            length = float(np.linalg.norm(points[-1] - points[-2]))
            times.append(times[-1] + max(length, 1e-3) / float(rng.uniform(low, high)))
        self._points, self._times = np.array(points), np.array(times)

    @staticmethod
    def _point(area_m: tuple[float, float, float, float], rng: np.random.Generator) -> F64:
        return np.array([rng.uniform(area_m[0], area_m[1]), rng.uniform(area_m[2], area_m[3])])

    def at(self, t: float) -> tuple[F64, F64]:
        """As `Mobility`."""
        t = t % float(self._times[-1])
        leg = int(np.searchsorted(self._times, t, side="right")) - 1
        length = self._times[leg + 1] - self._times[leg]
        velocity = (self._points[leg + 1] - self._points[leg]) / length
        return self._points[leg] + velocity * (t - self._times[leg]), velocity


@dataclass(frozen=True, slots=True)
class Recorded:
    """A recorded path, linear between its points, and repeated.

    Attributes:
        times_s: ascending, from 0.
        points_m: of each time.
    """

    times_s: Sequence[float]
    points_m: Sequence[tuple[float, float]]

    def __post_init__(self) -> None:
        if len(self.times_s) != len(self.points_m) or len(self.times_s) < 2 or np.any(np.diff(self.times_s) <= 0):
            raise IsacError(f"path of {len(self.times_s)} times; accepted: two or more, ascending, a point for each")

    def at(self, t: float) -> tuple[F64, F64]:
        """As `Mobility`."""
        times, points = np.asarray(self.times_s), np.asarray(self.points_m, dtype=np.float64)
        t = times[0] + (t - times[0]) % float(times[-1] - times[0])
        leg = min(int(np.searchsorted(times, t, side="right")) - 1, len(times) - 2)
        velocity = (points[leg + 1] - points[leg]) / (times[leg + 1] - times[leg])
        return points[leg] + velocity * (t - times[leg]), velocity


def polar(position: F64, velocity: F64) -> tuple[float, float, float]:
    """Range in m, angle from broadside in rad, and radial velocity in m/s (away), as the cell sees them."""
    distance = max(float(np.linalg.norm(position)), NEAREST_M)
    return distance, math.atan2(float(position[1]), float(position[0])), float(position @ velocity) / distance
