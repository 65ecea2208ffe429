"""Side lobes over delay and Doppler shift: of grids whose power is not even, and of any waveform."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import IsacError

Float = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class SideLobes:
    """What lies beside the main lobe.

    Attributes:
        pslr_db: peak over the highest side lobe; inf where there is none.
        islr_db: energy of the side lobes over the main lobe's: lower is better.
    """

    pslr_db: float
    islr_db: float


def point_spread(power: ArrayLike, padding: tuple[int, int] = (4, 4)) -> Float:
    """What a point becomes on the map of a matched receiver: ``|sum p_nm exp(j ...)|^2``, 1 at its peak in [0, 0].

    It is the ambiguity function of OFDM within the cyclic prefix (Sturm and Wiesbeck 2011); elements without power
    (a comb of pilots, a band for somebody else) raise side lobes and repeat the peak.

    Args:
        power: of each resource element, [N, M], not negative.
        padding: cells per resolution cell.

    Returns:
        float [N * padding, M * padding] over delay and Doppler shift, both periodic.
    """
    power = np.asarray(power, np.float64)
    if power.ndim != 2 or not (np.isfinite(power) & (power >= 0)).all() or not power.any():
        raise IsacError(f"power of shape {power.shape}; accepted: [subcarriers, symbols], from 0, finite, one above 0")
    shape = power.shape[0] * padding[0], power.shape[1] * padding[1]
    spread = np.fft.fft(np.fft.ifft(power, shape[0], axis=0, norm="forward"), shape[1], axis=1)
    return (spread.real**2 + spread.imag**2) / power.sum() ** 2


def ambiguity_function(samples: ArrayLike, lags: int, padding: int = 1) -> Float:
    """Woodward's ``|sum_k x_k conj(x_(k - lag)) exp(-j 2 pi k f)|^2``, 1 at the origin (Woodward 1953, chapter 7).

    Args:
        samples: x, complex [K].
        lags: from ``-lags`` to ``lags``.
        padding: shifts per 1 / K.

    Returns:
        float [2 lags + 1, K * padding]: delays from the most negative, shifts in cycles a sample ascending, 0 in the
        middle of both.
    """
    samples = np.asarray(samples, np.complex128)
    count = len(samples)
    if not 0 <= lags < count:
        raise IsacError(f"lags = {lags!r}; accepted: 0 to {count - 1}")
    rows = np.zeros((2 * lags + 1, count), np.complex128)
    for row, lag in enumerate(range(-lags, lags + 1)):
        begin, end = max(lag, 0), min(count, count + lag)
        rows[row, begin:end] = samples[begin:end] * samples[begin - lag : end - lag].conj()
    surface = np.abs(np.fft.fft(rows, count * padding, axis=1)) ** 2
    return np.fft.fftshift(surface, axes=1) / np.sum(np.abs(samples) ** 2) ** 2


def side_lobes(surface: ArrayLike) -> SideLobes:
    """Side lobes of a periodic cut [P] or surface [P, Q].

    The main lobe reaches to the first minima of the cuts through the highest point.
    """
    surface = np.asarray(surface, np.float64)
    if surface.ndim not in (1, 2) or not surface.size or not (surface >= 0).all() or not surface.any():
        raise IsacError(f"surface of shape {surface.shape}; accepted: [P] or [P, Q] from 0, one value above 0")
    peak = np.unravel_index(surface.argmax(), surface.shape)
    inside = np.ones(surface.shape, bool)
    for axis in range(surface.ndim):
        cut = np.moveaxis(surface, axis, 0)[
            (slice(None), *(peak[other] for other in range(surface.ndim) if other != axis))
        ]
        lobe = _main_lobe(cut, int(peak[axis]))
        inside &= lobe.reshape([-1 if other == axis else 1 for other in range(surface.ndim)])
    main, rest = surface[inside].sum(), surface[~inside]
    highest = float(rest.max(initial=0))
    pslr = 10 * np.log10(surface.max() / highest) if highest > 0 else np.inf
    return SideLobes(float(pslr), float(10 * np.log10(rest.sum() / main)) if rest.sum() > 0 else -np.inf)


def dirichlet(count: int, places: ArrayLike) -> Float:
    """Closed form of an even grid's cut: ``|sin(pi N x) / (N sin(pi x))|^2``, x in cycles an element; any shape."""
    places = np.asarray(places, np.float64)
    below = np.sin(np.pi * places)
    near = np.abs(below) < 1e-12
    return np.where(near, 1.0, np.sin(np.pi * count * places) / np.where(near, 1.0, count * below)) ** 2


def _main_lobe(cut: Float, peak: int) -> NDArray[np.bool_]:
    """From the peak down to the first minima on both sides, around the end."""
    turned = np.roll(cut, -peak)
    right = _descent(turned)
    left = _descent(np.roll(turned[::-1], 1))
    lobe = np.zeros(len(cut), bool)
    lobe[: right + 1] = True
    lobe[len(cut) - left :] = True
    return np.roll(lobe, peak)


def _descent(cut: Float) -> int:
    """Steps from the first value to the first minimum."""
    rises = np.flatnonzero(np.diff(cut) > 0)
    return int(rises[0]) if len(rises) else len(cut) - 1
