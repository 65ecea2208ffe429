"""Cramér-Rao bounds of delay, Doppler shift and angle, and where they mean something.

The echo of one target on resource element (n, m) is ``sqrt(rho_nm) exp(j(phi - 2 pi f_n tau + 2 pi t_m fD)) + w`` with
unit noise: ``rho_nm`` is the element's SNR, the phase ``phi`` is unknown, too. Bounds are variances of unbiased
estimators (Kay 1993, 15.7; Braun 2014, 3.3 for OFDM radar).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import IsacError
from .arrays import steering, steering_derivative
from .echo import Reflector, response
from .numerology import SPEED_OF_LIGHT, Numerology

Float = NDArray[np.float64]
MEANINGFUL_DB = 25.0
"""Below this integrated SNR an estimator takes side lobes and noise for the peak, and is far off the bound."""


def information(snr: ArrayLike, positions: ArrayLike) -> float:
    """Fisher information ``2 (2 pi)^2 sum rho (x - xbar)^2`` about a phase slope in cycles per unit of ``x``.

    ``xbar`` is the mean weighted by the SNR, since the phase is unknown; the information is concave in ``snr`` (the
    weighted variance of the positions is a minimum of linear functions). A fixed centre overestimates it.

    Args:
        snr: linear, [P], not negative.
        positions: of the measurements, [P] (frequencies in Hz for a delay, times in s for a Doppler shift).
    """
    snr, positions = np.asarray(snr, np.float64), np.asarray(positions, np.float64)
    total = snr.sum()
    if total <= 0:
        return 0.0
    centred = positions - (snr @ positions) / total
    return float(2 * (2 * np.pi) ** 2 * (snr @ centred**2))


def delay_information(snr: ArrayLike, numerology: Numerology) -> float:
    """J of the delay in 1/s^2, its Doppler shift known or uncoupled.

    Args:
        snr: linear per resource element: one for all, [N] per subcarrier (the same in each symbol) or [N, M].
        numerology: of the grid.
    """
    return information(_grid(snr, numerology).sum(axis=1), numerology.frequencies_hz)


def doppler_information(snr: ArrayLike, numerology: Numerology) -> float:
    """J of the Doppler shift in s^2, its delay known or uncoupled; arguments as for :func:`delay_information`."""
    return information(_grid(snr, numerology).sum(axis=0), numerology.times_s)


def delay_variance(snr: ArrayLike, numerology: Numerology) -> float:
    """Bound of the delay's variance in s^2; uniform SNR: ``6 / (rho N M (N^2 - 1) (2 pi df)^2)``; inf where none is."""
    return _inverse(delay_information(snr, numerology))


def doppler_variance(snr: ArrayLike, numerology: Numerology) -> float:
    """Bound of the Doppler shift's variance in Hz^2; uniform SNR: ``6 / (rho N M (M^2 - 1) (2 pi Ts)^2)``."""
    return _inverse(doppler_information(snr, numerology))


def range_variance(snr: ArrayLike, numerology: Numerology) -> float:
    """Bound of the range's variance in m^2 (R = c tau / 2)."""
    return (SPEED_OF_LIGHT / 2) ** 2 * delay_variance(snr, numerology)


def velocity_variance(snr: ArrayLike, numerology: Numerology) -> float:
    """Bound of the radial velocity's variance in m^2/s^2 (v = lambda fD / 2)."""
    return (numerology.wavelength_m / 2) ** 2 * doppler_variance(snr, numerology)


def delay_doppler_covariance(snr: ArrayLike, numerology: Numerology) -> Float:
    """Bound of the covariance of (delay, Doppler shift), both unknown; [2, 2] in s and Hz.

    Equal to the single bounds on the diagonal where the SNR is a product of one over the subcarriers and one over the
    symbols; larger where the measured elements lie askew.

    Raises:
        IsacError: the elements tell too little: all in one symbol, on one subcarrier or on one line.
    """
    weights = _grid(snr, numerology)
    frequencies, times = numerology.frequencies_hz[:, None], numerology.times_s[None, :]
    total = weights.sum()
    if total > 0:
        frequencies = frequencies - (weights * frequencies).sum() / total
        times = times - (weights * times).sum() / total
    cross = -(weights * frequencies * times).sum()
    matrix = np.array([[(weights * frequencies**2).sum(), cross], [cross, (weights * times**2).sum()]])
    if np.linalg.det(matrix) <= 1e-12 * matrix[0, 0] * matrix[1, 1]:
        raise IsacError("snr: no information about delay and Doppler shift together; accepted: elements off one line")
    return np.linalg.inv(matrix) / (2 * (2 * np.pi) ** 2)


