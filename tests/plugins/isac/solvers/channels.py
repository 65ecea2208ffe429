"""Random channels, and what beams and powers reach, computed anew."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Complex = NDArray[np.complex128]
Floats = NDArray[np.float64]


def rayleigh(rng: np.random.Generator, users: int, antennas: int) -> Complex:
    """Channels [users, antennas] of mean power one."""
    return (rng.standard_normal((users, antennas)) + 1j * rng.standard_normal((users, antennas))) / np.sqrt(2)


def steering(antennas: int, sine: float = 0.3) -> Complex:
    """Towards the direction with that sine, half a wavelength between antennas."""
    return np.exp(1j * np.pi * np.arange(antennas) * sine)


def sinr(channels: Complex, beams: Complex, noise: float) -> Floats:
    """Each user's, [users]."""
    power = np.abs(channels.conj() @ beams.T) ** 2
    own = power.diagonal()
    return own / (power.sum(1) - own + noise)


def information(power: Floats, positions: Floats, sensing: Floats) -> float:
    """J of powers [blocks] by its definition as a sum over pairs: no centre to compute."""
    rho = power * sensing
    pairs = rho[:, None] * rho[None] * (positions[:, None] - positions[None]) ** 2
    return float(pairs.sum() / (2 * rho.sum()))
