"""Radar-only beampatterns without CVXPY: the covariance whose power over angles is nearest a wanted one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairlead_isac.errors import IsacError
from fairlead_isac.solvers.checks import above_zero, array_of, at_least_zero
from fairlead_isac.solvers.pattern_barrier import PatternError, nearest_covariance

Complex = NDArray[np.complex128]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ShapedPattern:
    """A covariance and how far its pattern is from the wanted one.

    Attributes:
        covariance: complex [antennas, antennas], positive semidefinite, P / N on each antenna.
        level: the factor by which the wanted pattern was met, watts.
        error: ``sum_l weight_l (level desired_l - a_l^H R a_l)^2 / P^2``.
        gap: what the error may be above its least, at most; proved by the dual.
        iterations: Newton steps.
        fallback: why this may not be the optimum; None where the gap is within the tolerance.
    """

    covariance: Complex
    level: float
    error: float
    gap: float
    iterations: int
    fallback: str | None


def shape_beampattern(
    desired: Any,
    steering: Any,
    power_watts: float,
    weights: Any = None,
    *,
    tolerance: float = 1e-5,
    most_iterations: int = 200,
) -> ShapedPattern:
    """Minimise ``sum_l weight_l (level desired_l - a_l^H R a_l)^2`` over level and R, with P / N on each antenna.

    The convex optimum by an interior-point method in the dual, whose Newton steps have 3 N - 1 unknowns for N antennas
    in a line at even distances, however many angles there are, and N more than there are angles for other arrays. Some
    30 steps do, for any pattern.

    Sources: Stoica, Li, Xie, "On probing signal design for MIMO radar", IEEE TSP 2007; Liu et al. 2018, eq. (8); the
    method: :mod:`fairlead_isac.solvers.pattern_barrier`.

    Args:
        desired: [angles], the wanted power, up to a factor; not all zero.
        steering: complex [angles, antennas].
        power_watts: of all antennas together.
        weights: [angles]; None: 1 each.
        tolerance: of the gap, as a share of the error, and a ten-thousandth of it as a share of the error of equal
            power in all directions.
        most_iterations: bounds the time; the last iterate is returned then, which keeps every antenna's power.

    Raises:
        IsacError: a shape that does not fit, a number that is not finite or negative, a pattern of zeros.
    """
    a = array_of("steering", steering, np.complex128, None, None)
    angles, _ = a.shape
    wanted = at_least_zero("desired", desired, angles)
    w = np.ones(angles) if weights is None else at_least_zero("weights", weights, angles)
    power = above_zero("power_watts", power_watts)
    if not (w * wanted).any():
        raise IsacError("desired: must have a weighted angle above 0")
    found = nearest_covariance(PatternError.of(a, wanted, w), tolerance, most_iterations)
    lit = np.einsum("li,ij,lj->l", a.conj(), found.covariance, a, optimize=True).real
    level = float((w * wanted * lit).sum() / (w * wanted**2).sum())
    missed = float((w * (level * wanted - lit) ** 2).sum())
    fallback = None if found.settled else f"stopped after {found.steps} steps: the error may be {found.gap:.3g} less"
    return ShapedPattern(found.covariance * power, level * power, missed, found.gap, found.steps, fallback)
