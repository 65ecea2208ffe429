"""What the cell's receiving antennas make of echoes and of users that send, beside its own residual signal."""

from __future__ import annotations

import numpy as np

from fairlead_isac.physics.self_interference import residual_watts
from fairlead_isac.scenario import ComplexArray, FloatArray


def disturbance(
    antennas: int,
    noise_watts: float,
    power_watts: float,
    cancellation_db: float | None,
    residual: ComplexArray | None = None,
) -> ComplexArray:
    """Covariance of noise and residual self-interference, complex [M, M] in W.

    White: ``(sigma^2 + P / SIC) I``. Of rank r: ``sigma^2 I + M (P / SIC) F F^H`` with F [M, r] of unit norm, which has
    the same total power.
    """
    left = 0.0 if cancellation_db is None else residual_watts(power_watts, cancellation_db)
    if residual is None or left == 0:
        return (noise_watts + left) * np.eye(antennas, dtype=np.complex128)
    return noise_watts * np.eye(antennas) + antennas * left * (residual @ residual.conj().T)


def mvdr(covariance: ComplexArray, towards: ComplexArray) -> ComplexArray:
    """Distortionless receiver ``u = C^-1 b / (b^H C^-1 b)``: least output power with ``u^H b = 1`` (Capon 1969).

    Args:
        covariance: C of what disturbs, complex [M, M].
        towards: b, complex [M].
    """
    turned = np.linalg.solve(covariance, towards)
    return turned / (towards.conj() @ turned)


def echo_snr_per_watt(
    towards: ComplexArray,
    noise_watts: float,
    power_watts: float,
    cancellation_db: float | None,
    residual: ComplexArray | None,
    uplink: ComplexArray,
    sent_watts: FloatArray,
) -> FloatArray:
    """SNR of echoes of unit gain behind MVDR receivers, float [T]: ``b^H C^-1 b``.

    Args:
        towards: complex [T, M], steering vectors of the receiving array.
        noise_watts: at one antenna.
        power_watts: of the cell, whose residual disturbs.
        cancellation_db: None: no residual.
        residual: complex [M, r] or None: white.
        uplink: complex [U, M] of users that send at the same time.
        sent_watts: float [U].
    """
    if not len(towards):
        return np.zeros(0)
    covariance = disturbance(towards.shape[1], noise_watts, power_watts, cancellation_db, residual)
    covariance = covariance + (uplink.T * sent_watts) @ uplink.conj()
    turned = np.linalg.solve(covariance, towards.T)
    return np.einsum("tm,mt->t", towards.conj(), turned).real


def uplink_sinr(uplink: ComplexArray, sent_watts: FloatArray, covariance: ComplexArray) -> FloatArray:
    """SINR of users that send, each behind its MVDR receiver, float [U].

    ``p_l h_l^H C_l^-1 h_l`` with ``C_l`` of noise, residual and the other users; by the inversion lemma
    ``q / (1 - q)`` with ``q = p_l h_l^H C^-1 h_l`` and C of everything.

    Args:
        uplink: complex [U, M].
        sent_watts: float [U].
        covariance: complex [M, M] of what disturbs beside the users.
    """
    if not len(uplink):
        return np.zeros(0)
    everything = covariance + (uplink.T * sent_watts) @ uplink.conj()
    shares = sent_watts * np.einsum("um,mu->u", uplink.conj(), np.linalg.solve(everything, uplink.T)).real
    return shares / np.maximum(1 - shares, 1e-15)
