"""Peak-to-sidelobe ratio of a beampattern whose beams carry data, after Liu et al. 2018, Fig. 4(b).

N = 20 antennas, K = 4 users, a main beam at broadside of 10 degrees between half-power points, side lobes from 9
degrees on, power on each antenna P / N, P / sigma^2 = 20 dB. Radar alone: R2 whose worst ratio of main to side lobes is
highest. Shared: covariances T_k with ``sum T_k`` next to R2 and ``SINR_k >= Gamma``, by CVXPY and Clarabel.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import cvxpy as cp
import numpy as np

from fairlead_isac.physics.arrays import beampattern, pslr_db, steering
from fairlead_isac.physics.channel import rayleigh

ANTENNAS, USERS, POWER, SINR = 20, 4, 100.0, 10.0
WIDTH, SIDELOBES_FROM = np.deg2rad(10.0), np.deg2rad(9.0)
DESIGN = np.deg2rad(np.arange(-90.0, 91.0))
FINE = np.deg2rad(np.arange(-90.0, 90.05, 0.1))


@dataclass(frozen=True, slots=True, eq=False)
class Pattern:
    """A covariance, its illumination over `FINE`, its ratio in dB, and the users' least SINR (None: no users)."""

    covariance: np.ndarray
    power: np.ndarray
    ratio_db: float
    sinr: float | None = None


def radar_only() -> Pattern:
    """The best pattern without users."""
    covariance, least = cp.Variable((ANTENNAS, ANTENNAS), hermitian=True), cp.Variable()
    main = _lit(covariance, 0.0)
    limits = [covariance >> 0, cp.real(cp.diag(covariance)) == 1 / ANTENNAS]
    limits += [_lit(covariance, side * WIDTH / 2) == main / 2 for side in (-1, 1)]
    limits += [main - _lit(covariance, angle) >= least for angle in DESIGN[np.abs(DESIGN) >= SIDELOBES_FROM - 1e-9]]
    _solve(cp.Problem(cp.Maximize(least), limits))
    return _pattern(covariance.value)


def shared(wanted: Pattern, seed: int) -> Pattern:
    """The nearest pattern whose beams give four users their SINR."""
    channels = rayleigh(USERS, ANTENNAS, np.random.default_rng(seed)) * math.sqrt(POWER)
    parts = [cp.Variable((ANTENNAS, ANTENNAS), hermitian=True) for _ in range(USERS)]
    sent = sum(parts[1:], start=parts[0])
    limits = [part >> 0 for part in parts] + [cp.real(cp.diag(sent)) == 1 / ANTENNAS]
    for channel, part in zip(channels, parts, strict=True):
        own = np.outer(channel, channel.conj())
        limits.append((1 + 1 / SINR) * _inner(own, part) - _inner(own, sent) >= 1)
    _solve(cp.Problem(cp.Minimize(cp.sum_squares(sent - wanted.covariance)), limits))
    covariance = sum(part.value for part in parts)
    return _pattern(covariance, _least_sinr(channels, [part.value for part in parts]))


def _least_sinr(channels: np.ndarray, parts: list[np.ndarray]) -> float:
    """Of the rank-one beams ``T h / sqrt(h^H T h)``, the rest of the covariance disturbing."""
    covariance, found = sum(parts), []
    for channel, part in zip(channels, parts, strict=True):
        wanted = (channel.conj() @ part @ channel).real
        found.append(wanted / ((channel.conj() @ covariance @ channel).real - wanted + 1))
    return float(min(found))


def _pattern(covariance: np.ndarray, sinr: float | None = None) -> Pattern:
    power = beampattern(covariance, FINE)
    return Pattern(covariance, power, pslr_db(power, FINE, [-SIDELOBES_FROM + 1e-6, SIDELOBES_FROM - 1e-6]), sinr)


def _lit(covariance: cp.Variable, angle: float) -> cp.Expression:
    vector = steering(angle, ANTENNAS)
    return cp.real(vector.conj() @ covariance @ vector)


def _inner(matrix: np.ndarray, variable: cp.Expression) -> cp.Expression:
    return cp.real(cp.trace(matrix @ variable))


def _solve(problem: cp.Problem) -> None:
    with warnings.catch_warnings():
        # Accuracy is judged by the users' SINR, which rows report.
        warnings.simplefilter("ignore", UserWarning)
        problem.solve(solver=cp.CLARABEL)
