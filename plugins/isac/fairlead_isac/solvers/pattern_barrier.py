"""The covariance nearest a wanted pattern, by a barrier method in the dual.

The error is ``|y|^2`` with ``y_i = sum_s C_is b_s^H R b_s`` over some probing vectors ``b_s``, R having a trace of one,
each antenna its share 1 / N. The dual of that is

    max -|q|^2 / 4 - sum(nu) / N    subject to    Z = sum_s (C^T q)_s b_s b_s^H + diag(nu) psd,

and ``R = mu Z^-1`` on the central path. Second derivatives of ``log det Z`` are squared moduli of ``b_s^H Z^-1 b_t``
(Boyd and Vandenberghe 2004, 11.3; Vandenberghe and Boyd, "Semidefinite programming", SIAM Review 1996), so that no
matrix of N^2 unknowns occurs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Complex = NDArray[np.complex128]
Floats = NDArray[np.float64]

#: The barrier falls by this factor where a Newton step begins this near its centre (squared decrement).
_FALL, _NEAR = 0.1, 0.3
_ARMIJO, _HALVINGS = 1e-4, 60


@dataclass(frozen=True, slots=True, eq=False)
class PatternError:
    """``|C p|^2`` of probed powers ``p_s = b_s^H R b_s``, the level eliminated.

    Attributes:
        probes: complex [S, N].
        matrix: C, float [rows, S].
    """

    probes: Complex
    matrix: Floats

    @classmethod
    def of(cls, steering: Complex, wanted: Floats, weights: Floats) -> PatternError:
        """Of a pattern at angles: ``sum_l weight_l (level wanted_l - a_l^H R a_l)^2`` at the best level.

        Powers of an even line of antennas are trigonometric polynomials of the phase between neighbours, of 2 N - 1
        coefficients: as many probes at even phases say what they are at all angles.
        """
        root = np.sqrt(weights)
        probes, spread = _probes(steering)
        aim = root * wanted
        aim = aim / np.linalg.norm(aim)
        matrix = root[:, None] * spread
        matrix = matrix - np.outer(aim, aim @ matrix)
        return cls(probes, np.linalg.qr(matrix, mode="r") if len(matrix) > matrix.shape[1] else matrix)

    def rows(self, covariance: Complex) -> Floats:
        """Y of a covariance, float [rows]."""
        return self.matrix @ np.einsum("si,ij,sj->s", self.probes.conj(), covariance, self.probes, optimize=True).real


@dataclass(frozen=True, slots=True, eq=False)
class NearestCovariance:
    """A covariance of trace one, complex [N, N]; its error may be ``gap`` less. ``settled``: that is little enough."""

    covariance: Complex
    gap: float
    steps: int
    settled: bool


def nearest_covariance(error: PatternError, tolerance: float, most_steps: int) -> NearestCovariance:
    """Least ``|y|^2`` to a gap of ``tolerance`` times the error, or ``1e-4 tolerance`` times that of R = I / N."""
    antennas = error.probes.shape[1]
    best = np.eye(antennas, dtype=np.complex128) / antennas
    flat = float((error.rows(best) ** 2).sum())
    scale = max(flat, float((error.matrix**2).sum()) * 1e-9, 1e-300)
    if flat <= 1e-9 * tolerance * scale:
        return NearestCovariance(best, flat, 0, True)
    path = _Path(error, scale)
    least, bound, steps = flat, 0.0, 0
    for steps in range(1, most_steps + 1):
        moved = path.step()
        bound = max(bound, path.bound())
        if path.covariance is not None:
            reached = float((error.rows(path.covariance) ** 2).sum())
            best, least = (path.covariance, reached) if reached < least else (best, least)
        if least - bound <= tolerance * max(least, 1e-4 * flat):
            return NearestCovariance(best, max(least - bound, 0.0), steps, True)
        if not moved:
            break
    return NearestCovariance(best, least - bound, steps, False)


class _Path:
    """A point near the central path: q, nu, and the barrier's weight mu."""

    def __init__(self, error: PatternError, scale: float) -> None:
        self.error, self.mu = error, scale
        rows, antennas = error.matrix.shape[0], error.probes.shape[1]
        self.vectors = np.vstack([error.probes, np.eye(antennas)])
        self.rows, self.antennas = rows, antennas
        self.covariance: Complex | None = None
        """The last one that was made near the centre."""
        self.at = np.concatenate([np.zeros(rows), np.full(antennas, scale * antennas)])
        self.factor = np.sqrt(scale * antennas) * np.eye(antennas, dtype=np.complex128)

    def bound(self) -> float:
        """The dual's value: no covariance has a smaller error."""
        q, nu = self.at[: self.rows], self.at[self.rows :]
        return float(-(q @ q) / 4 - nu.sum() / self.antennas)

    def _covariance(self, along: Floats) -> Complex:
        """``mu (Z^-1 - Z^-1 dZ Z^-1)`` of a Newton step, which meets R's bounds where the step is short.

        What is not positive of it is left out, and its diagonal made 1 / N.
        """
        back = np.linalg.inv(self.factor)
        values, turn = np.linalg.eigh(back @ self._z(along) @ back.conj().T)
        root = (back.conj().T @ turn) * np.sqrt(np.maximum(1 - values, 0.0))
        found = root @ root.conj().T
        scale = 1 / np.sqrt(np.maximum(found.diagonal().real, 1e-300) * self.antennas)
        return found * scale * scale[:, None]

    def step(self) -> bool:
        """One Newton step; the barrier falls where it began near the centre. False: no step is possible any more."""
        gradient, hessian = self._derivatives()
        ridge = 1e-15 * hessian.diagonal().max()
        try:
            along = -np.linalg.solve(hessian + ridge * np.eye(len(hessian)), gradient)
        except np.linalg.LinAlgError:
            return False
        slope = float(gradient @ along)
        near = -slope <= _NEAR * self.mu
        if near:
            self.covariance = self._covariance(along)
        moved = np.isfinite(slope) and slope < 0 and self._move(along, slope)
        # Where it does not move the centre is reached as far as rounding allows.
        if near or not moved:
            self.mu *= _FALL
        return self.mu > 1e-300

    def _derivatives(self) -> tuple[Floats, Floats]:
        """Of ``|q|^2 / 4 + sum(nu) / N - mu log det Z`` in (q, nu)."""
        rows, antennas, matrix = self.rows, self.antennas, self.error.matrix
        turned = np.linalg.solve(self.factor, self.vectors.T)
        coupled = np.abs(turned.conj().T @ turned) ** 2
        heard = np.sqrt(coupled.diagonal())
        probes = len(self.error.probes)
        gradient = np.concatenate(
            [self.at[:rows] / 2 - self.mu * (matrix @ heard[:probes]), 1 / antennas - self.mu * heard[probes:]]
        )
        hessian = np.empty((rows + antennas, rows + antennas))
        hessian[:rows, :rows] = matrix @ coupled[:probes, :probes] @ matrix.T * self.mu + np.eye(rows) / 2
        hessian[:rows, rows:] = self.mu * (matrix @ coupled[:probes, probes:])
        hessian[rows:, :rows] = hessian[:rows, rows:].T
        hessian[rows:, rows:] = self.mu * coupled[probes:, probes:]
        return gradient, hessian

    def _move(self, along: Floats, slope: float) -> bool:
        """As far along as the barrier allows and pays."""
        before, part = self._value(self.at, self.factor), 1.0
        for _ in range(_HALVINGS):
            place = self.at + part * along
            factor = self._factor(place)
            if factor is not None and self._value(place, factor) <= before + _ARMIJO * part * slope:
                self.at, self.factor = place, factor
                return True
            part /= 2
        return False

    def _value(self, at: Floats, factor: Complex) -> float:
        q, nu = at[: self.rows], at[self.rows :]
        logarithm = 2 * float(np.log(factor.diagonal().real).sum())
        return float(q @ q) / 4 + float(nu.sum()) / self.antennas - self.mu * logarithm

    def _factor(self, at: Floats) -> Complex | None:
        """Cholesky's of Z; None: Z is not positive."""
        try:
            return np.linalg.cholesky(self._z(at))
        except np.linalg.LinAlgError:
            return None

    def _z(self, at: Floats) -> Complex:
        lit = (self.error.matrix.T @ at[: self.rows])[:, None] * self.error.probes.conj()
        z = self.error.probes.T @ lit + np.diag(at[self.rows :])
        return (z + z.conj().T) / 2


def _probes(steering: Complex) -> tuple[Complex, Floats]:
    """Probing vectors [S, N] and, float [angles, S], how the powers at all angles follow from theirs."""
    angles, antennas = steering.shape
    count = 2 * antennas - 1
    if angles <= count or antennas < 2 or not _even(steering):
        return steering, np.eye(angles)
    phases = 2 * np.pi * np.arange(count) / count
    probes = np.exp(1j * phases[:, None] * np.arange(antennas))
    apart = np.angle(steering[:, 1] / steering[:, 0])[:, None] - phases
    # Dirichlet's kernel: a polynomial of degree N - 1 from its values at 2 N - 1 even places.
    orders = np.arange(1, antennas)
    return probes, (1 + 2 * np.cos(apart[..., None] * orders).sum(-1)) / count


def _even(steering: Complex) -> bool:
    """Whether rows are phases of an even line of antennas, all of modulus one."""
    if not np.allclose(np.abs(steering), 1.0, atol=1e-9):
        return False
    turns = steering[:, 1:] * steering[:, :-1].conj()
    return bool(np.allclose(turns, turns[:, :1], atol=1e-9))
