"""What is left of a full-duplex station's own signal at its receiver, after passive and active cancellation.

Two models, whose consequences differ, so that results must say which one holds:

- *white*: ``P / SIC`` per receive antenna, alike in all directions (the canceller's own noise, phase noise and
  non-linear remains; Sabharwal et al. 2014, section IV). No receive beam avoids it.
- *rank r*: a linear channel of low rank that is not cancelled (few paths off near reflectors). A linear MMSE receiver
  with more antennas than r nulls it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import IsacError
from .channel import gaussian

Complex = NDArray[np.complex128]


def residual_watts(power_watts: float, cancellation_db: float) -> float:
    """``P / SIC`` per receive antenna."""
    return power_watts / 10 ** (cancellation_db / 10)


def white_covariance(receive_antennas: int, power_watts: float, cancellation_db: float) -> Complex:
    """Covariance of the white residual: ``P / SIC`` times the identity; complex [antennas, antennas]."""
    return residual_watts(power_watts, cancellation_db) * np.eye(receive_antennas, dtype=np.complex128)


def white_residual(
    shape: tuple[int, ...], power_watts: float, cancellation_db: float, rng: np.random.Generator
) -> Complex:
    """Draw the white residual; complex of ``shape``, ``P / SIC`` each."""
    return gaussian(shape, rng, residual_watts(power_watts, cancellation_db))


def low_rank_channel(
    receive_antennas: int, send_antennas: int, rank: int, cancellation_db: float, rng: np.random.Generator
) -> Complex:
    """Draw a residual channel of rank r with paths of Rayleigh weights and random directions.

    It is scaled to the white model's power: what is sent alike from all antennas with P in all arrives with ``P / SIC``
    per receive antenna on average over the antennas.

    Returns:
        complex [receive antennas, send antennas].

    Raises:
        IsacError: the rank is not between 1 and the lesser number of antennas.
    """
    most = min(receive_antennas, send_antennas)
    if not 1 <= rank <= most:
        raise IsacError(f"rank = {rank!r}; accepted: 1 to {most} for {receive_antennas} x {send_antennas} antennas")
    left, right = gaussian((receive_antennas, rank), rng), gaussian((rank, send_antennas), rng)
    channel = left @ right
    wanted = receive_antennas * send_antennas / 10 ** (cancellation_db / 10)
    return channel * np.sqrt(wanted / np.sum(np.abs(channel) ** 2))


def residual_covariance(channel: ArrayLike, sent: ArrayLike) -> Complex:
    """Covariance ``H Q H^H`` behind a residual channel.

    Args:
        channel: H, complex [receive antennas, send antennas].
        sent: Q, complex [send antennas, send antennas] in watts.
    """
    channel = np.asarray(channel, np.complex128)
    return channel @ np.asarray(sent, np.complex128) @ channel.conj().T


def mmse_sinr(wanted: ArrayLike, power_watts: float, disturbance: ArrayLike) -> float:
    """SINR behind the linear MMSE (equally MVDR) receiver: ``p h^H B^-1 h`` (Van Trees 2002, 6.2).

    Args:
        wanted: h, complex [receive antennas].
        power_watts: p of the wanted signal.
        disturbance: B of interference and noise, complex [receive antennas, receive antennas], positive definite.
    """
    wanted = np.asarray(wanted, np.complex128)
    return float(power_watts * np.vdot(wanted, np.linalg.solve(np.asarray(disturbance), wanted)).real)
