"""Beams for users: rates on a ray from what they need, the largest that the power allows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fairlead_isac.scenario import ComplexArray, FloatArray

_ROUNDS = 100
_FIXED_POINTS = 3
_NEWTONS = 12
_LEAST_NOISE = 1e-9
"""Of the strongest user's signal: beams are made for at most 90 dB, beyond which interference is within rounding."""
_MOST_BITS = 60.0
_TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class Peak:
    """The farthest point of a ray of spectral efficiencies that the power allows.

    Args:
        efficiency: float [K], bit/s/Hz.
        beamformers: complex [K, N] in sqrt(W) that reach it with the whole power.
        scale: how far along the ray.
        converged: the fixed point was reached within the allowed rounds.
    """

    efficiency: FloatArray
    beamformers: ComplexArray
    scale: float
    converged: bool


def sinr_of(channels: ComplexArray, beamformers: ComplexArray, noise_watts: float, extra: int = 0) -> FloatArray:
    """SINR of K users, linear, float [K]; the first K of the streams are theirs, ``extra`` more only disturb.

    Args:
        channels: complex [K, N].
        beamformers: complex [K + extra, N].
        noise_watts: at each user.
    """
    heard = np.abs(channels.conj() @ beamformers.T) ** 2
    wanted = heard[:, : heard.shape[1] - extra].diagonal()
    return wanted / (heard.sum(axis=1) - wanted + noise_watts)


def peak(channels: ComplexArray, start: FloatArray, slope: FloatArray, power_watts: float, noise_watts: float) -> Peak:
    """Largest ``s`` for which all users reach ``start + s slope`` bit/s/Hz with the power, and beams that do.

    By duality with the uplink (Schubert and Boche 2004; Wiesel, Eldar and Shamai 2006): SINRs are reachable where
    ``q_k h_k^H S^-1 h_k = Gamma_k / (1 + Gamma_k)``, ``S = I + sum q_j h_j h_j^H``, ``sum q_k = P / sigma^2``. Some
    rounds of the standard fixed point, in which ``s`` moves so that the powers sum up, then Newton's method on both.

    Args:
        channels: complex [K, N].
        start: float [K], bit/s/Hz.
        slope: float [K], not all zero.
        power_watts: P.
        noise_watts: sigma^2.
    """
    gram = channels.conj() @ channels.T
    strongest = float(gram.diagonal().real.max())
    noise_watts = max(noise_watts, power_watts * strongest * _LEAST_NOISE)
    total = power_watts / noise_watts
    ray = _Ray(start, slope, total)
    dual, scale, error = _solve(gram, ray, np.full(len(channels), total / len(channels)), 0.0, _FIXED_POINTS)
    if error > _TOLERANCE:
        dual, scale, error = _solve(gram, ray, *_without_interference(gram, ray), 0)
    efficiency = start + scale * slope
    sinr = np.expm1(np.clip(efficiency, 0, _MOST_BITS) * np.log(2))
    beams = beams_for(channels, dual, sinr, power_watts, noise_watts)
    return Peak(efficiency, beams, scale, bool(error <= _TOLERANCE))


@dataclass(frozen=True, slots=True, eq=False)
class _Ray:
    """Efficiencies ``start + s slope`` and the power over noise that all of them together have."""

    start: FloatArray
    slope: FloatArray
    total: float


def _solve(
    gram: ComplexArray, ray: _Ray, dual: FloatArray, scale: float, fixed_points: int
) -> tuple[FloatArray, float, float]:
    """Fixed-point rounds, then Newton's method where it stays among positive powers; (powers, scale, error)."""
    error = np.inf
    for number in range(_ROUNDS):
        coupled = np.linalg.solve(np.eye(len(gram)) + gram * dual, gram)
        lifted = np.maximum(coupled.diagonal().real, 1e-300)
        error = _error(dual, scale, lifted, ray.start, ray.slope, ray.total)
        if error <= _TOLERANCE:
            break
        moved = None
        if number >= fixed_points:
            moved = _newton(dual, scale, coupled, ray.start, ray.slope, ray.total)
        dual, scale = moved or _fixed_point(ray.start, ray.slope, lifted, ray.total, scale)
    return dual, scale, error


def _without_interference(gram: ComplexArray, ray: _Ray) -> tuple[FloatArray, float]:
    """Where powers would be if receivers nulled each other: near the answer where SINRs are very high."""
    noise = len(gram) / ray.total
    gains = 1 / np.linalg.inv(gram + noise * np.eye(len(gram))).diagonal().real - noise
    gains = np.maximum(gains, 1e-12 * gram.diagonal().real)

    def powers(scale: float) -> FloatArray:
        return np.expm1(np.clip(ray.start + scale * ray.slope, 0, _MOST_BITS) * np.log(2)) / gains

    low, high = -1e4, 1e4
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if powers(middle).sum() >= ray.total else (middle, high)
    return powers(high), high


def _error(
    dual: FloatArray, scale: float, lifted: FloatArray, start: FloatArray, slope: FloatArray, total: float
) -> float:
    missed = np.abs(dual * lifted - _shares(start + scale * slope)).max()
    return float(max(missed, abs(dual.sum() / total - 1)))