def targets_covariance(reflectors: Sequence[Reflector], snr: ArrayLike, numerology: Numerology) -> Float:
    """Bound of the covariance of several targets' (delay, Doppler shift), all amplitudes unknown, too.

    Close targets cost each other accuracy: the diagonal is never below the single targets' bounds.

    Args:
        reflectors: the targets.
        snr: per resource element of a target of amplitude 1, linear: one for all, [N] or [N, M].
        numerology: of the grid.

    Returns:
        [2 targets, 2 targets] in s and Hz: delay and Doppler shift of the first target, then of the next.

    Raises:
        IsacError: targets cannot be told apart.
    """
    amplitudes = np.sqrt(_grid(snr, numerology))
    scale = np.array([1 / numerology.bandwidth_hz, 1 / numerology.frame_s])
    along, across = -2j * np.pi * numerology.frequencies_hz * scale[0], 2j * np.pi * numerology.times_s * scale[1]
    slopes = []
    for each in reflectors:
        plain = amplitudes * response([Reflector(each.delay_s, each.doppler_hz)], numerology)
        turned = each.amplitude * plain
        slopes += [along[:, None] * turned, turned * across, plain, 1j * plain]
    columns = np.stack([slope.ravel() for slope in slopes], axis=1)
    matrix = 2 * (columns.conj().T @ columns).real
    if np.linalg.cond(matrix / np.sqrt(np.outer(matrix.diagonal(), matrix.diagonal()))) > 1e12:
        raise IsacError(f"reflectors: {len(reflectors)} targets that cannot be told apart; accepted: distinct places")
    wanted = np.flatnonzero(np.arange(len(matrix)) % 4 < 2)
    units = np.tile(scale, len(reflectors))
    return np.linalg.inv(matrix)[np.ix_(wanted, wanted)] * np.outer(units, units)


def angle_variance(
    covariance: ArrayLike,
    angle: float,
    reflection: float,
    noise_watts: float,
    snapshots: int,
    receive_antennas: int | None = None,
    spacing: float = 0.5,
) -> float:
    """Bound of the variance of a target's angle in rad^2 (Bekkerman and Tabrikian 2006; Liu et al. 2022, eq. 13).

    Of ``Y = alpha b a^H X + Z``, ``A = b a^H``, ``A' = dA / dtheta``: ``sigma^2 tr(A^H A R) / (2 |alpha|^2 L
    (tr(A'^H A' R) tr(A^H A R) - |tr(A'^H A R)|^2))``; alpha is unknown.

    Args:
        covariance: R of what is sent, complex [antennas, antennas] in watts.
        angle: rad.
        reflection: |alpha|^2, power gain to the target and back.
        noise_watts: sigma^2 per receive antenna.
        snapshots: L.
        receive_antennas: elements of b; None: as many as are sent from.
        spacing: of neighbours, in wavelengths.

    Returns:
        inf where the target is not lit or its angle leaves no trace.
    """
    covariance = np.asarray(covariance, np.complex128)
    send, receive = len(covariance), receive_antennas or len(covariance)
    a, da = steering(angle, send, spacing), steering_derivative(angle, send, spacing)
    b, db = steering(angle, receive, spacing), steering_derivative(angle, receive, spacing)
    lit, turned = covariance @ a, covariance @ da
    power, mixed = (a.conj() @ lit).real, a.conj() @ turned
    plain = receive * power
    cross = np.vdot(db, b) * power + receive * mixed
    slope = np.vdot(db, db).real * power + 2 * (np.vdot(db, b) * mixed.conj()).real
    slope += receive * (da.conj() @ turned).real
    determinant = slope * plain - abs(cross) ** 2
    if determinant <= 1e-12 * max(slope * plain, 0) or reflection <= 0:
        return np.inf
    return float(noise_watts * plain / (2 * reflection * snapshots * determinant))


def integrated_snr(snr: ArrayLike, numerology: Numerology) -> float:
    """Sum of the elements' SNR, linear (``rho N M`` where uniform): the SNR of the peak of a range-Doppler map."""
    return float(_grid(snr, numerology).sum())


def crb_is_meaningful(integrated: float, threshold_db: float = MEANINGFUL_DB) -> bool:
    """Whether estimators reach the bounds: the integrated SNR (linear) is out of the threshold region."""
    return bool(integrated >= 10 ** (threshold_db / 10))


def _grid(snr: ArrayLike, numerology: Numerology) -> Float:
    """SNR of each element, [N, M] (a view)."""
    snr = np.asarray(snr, np.float64)
    if snr.ndim == 1:
        snr = snr[:, None]
    shape = (numerology.subcarriers, numerology.symbols)
    if not (np.isfinite(snr) & (snr >= 0)).all():
        raise IsacError("snr: a value is negative or not finite; accepted: finite values from 0 (linear)")
    try:
        return np.broadcast_to(snr, shape)
    except ValueError:
        raise IsacError(f"snr of shape {snr.shape}; accepted: one value, [{shape[0]}] or {list(shape)}") from None


def _inverse(value: float) -> float:
    return 1 / value if value > 0 else np.inf
