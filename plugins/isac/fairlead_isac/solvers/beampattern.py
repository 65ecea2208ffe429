"""Radar-only beampatterns without CVXPY: the covariance whose power over angles is nearest a wanted one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairlead_isac.errors import IsacError
from fairlead_isac.solvers.checks import above_zero, array_of, at_least_zero

Complex = NDArray[np.complex128]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ShapedPattern:
    """A covariance and how far its pattern is from the wanted one.

    Attributes:
        covariance: complex [antennas, antennas], positive semidefinite, P / N on each antenna.
        level: the factor by which the wanted pattern was met, watts.
        error: ``sum_l weight_l (level desired_l - a_l^H R a_l)^2 / P^2``.
        iterations: eigendecompositions.
        fallback: why this may not be the optimum; None where both residuals are below the tolerance.
    """

    covariance: Complex
    level: float
    error: float
    iterations: int
    fallback: str | None


def shape_beampattern(
    desired: Any,
    steering: Any,
    power_watts: float,
    weights: Any = None,
    *,
    tolerance: float = 1e-4,
    most_iterations: int = 3000,
) -> ShapedPattern:
    """Minimise ``sum_l weight_l (level desired_l - a_l^H R a_l)^2`` over level and R, with P / N on each antenna.

    Converges to the convex optimum by ADMM: the error's minimum is linear in R's entries (one decomposition, once), the
    cone is a projection; the last iterate is scaled to the antennas' powers. For a coarse layer: hundreds of
    eigendecompositions.

    Sources: Stoica, Li, Xie, "On probing signal design for MIMO radar", IEEE TSP 2007; Liu et al. 2018, eq. (8); Boyd
    et al., "Distributed optimization and statistical learning via the alternating direction method", 2011, 3.4.

    Args:
        desired: [angles], the wanted power, up to a factor; not all zero.
        steering: complex [angles, antennas].
        power_watts: of all antennas together.
        weights: [angles]; None: 1 each.
        tolerance: of both residuals, as a share of R; the error is then some orders nearer its least.
        most_iterations: bounds the time; the last iterate is returned then, which keeps every antenna's power.

    Raises:
        IsacError: a shape that does not fit, a number that is not finite or negative, a pattern of zeros.
    """
    a = array_of("steering", steering, np.complex128, None, None)
    angles, antennas = a.shape
    wanted = at_least_zero("desired", desired, angles)
    w = np.ones(angles) if weights is None else at_least_zero("weights", weights, angles)
    power = above_zero("power_watts", power_watts)
    if not (w * wanted).any():
        raise IsacError("desired: must have a weighted angle above 0")
    error = _Error(a, wanted, w)
    covariance, used, settled = _alternate(error, antennas, tolerance, most_iterations)
    lit = np.einsum("li,ij,lj->l", a.conj(), covariance, a).real
    level = float((w * wanted * lit).sum() / (w * wanted**2).sum())
    missed = float((w * (level * wanted - lit) ** 2).sum())
    fallback = None if settled else f"stopped after {used} iterations: the pattern was still moving"
    return ShapedPattern(covariance * power, level * power, missed, used, fallback)


class _Error:
    """``|B x + b|^2`` of the real entries x off R's diagonal, the level eliminated; solved for any proximal step."""

    def __init__(self, a: Complex, wanted: Floats, w: Floats) -> None:
        self.rows, self.columns = np.triu_indices(a.shape[1], 1)
        products = np.sqrt(2) * a[:, self.rows].conj() * a[:, self.columns]
        root = np.sqrt(w)
        matrix = np.hstack([products.real, -products.imag]) * root[:, None]
        constant = root * (np.abs(a) ** 2).mean(1)
        aim = root * wanted
        aim = aim / np.linalg.norm(aim)
        matrix -= np.outer(aim, aim @ matrix)
        constant -= aim * (aim @ constant)
        _, self.values, self.vectors = np.linalg.svd(matrix, full_matrices=False)
        self.values, self.pull = 2 * self.values**2, 2 * matrix.T @ constant

    def nearest(self, entries: Floats, step: float) -> Floats:
        """Return the minimum of the error plus ``step / 2 |x - entries|^2``."""
        right = step * entries - self.pull
        part = self.vectors @ right
        return (right - self.vectors.T @ (part * self.values / (self.values + step))) / step

    def entries(self, matrix: Complex) -> Floats:
        upper = np.sqrt(2) * matrix[self.rows, self.columns]
        return np.concatenate([upper.real, upper.imag])

    def matrix(self, entries: Floats, antennas: int) -> Complex:
        half = len(self.rows)
        out = np.zeros((antennas, antennas), np.complex128)
        out[self.rows, self.columns] = (entries[:half] + 1j * entries[half:]) / np.sqrt(2)
        return out + out.conj().T + np.eye(antennas) / antennas


def _alternate(error: _Error, antennas: int, tolerance: float, most: int) -> tuple[Complex, int, bool]:
    """ADMM with a step that keeps both residuals alike; R has a trace of one."""
    cone = np.eye(antennas, dtype=np.complex128) / antennas
    scaled, step, settled, used = np.zeros_like(cone), max(0.1 * float(error.values.mean()), 1e-12), False, 0
    for used in range(1, most + 1):
        free = error.matrix(error.nearest(error.entries(cone - scaled), step), antennas)
        before, cone = cone, _positive(free + scaled)
        scaled = scaled + free - cone
        apart, moved = np.linalg.norm(free - cone), np.linalg.norm(cone - before)
        settled = max(apart, moved) <= tolerance * np.linalg.norm(cone)
        if settled:
            break
        if used % 20 == 0 and not 0.1 < apart / max(moved, 1e-300) < 10:
            factor = 2.0 if apart > moved else 0.5
            step, scaled = step * factor, scaled / factor
    scale = 1 / np.sqrt(np.maximum(cone.diagonal().real, 1e-300) * antennas)
    return cone * scale * scale[:, None], used, bool(settled)


def _positive(matrix: Complex) -> Complex:
    """Return the nearest positive semidefinite matrix."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.maximum(values, 0)) @ vectors.conj().T
