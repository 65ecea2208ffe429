"""Beams for the largest weighted sum of rates: weighted minimum mean square error, a stationary point."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairlead_isac.solvers.checks import above_zero, array_of, at_least_zero

Complex = NDArray[np.complex128]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Precoder:
    """Beams and the rates that they bring.

    Attributes:
        beamformers: complex [users, antennas]; ``sum_k |w_k|^2`` is at most the power.
        rate_bits: [users], ``log2(1 + SINR_k)``.
        weighted_rate: ``sum_k weights_k rate_k``: never falls from one iteration to the next.
        iterations: that were taken.
        fallback: why this is not a stationary point; None where it is.
    """

    beamformers: Complex
    rate_bits: Floats
    weighted_rate: float
    iterations: int
    fallback: str | None


def wmmse(
    channels: Any,
    power_watts: float,
    noise_watts: float,
    weights: Any = None,
    *,
    most_iterations: int = 200,
    tolerance: float = 1e-6,
) -> Precoder:
    """Maximise ``sum_k w_k log2(1 + SINR_k)`` subject to the power, from regularised zero forcing on.

    Receivers and their errors are closed forms, beams are ``(sum_j b_j h_j h_j^H + mu I)^-1 h_k`` with the least mu
    that keeps to the power (bisection in the eigenbasis, in the span of the channels). Reaches a stationary point, not
    certainly the optimum (the problem is NP-hard). Without users, or where all channels are zero, beams are zero.

    Source: Shi, Razaviyayn, Luo, He, "An iteratively weighted MMSE approach to distributed sum-utility maximization for
    a MIMO interfering broadcast channel", IEEE TSP 2011.

    Args:
        channels: complex [users, antennas]; user k receives ``h_k^H x``.
        power_watts: of all beams.
        noise_watts: at each user.
        weights: [users], at least 0; None: 1 each.
        most_iterations: bounds the time.
        tolerance: stops where the weighted rate grows by less than this share.

    Raises:
        IsacError: a shape that does not fit, a number that is not finite, a power or noise that is not above zero.
    """
    h = array_of("channels", channels, np.complex128, None, None)
    users = h.shape[0]
    w = np.ones(users) if weights is None else at_least_zero("weights", weights, users)
    power, noise = above_zero("power_watts", power_watts), above_zero("noise_watts", noise_watts)
    served = np.flatnonzero((np.abs(h).sum(1) > 0) & (w > 0))
    if not served.size:
        return Precoder(np.zeros_like(h), np.zeros(users), 0.0, 0, None)
    basis, reduced = np.linalg.qr((h[served] * np.sqrt(power / noise)).T)
    beams, rates, used, settled = _climb(reduced, w[served] / w.max(), most_iterations, tolerance)
    all_beams, all_rates = np.zeros_like(h), np.zeros(users)
    all_beams[served] = (basis @ beams).T * np.sqrt(power)
    all_rates[served] = rates
    fallback = None if settled else f"stopped after {used} iterations: the rate was still growing"
    return Precoder(all_beams, all_rates, float(w @ all_rates), used, fallback)


def _climb(h: Complex, weights: Floats, most: int, tolerance: float) -> tuple[Complex, Floats, int, bool]:
    """Iterate on channels [d, K] with power and noise one; return beams [d, K]."""
    beams = regularised_zero_forcing(h)
    rates = _rates(h, beams)
    for used in range(1, most + 1):
        products = h.conj().T @ beams
        total = (np.abs(products) ** 2).sum(1) + 1
        receive = products.diagonal() / total
        importance = weights / np.maximum(1 - np.abs(products.diagonal()) ** 2 / total, 1e-15)
        beams = _transmit(h, receive, importance)
        now = _rates(h, beams)
        if weights @ now - weights @ rates <= tolerance * (weights @ now):
            return beams, now, used, True
        rates = now
    return beams, rates, most, False


def regularised_zero_forcing(h: Complex) -> Complex:
    """Return beams [d, K] of power one together for channels [d, K] with noise one: ``(K I + H H^H)^-1 H``."""
    beams = np.linalg.solve(h @ h.conj().T + h.shape[1] * np.eye(h.shape[0]), h)
    return beams / np.sqrt((np.abs(beams) ** 2).sum())


def _transmit(h: Complex, receive: Complex, importance: Floats) -> Complex:
    """Return the beams [d, K] that weigh errors by their importance, with the least mu that keeps power one."""
    values, vectors = np.linalg.eigh((h * (importance * np.abs(receive) ** 2)) @ h.conj().T)
    sources = vectors.conj().T @ (h * (importance * receive.conj()).conj())
    energy = (np.abs(sources) ** 2).sum(1)
    mu = _least_mu(np.maximum(values, 0), energy)
    return vectors @ (sources / (np.maximum(values, 0) + mu)[:, None])


def _least_mu(values: Floats, energy: Floats) -> float:
    """Solve ``sum energy / (values + mu)^2 <= 1`` for the least mu >= 0."""
    floor = 1e-14 * values.max()
    if (energy / (values + floor) ** 2).sum() <= 1:
        return float(floor)
    low, high = floor, float(np.sqrt(energy.sum()))
    for _ in range(60):
        mu = 0.5 * (low + high)
        low, high = (mu, high) if (energy / (values + mu) ** 2).sum() > 1 else (low, mu)
    return high


def _rates(h: Complex, beams: Complex) -> Floats:
    power = np.abs(h.conj().T @ beams) ** 2
    own = power.diagonal()
    return np.log2(1 + own / (power.sum(1) - own + 1))
