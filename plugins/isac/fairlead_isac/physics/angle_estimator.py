"""Maximum-likelihood estimates of targets' angles from an array's snapshots.

Of ``Y = alpha b(theta) a(theta)^H X + Z`` the likelihood is ``|b^H Y X^H a|^2 / (|b|^2 a^H X X^H a)`` (Bekkerman and
Tabrikian 2006, eq. 20): a grid starts a golden-section search. More targets are taken off in turn.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import IsacError
from .arrays import steering

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]
_GOLDEN = (np.sqrt(5) - 1) / 2
_CYCLES = 6


@dataclass(frozen=True, slots=True)
class Bearing:
    """A target's angle in rad and its complex amplitude alpha."""

    angle_rad: float
    amplitude: complex


def estimate_angles(received: ArrayLike, sent: ArrayLike, targets: int = 1, spacing: float = 0.5) -> list[Bearing]:
    """Angles of targets in front of the array, strongest first.

    Args:
        received: Y, complex [receive antennas, L].
        sent: X, complex [send antennas, L].
        targets: how many are sought.
        spacing: of neighbours, in wavelengths, of both arrays.

    Raises:
        IsacError: the numbers of snapshots differ, or a value is not finite.
    """
    received, sent = np.asarray(received, np.complex128), np.asarray(sent, np.complex128)
    if received.ndim != 2 or sent.ndim != 2 or received.shape[1] != sent.shape[1]:
        raise IsacError(f"received {received.shape}, sent {sent.shape}; accepted: [antennas, L] with one L")
    if not (np.isfinite(received).all() and np.isfinite(sent).all()):
        raise IsacError("received, sent: a value is not finite; accepted: finite snapshots")
    view = _View(received @ sent.conj().T, sent @ sent.conj().T, spacing)
    found: list[Bearing] = []
    for _ in range(targets):
        found.append(view.strongest(found))
        for _ in range(_CYCLES if len(found) > 1 else 0):
            found = [view.again(found, index) for index in range(len(found))]
    return sorted(found, key=lambda each: -abs(each.amplitude))


@dataclass(frozen=True, slots=True)
class _View:
    """What is sufficient of the snapshots: Y X^H [receive, send] and X X^H [send, send]."""

    cross: Complex
    energy: Complex
    spacing: float

    def strongest(self, others: list[Bearing]) -> Bearing:
        """The most likely one more target."""
        count = sum(self.cross.shape)
        sines, lobes = np.linspace(-1, 1, 4 * count + 1), self._lobes(others)
        return self._best(lobes, sines[lobes.likelihood(sines).argmax()], 2 / (4 * count))

    def again(self, found: list[Bearing], index: int) -> Bearing:
        """One of several, the others taken off."""
        lobes = self._lobes(found[:index] + found[index + 1 :])
        return self._best(lobes, np.sin(found[index].angle_rad), 1 / (4 * sum(self.cross.shape)))

    def _best(self, lobes: _Lobes, sine: float, reach: float) -> Bearing:
        low, high = max(sine - reach, -1.0), min(sine + reach, 1.0)
        sine = golden_section(lambda at: float(lobes.likelihood(at)), low, high)
        gathered, lit = lobes.at(sine)
        return Bearing(float(np.arcsin(sine)), complex(gathered / (len(self.cross) * lit)))

    def _lobes(self, others: list[Bearing]) -> _Lobes:
        """The likelihood with other targets taken off."""
        cross = self.cross
        for each in others:
            a = steering(each.angle_rad, cross.shape[1], self.spacing)
            b = steering(each.angle_rad, len(cross), self.spacing)
            cross = cross - each.amplitude * np.outer(b, a.conj() @ self.energy)
        return _Lobes(*_diagonals(cross), *_diagonals(self.energy), len(cross), self.spacing)


@dataclass(frozen=True, slots=True)
class _Lobes:
    """``b^H C a`` and ``a^H R a`` as what they are for even arrays: trigonometric polynomials of the sine."""

    cross: Complex
    cross_steps: Float
    energy: Complex
    energy_steps: Float
    receive: int
    spacing: float

    def at(self, sines: ArrayLike) -> tuple[Complex, Float]:
        """Both, of sines of any shape."""
        turns = 2j * np.pi * self.spacing * np.asarray(sines, np.float64)[..., None]
        gathered = np.exp(turns * self.cross_steps) @ self.cross
        lit = (np.exp(turns * self.energy_steps) @ self.energy).real
        # Where nothing is sent there is no likelihood: not noise over rounding.
        return gathered, np.maximum(lit, 1e-12 * abs(self.energy[len(self.energy) // 2]) + np.finfo(np.float64).tiny)

    def likelihood(self, sines: ArrayLike) -> Float:
        """``|b^H C a|^2 / (|b|^2 a^H R a)``."""
        gathered, lit = self.at(sines)
        return np.abs(gathered) ** 2 / (self.receive * lit)


def _diagonals(matrix: Complex) -> tuple[Complex, Float]:
    """Sums along the diagonals, and how many columns each lies right of the main one."""
    rows, columns = matrix.shape
    place = (np.arange(columns) - np.arange(rows)[:, None] + rows - 1).ravel()
    sums = np.bincount(place, matrix.real.ravel()) + 1j * np.bincount(place, matrix.imag.ravel())
    return sums, np.arange(1.0 - rows, columns)


def golden_section(function: Callable[[float], float], low: float, high: float, tolerance: float = 1e-9) -> float:
    """Place of the maximum of a function with one maximum between ``low`` and ``high``."""
    left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    at_left, at_right = function(left), function(right)
    while high - low > tolerance:
        if at_left >= at_right:
            high, right, at_right = right, left, at_left
            left = high - _GOLDEN * (high - low)
            at_left = function(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + _GOLDEN * (high - low)
            at_right = function(right)
    return (low + high) / 2
