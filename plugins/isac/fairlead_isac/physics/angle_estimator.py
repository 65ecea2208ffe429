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
        sines = np.linspace(-1, 1, 4 * count + 1)
        likelihood = self._likelihood(self._without(others), sines)
        return self._best(others, sines[likelihood.argmax()], 2 / (4 * count))

    def again(self, found: list[Bearing], index: int) -> Bearing:
        """One of several, the others taken off."""
        others = found[:index] + found[index + 1 :]
        return self._best(others, np.sin(found[index].angle_rad), 1 / (4 * sum(self.cross.shape)))

    def _best(self, others: list[Bearing], sine: float, reach: float) -> Bearing:
        cross = self._without(others)
        low, high = max(sine - reach, -1.0), min(sine + reach, 1.0)
        sine = golden_section(lambda at: float(self._likelihood(cross, np.array([at]))[0]), low, high)
        projected, lit = self._projected(cross, np.array([sine]))
        amplitude = projected[0] / (len(cross) * max(lit[0], np.finfo(np.float64).tiny))
        return Bearing(float(np.arcsin(sine)), complex(amplitude))

    def _likelihood(self, cross: Complex, sines: Float) -> Float:
        projected, lit = self._projected(cross, sines)
        return np.abs(projected) ** 2 / (len(cross) * np.maximum(lit, 1e-12 * np.trace(self.energy).real))

    def _projected(self, cross: Complex, sines: Float) -> tuple[Complex, Float]:
        angles = np.arcsin(sines)
        a, b = steering(angles, cross.shape[1], self.spacing), steering(angles, len(cross), self.spacing)
        lit = np.einsum("pi,pi->p", a.conj(), a @ self.energy.T).real
        return np.einsum("pi,pi->p", b.conj(), a @ cross.T), lit

    def _without(self, others: list[Bearing]) -> Complex:
        cross = self.cross
        for each in others:
            a = steering(each.angle_rad, cross.shape[1], self.spacing)
            b = steering(each.angle_rad, len(cross), self.spacing)
            cross = cross - each.amplitude * np.outer(b, a.conj() @ self.energy)
        return cross


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
