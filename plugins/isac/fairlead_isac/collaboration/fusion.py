"""Estimates of one target by several cells, brought to one time and one frame, and fused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fairlead_isac.errors import IsacError

F64 = NDArray[np.float64]
Correlation = Literal["none", "unknown"]

GOLDEN = (np.sqrt(5.0) - 1.0) / 2.0
GOLDEN_STEPS = 40


@dataclass(frozen=True, slots=True, eq=False)
class Estimate:
    """A Gaussian estimate of a target's state (x, y, vx, vy) in m and m/s, in the frame that all cells share.

    Attributes:
        cell: who has it.
        time_s: when it held.
        mean: float64 [4].
        covariance: float64 [4, 4], symmetric and positive definite.
    """

    cell: str
    time_s: float
    mean: F64
    covariance: F64

    def __post_init__(self) -> None:
        finite = np.isfinite(self.mean).all() and np.isfinite(self.covariance).all()
        if self.mean.shape != (4,) or self.covariance.shape != (4, 4) or not finite:
            raise IsacError(
                f"estimate of {self.cell!r}: {self.mean.shape}, {self.covariance.shape}; accepted: finite 4, 4x4"
            )
        if not np.allclose(self.covariance, self.covariance.T) or np.linalg.eigvalsh(self.covariance)[0] <= 0.0:
            raise IsacError(f"estimate of {self.cell!r}: covariance is not positive definite; accepted: one that is")

    @property
    def position_std_m(self) -> float:
        """Root of the position's mean squared error."""
        return float(np.sqrt(np.trace(self.covariance[:2, :2])))


def to_plane(
    cell: str,
    at: tuple[float, float],
    boresight_rad: float,
    time_s: float,
    polar: tuple[float, float, float],
    deviations: tuple[float, float, float],
    tangential_std_m_per_s: float = 30.0,
) -> Estimate:
    """Bring what a cell measures into the common plane (converted measurements, Bar-Shalom et al. 2001, 10.4).

    Args:
        cell: who measured.
        at: x and y of the cell in m.
        boresight_rad: direction of the array's broadside, from the x axis.
        time_s: of the measurement.
        polar: range in m, angle from broadside in rad, radial velocity in m/s (away).
        deviations: standard deviations of the three.
        tangential_std_m_per_s: of the velocity across the line of sight, which no single cell measures.
    """
    distance, angle, speed = polar
    along = np.array([np.cos(boresight_rad + angle), np.sin(boresight_rad + angle)])
    turned = np.column_stack([along, [-along[1], along[0]]])
    spread = np.diag([deviations[0] ** 2, (distance * deviations[1]) ** 2])
    moving = np.diag([deviations[2] ** 2, tangential_std_m_per_s**2])
    covariance = np.zeros((4, 4))
    covariance[:2, :2], covariance[2:, 2:] = turned @ spread @ turned.T, turned @ moving @ turned.T
    return Estimate(cell, time_s, np.concatenate([np.asarray(at) + distance * along, speed * along]), covariance)


def predicted(estimate: Estimate, time_s: float, acceleration_std_m_per_s2: float = 1.0) -> Estimate:
    """Move an estimate to another time: constant velocity, white acceleration (Bar-Shalom et al. 2001, 6.2).

    Going back is as uncertain as going on.
    """
    lag = time_s - estimate.time_s
    step = np.eye(4)
    step[0, 2] = step[1, 3] = lag
    gain = np.array([[lag**2 / 2.0, 0.0], [0.0, lag**2 / 2.0], [abs(lag), 0.0], [0.0, abs(lag)]])
    grown = step @ estimate.covariance @ step.T + acceleration_std_m_per_s2**2 * gain @ gain.T
    return Estimate(estimate.cell, time_s, step @ estimate.mean, (grown + grown.T) / 2.0)


def fuse(estimates: Sequence[Estimate], correlation: Correlation = "none") -> Estimate:
    """Fuse estimates that hold at one time.

    ``none``: their errors are independent; information matrices add up. ``unknown``: they may have been made from the
    same data; covariance intersection (Julier and Uhlmann 1997), P^-1 = w A^-1 + (1 - w) B^-1 with the w that makes the
    trace of P least, one estimate after the other in order of quality: never more certain than it may be.

    Raises:
        IsacError: there is none, they are of different times, or the correlation is unknown by name.
    """
    if not estimates:
        raise IsacError("estimates: none; accepted: at least one")
    times = {estimate.time_s for estimate in estimates}
    if len(times) > 1:
        raise IsacError(f"estimates at {sorted(times)} s; accepted: one time (bring them there by `predicted`)")
    if correlation not in ("none", "unknown"):
        raise IsacError(f"correlation {correlation!r}; accepted: none, unknown")
    names = "+".join(sorted(estimate.cell for estimate in estimates))
    if correlation == "none":
        information = [np.linalg.inv(estimate.covariance) for estimate in estimates]
        return _from_information(names, estimates, information)
    best, *others = sorted(estimates, key=lambda estimate: float(np.trace(estimate.covariance)))
    for other in others:
        weight = _best_weight(best, other)
        parts = [weight * np.linalg.inv(best.covariance), (1.0 - weight) * np.linalg.inv(other.covariance)]
        best = _from_information(names, [best, other], parts)
    return Estimate(names, best.time_s, best.mean, best.covariance)


def _from_information(names: str, estimates: Sequence[Estimate], information: Sequence[F64]) -> Estimate:
    covariance = np.linalg.inv(np.sum(information, axis=0))
    vector = np.sum([part @ each.mean for part, each in zip(information, estimates, strict=True)], axis=0)
    return Estimate(names, estimates[0].time_s, covariance @ vector, (covariance + covariance.T) / 2.0)


def _best_weight(first: Estimate, second: Estimate) -> float:
    """Golden section: the trace is convex in the weight."""
    mine, theirs = np.linalg.inv(first.covariance), np.linalg.inv(second.covariance)

    def trace(weight: float) -> float:
        return float(np.trace(np.linalg.inv(weight * mine + (1.0 - weight) * theirs)))

    low, high = 0.0, 1.0
    for _ in range(GOLDEN_STEPS):
        left, right = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
        low, high = (low, right) if trace(left) < trace(right) else (left, high)
    middle = (low + high) / 2.0
    return min((0.0, middle, 1.0), key=trace)
