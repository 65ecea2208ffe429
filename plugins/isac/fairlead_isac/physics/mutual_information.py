"""Information that a receiver gains: about data, and about what reflects."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ..errors import IsacError


def gaussian_bits(channel: ArrayLike, covariance: ArrayLike, noise_watts: float) -> float:
    """``log2 det(I + A Q A^H / sigma^2)`` bits per channel use (Telatar 1999).

    Args:
        channel: A, complex [receive antennas, send antennas].
        covariance: Q of what is sent (or, for sensing, of the reflections behind a known A), complex, in watts.
        noise_watts: sigma^2 per receive antenna.

    Raises:
        IsacError: the noise is not above 0.
    """
    if not noise_watts > 0:
        raise IsacError(f"noise_watts = {noise_watts!r}; accepted: above 0")
    channel = np.asarray(channel, np.complex128)
    inner = channel @ np.asarray(covariance, np.complex128) @ channel.conj().T / noise_watts
    return float(np.linalg.slogdet(np.eye(len(inner)) + inner)[1] / np.log(2))


def sensing_bits(power_watts: ArrayLike, reflection: ArrayLike, noise_watts: float) -> float:
    """Information about an extended target's frequency response, per frame (Bell 1993; Yang and Blum 2007).

    ``sum_n log2(1 + g_n sum_m p_nm / sigma^2)`` for responses that are independent Gaussian per subcarrier and steady
    over the frame.

    Args:
        power_watts: p, [N] (one symbol) or [N, M].
        reflection: g, variance of the response (a power gain), one or [N].
        noise_watts: sigma^2 per resource element.
    """
    gained = np.asarray(reflection, np.float64) * _energy(power_watts) / noise_watts
    return float(np.log1p(gained).sum() / np.log(2))


def sensing_error(power_watts: ArrayLike, reflection: ArrayLike, noise_watts: float) -> float:
    """Sum of the MMSE of the same response, ``sum_n g_n / (1 + g_n sum_m p_nm / sigma^2)`` (Yang and Blum 2007)."""
    reflection = np.broadcast_to(np.asarray(reflection, np.float64), _energy(power_watts).shape)
    return float((reflection / (1 + reflection * _energy(power_watts) / noise_watts)).sum())


def _energy(power_watts: ArrayLike) -> np.ndarray:
    power = np.asarray(power_watts, np.float64)
    if not (np.isfinite(power) & (power >= 0)).all():
        raise IsacError("power_watts: a value is negative or not finite; accepted: finite values from 0")
    return power.sum(axis=1) if power.ndim == 2 else power