def _newton(
    dual: FloatArray, scale: float, coupled: ComplexArray, start: FloatArray, slope: FloatArray, total: float
) -> tuple[FloatArray, float] | None:
    """One step on ``q_k t_k(q) = Gamma_k / (1 + Gamma_k)``, ``sum q = P``; None where it leaves positive powers."""
    users, efficiency = len(dual), start + scale * slope
    lifted = coupled.diagonal().real
    system = np.zeros((users + 1, users + 1))
    system[:users, :users] = np.diag(lifted) - dual[:, None] * np.abs(coupled) ** 2
    system[:users, users] = -np.log(2) * slope * np.where(efficiency > 0, np.exp2(-np.maximum(efficiency, 0)), 0)
    system[users, :users] = 1 / total
    missed = np.append(dual * lifted - _shares(efficiency), dual.sum() / total - 1)
    try:
        step = np.linalg.solve(system, missed)
    except np.linalg.LinAlgError:
        return None
    moved = dual - step[:users]
    return (moved, scale - float(step[users])) if np.isfinite(step).all() and (moved > -1e-15).all() else None


def beams_for(
    channels: ComplexArray, dual: FloatArray, sinr: FloatArray, power_watts: float, noise_watts: float
) -> ComplexArray:
    """Downlink beams of uplink powers ``dual``: directions ``S^-1 h_k``, powers from the K x K system of the SINRs.

    The powers are scaled to the whole power where the system's solution differs by rounding.
    """
    gram = channels.conj() @ channels.T
    weights = np.linalg.inv(np.eye(len(gram)) + (dual[:, None] * gram))
    directions = channels.T @ weights
    directions = directions / np.linalg.norm(directions, axis=0)
    heard = np.abs(channels.conj() @ directions) ** 2
    system = -heard
    active = sinr > 0
    system[np.diag_indices_from(system)] = np.where(active, heard.diagonal() / np.where(active, sinr, 1), 1)
    power = np.where(active, np.linalg.solve(system, np.where(active, noise_watts, 0.0)), 0.0)
    power = np.maximum(power, 0)
    power *= power_watts / power.sum() if power.sum() > 0 else 0
    return (directions * np.sqrt(power)).T


def matched(channels: ComplexArray, power_watts: float) -> ComplexArray:
    """Maximum-ratio beams of equal power, complex [K, N]: needs nothing to converge."""
    return matched_directions(channels) * np.sqrt(power_watts / len(channels))


def matched_directions(channels: ComplexArray) -> ComplexArray:
    """Maximum-ratio beams of unit norm, complex of the channels' shape; zero where a channel is zero."""
    return channels / np.maximum(np.linalg.norm(channels, axis=-1, keepdims=True), 1e-300)


def null_space(vectors: ComplexArray, antennas: int) -> ComplexArray:
    """Projector onto what no ``v^H w`` of the rows hears, complex [N, N]."""
    if not len(vectors):
        return np.eye(antennas, dtype=np.complex128)
    basis, values, _ = np.linalg.svd(vectors.T, full_matrices=False)
    basis = basis[:, values > 1e-10 * values[0]]
    return np.eye(antennas) - basis @ basis.conj().T


def _shares(efficiency: FloatArray) -> FloatArray:
    """``Gamma / (1 + Gamma)`` of ``log2(1 + Gamma)``, never below 0."""
    return -np.expm1(-np.maximum(efficiency, 0) * np.log(2))


def _fixed_point(
    start: FloatArray, slope: FloatArray, lifted: FloatArray, total: float, scale: float
) -> tuple[FloatArray, float]:
    """One round: powers and a scale at which they sum up, with the interference as it is now.

    Where no scale needs the whole power, for interference is overestimated, it is given to all who want to rise.
    """
    most = np.where(slope > 0, 1.0, _shares(start)) / lifted
    if most.sum() <= total * (1 + 1e-12):
        return most * (total / most.sum()), scale
    scale = _scale(start, slope, lifted, total, scale)
    return _shares(start + scale * slope) / lifted, scale


def _scale(start: FloatArray, slope: FloatArray, lifted: FloatArray, total: float, scale: float) -> float:
    """Root ``s`` of ``sum (Gamma / (1 + Gamma))(s) / lifted = total``; the left side grows with ``s`` and is concave.

    Newton's method comes to it from below; where an efficiency is below zero, and the sum has a kink, by bisection.
    """
    with np.errstate(all="ignore"):
        for _ in range(_NEWTONS):
            left = np.exp2(-(start + scale * slope))
            step = float((((1 - left) / lifted).sum() - total) / (np.log(2) * (slope * left / lifted).sum()))
            scale -= step
            if abs(step) <= 1e-12 * max(1.0, abs(scale)) and (start + scale * slope >= 0).all():
                return scale
    return _bisected(start, slope, lifted, total)


def _bisected(start: FloatArray, slope: FloatArray, lifted: FloatArray, total: float) -> float:
    def reached(scale: float) -> bool:
        return bool((_shares(start + scale * slope) / lifted).sum() >= total)

    low, high = -1.0, 1.0
    while not reached(high) and high < 1e6:
        high *= 2
    while reached(low) and low > -1e6:
        low *= 2
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    return (low + high) / 2
