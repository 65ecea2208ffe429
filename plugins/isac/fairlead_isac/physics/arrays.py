"""Uniform linear arrays: steering vectors and beampatterns."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import IsacError

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]


def steering(angles: ArrayLike, antennas: int, spacing: float = 0.5) -> Complex:
    """Steering vectors ``a_i(theta) = exp(j 2 pi d i sin theta)`` (Van Trees, Optimum Array Processing, 2.3).

    Args:
        angles: rad from broadside, any shape.
        antennas: elements of the array.
        spacing: d of neighbours, in wavelengths.

    Returns:
        complex [*angles' shape, antennas]; each element has modulus 1.
    """
    _check(antennas, spacing)
    return np.exp(2j * np.pi * spacing * np.sin(np.asarray(angles, np.float64))[..., None] * np.arange(antennas))


def steering_derivative(angles: ArrayLike, antennas: int, spacing: float = 0.5) -> Complex:
    """Derivative of :func:`steering` by the angle, per rad; complex [*angles' shape, antennas]."""
    angles = np.asarray(angles, np.float64)
    slope = 2j * np.pi * spacing * np.cos(angles)[..., None] * np.arange(antennas)
    return slope * steering(angles, antennas, spacing)


def beampattern(covariance: ArrayLike, angles: ArrayLike, spacing: float = 0.5) -> Float:
    """Illumination ``a^H R a`` (Stoica, Li and Xie 2007, eq. 7).

    Args:
        covariance: R, complex [antennas, antennas] in watts.
        angles: rad, [A].
        spacing: of neighbours, in wavelengths.

    Returns:
        float [A] in watts; not negative.
    """
    covariance = np.asarray(covariance, np.complex128)
    if covariance.ndim != 2 or covariance.shape[0] != covariance.shape[1]:
        raise IsacError(f"covariance of shape {covariance.shape}; accepted: [antennas, antennas]")
    vectors = steering(angles, len(covariance), spacing)
    power = np.einsum("...i,ij,...j->...", vectors.conj(), covariance, vectors, optimize=True).real
    return np.maximum(power, 0)


def half_power_width(antennas: int, angle: float = 0.0, spacing: float = 0.5) -> float:
    """Width in rad between half-power points of a beam to ``angle``: 0.886 / (N d cos theta) (Van Trees, 2.99)."""
    return 0.886 / (antennas * spacing * max(np.cos(angle), 1e-3))


def pslr_db(pattern: ArrayLike, angles: ArrayLike, mainlobe: ArrayLike) -> float:
    """Ratio of the peak of the main lobe to the highest side lobe, in dB; inf where nothing lies beside.

    Args:
        pattern: power over the angles, [A].
        angles: rad, [A].
        mainlobe: [low, high] in rad, or [lobes, 2] of several.
    """
    inside, outside = _lobes(pattern, angles, mainlobe)
    return _decibels(inside.max(), outside.max(initial=0))


def islr_db(pattern: ArrayLike, angles: ArrayLike, mainlobe: ArrayLike) -> float:
    """Energy of the side lobes over the main lobe's (trapezoids over the angle), in dB: lower is better.

    Arguments as for :func:`pslr_db`.
    """
    pattern, angles = np.asarray(pattern, np.float64), np.asarray(angles, np.float64)
    inside = inside_of(angles, mainlobe)
    _lobes(pattern, angles, mainlobe)
    weights = np.gradient(angles) if len(angles) > 1 else np.ones(1)
    energy = pattern * weights
    return _decibels(energy[~inside].sum(), energy[inside].sum())


def inside_of(angles: Float, mainlobe: ArrayLike) -> NDArray[np.bool_]:
    """Which angles lie in a main lobe; bool [A]."""
    lobes = np.atleast_2d(np.asarray(mainlobe, np.float64))
    return ((angles[:, None] >= lobes[:, 0]) & (angles[:, None] <= lobes[:, 1])).any(axis=1)


def _lobes(pattern: ArrayLike, angles: ArrayLike, mainlobe: ArrayLike) -> tuple[Float, Float]:
    pattern, angles = np.asarray(pattern, np.float64), np.asarray(angles, np.float64)
    if pattern.shape != angles.shape or pattern.ndim != 1:
        raise IsacError(f"pattern of shape {pattern.shape} over angles of {angles.shape}; accepted: [A] over [A]")
    inside = inside_of(angles, mainlobe)
    if not inside.any():
        raise IsacError(f"mainlobe = {np.asarray(mainlobe).tolist()}; accepted: [low, high] rad that holds an angle")
    return pattern[inside], pattern[~inside]


def _decibels(above: float, below: float) -> float:
    if below <= 0:
        return np.inf
    return float(10 * np.log10(above / below)) if above > 0 else -np.inf


def _check(antennas: int, spacing: float) -> None:
    if antennas < 1:
        raise IsacError(f"antennas = {antennas!r}; accepted: at least 1")
    if not spacing > 0:
        raise IsacError(f"spacing = {spacing!r}; accepted: above 0 (wavelengths)")
