"""Maximum-likelihood estimates of delay, Doppler shift and amplitude from a received grid.

The likelihood of one target in white noise is the matched periodogram ``|sum conj(x) y exp(j 2 pi f tau)
exp(-j 2 pi t fD)|^2`` (Rife and Boorstyn 1974; Braun 2014, 3.3): its highest cell starts Newton's method. Several
targets are taken off one after the other and refined in turn (RELAX: Li and Stoica 1996).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import IsacError
from .crb import crb_is_meaningful, delay_variance, doppler_variance
from .echo import Reflector, response
from .numerology import SPEED_OF_LIGHT, Numerology
from .waveform import checked_grid

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]
_STEPS = 40
_CYCLES = 8
_CANDIDATES = 8
_MAY_BE_HIGHEST = 0.25
"""Of the highest cell: a quarter of a resolution cell beside a peak two far blocks lose half, on either axis."""
_NEIGHBOURS = [(up, right) for up in (-1, 0, 1) for right in (-1, 0, 1) if up or right]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A target as estimated.

    Attributes:
        reflector: delay in [0, 1/df), Doppler shift in [-1/(2 Ts), 1/(2 Ts)), amplitude.
        integrated_snr: ``|alpha|^2 sum |x|^2 / sigma^2``, linear.
        delay_variance, doppler_variance: the bounds at that SNR, s^2 and Hz^2.
        range_m, velocity_m_per_s: the same target in space.
    """

    reflector: Reflector
    integrated_snr: float
    delay_variance: float
    doppler_variance: float
    range_m: float
    velocity_m_per_s: float

    @property
    def gated(self) -> bool:
        """Whether the SNR is too low for the bounds to say how good the estimate is."""
        return not crb_is_meaningful(self.integrated_snr)


def estimate(
    received: ArrayLike,
    sent: ArrayLike,
    numerology: Numerology,
    *,
    most: int = 1,
    noise_watts: float | None = None,
    false_alarm: float | None = None,
    padding: int = 2,
) -> list[Estimate]:
    """Targets of a received grid, strongest first.

    Args:
        received, sent: complex [N, M].
        numerology: of the grids.
        most: how many targets are sought at most.
        noise_watts: per resource element; None: estimated from the median of what is left without the targets.
        false_alarm: probability per frame that noise is taken for one more target; None: the ``most`` strongest are
            given, whatever they are.
        padding: of the periodogram that starts the search.

    Raises:
        IsacError: a shape is not the grid's, a value is not finite, or nothing was sent.
    """
    sent, left = checked_grid(sent, numerology, "sent"), checked_grid(received, numerology, "received")
    energy = float(np.sum(np.abs(sent) ** 2))
    if not (energy > 0 and np.isfinite(energy) and np.isfinite(left).all()):
        raise IsacError("sent, received: nothing was sent or a value is not finite; accepted: finite grids with power")
    found: list[Reflector] = []
    while len(found) < most:
        matched = left * sent.conj()
        starts = periodogram_peaks(matched, numerology, padding)
        candidate = max((_fitted(matched, energy, numerology, *start) for start in starts), key=_strength)
        noise = _noise(matched, energy) if noise_watts is None else noise_watts
        power = abs(candidate.amplitude) ** 2 * energy
        if false_alarm is not None and power <= noise * math.log(sent.size / false_alarm):
            break
        found = _relaxed(checked_grid(received, numerology), sent, energy, numerology, [*found, candidate])
        left = np.asarray(received) - sent * response(found, numerology)
    noise = _noise(left * sent.conj(), energy) if noise_watts is None else noise_watts
    found.sort(key=_strength, reverse=True)
    return [_described(each, sent, noise, numerology) for each in found]


def periodogram_peaks(matched: Complex, numerology: Numerology, padding: int = 2) -> list[tuple[float, float]]:
    """Delay in s and Doppler shift in Hz of the highest local maxima of a matched grid's padded periodogram.

    Where power lies in few distant blocks, side lobes are almost as high as the main lobe, which may fall between
    cells: all maxima that could be the highest one are given, the highest first, at most eight.
    """
    count, symbols = (size * padding for size in matched.shape)
    values = np.fft.fft(np.fft.ifft(matched, count, axis=0), symbols, axis=1)
    power = values.real**2 + values.imag**2
    cells = np.argwhere(power >= _MAY_BE_HIGHEST * power.max())
    around = [power[(cells[:, 0] + up) % count, (cells[:, 1] + right) % symbols] for up, right in _NEIGHBOURS]
    level = power[tuple(cells.T)]
    maxima = np.flatnonzero((level >= np.max(around, axis=0)) & (level > 0))
    strongest = cells[maxima[np.argsort(-level[maxima], kind="stable")]][:_CANDIDATES]
    shifts = (strongest[:, 1] + symbols // 2) % symbols - symbols // 2
    delays = strongest[:, 0] / (count * numerology.subcarrier_spacing_hz)
    return list(zip(delays.tolist(), (shifts / (symbols * numerology.symbol_s)).tolist(), strict=True)) or [(0.0, 0.0)]


def refined(
    matched: Complex, numerology: Numerology, delay_s: float, doppler_hz: float
) -> tuple[float, float, complex]:
    """Newton's method on the matched periodogram from a start within half a resolution cell.

    Where the likelihood is not concave or a step does not raise it, a shorter one uphill is taken.

    Returns:
        delay in s, Doppler shift in Hz, and the periodogram's complex value there.
    """
    # In cells of the resolution both curvatures are alike, so that one tolerance fits.
    scale = np.array([1 / numerology.bandwidth_hz, 1 / numerology.frame_s])
    along = 2j * np.pi * numerology.frequencies_hz * scale[0]
    across = -2j * np.pi * (numerology.times_s - numerology.frame_s / 2) * scale[1]
    free = np.array([size > 1 for size in matched.shape])
    place = np.array([delay_s, doppler_hz]) / scale
    value, gradient, curvature = _slopes(matched, along, across, place)
    for _ in range(_STEPS):
        step = _step(gradient, curvature, free)
        while True:
            tried = _slopes(matched, along, across, place + step)
            if abs(tried[0]) >= abs(value) or np.abs(step).max() < 1e-9:
                break
            step = step / 4
        if abs(tried[0]) < abs(value):
            break
        place, (value, gradient, curvature) = place + step, tried
        if np.abs(step).max() < 1e-7:
            break
    delay, doppler = place * scale
    return float(delay), float(doppler), complex(value * np.exp(-1j * np.pi * place[1]))


def _slopes(matched: Complex, along: Complex, across: Complex, place: Float) -> tuple[complex, Float, Float]:
    """Value S, gradient and Hessian of |S|^2 at a place in cells."""
    turned_along, turned_across = np.exp(along * place[0]), np.exp(across * place[1])
    right = np.stack((turned_across, across * turned_across, across**2 * turned_across), axis=1)
    left = np.stack((turned_along, along * turned_along, along**2 * turned_along))
    table = left @ (matched @ right)
    value, first = table[0, 0], np.array([table[1, 0], table[0, 1]])
    second = np.array([[table[2, 0], table[1, 1]], [table[1, 1], table[0, 2]]])
    gradient = 2 * (value.conjugate() * first).real
    return complex(value), gradient, 2 * (np.outer(first.conj(), first) + value.conjugate() * second).real


def _step(gradient: Float, curvature: Float, free: NDArray[np.bool_]) -> Float:
    """Newton's step, with a shifted Hessian where it is not negative definite; at most half a cell."""
    slope = np.where(free, gradient, 0)
    if not slope.any():
        return slope
    (first, mixed), (_, second) = np.where(np.outer(free, free), curvature, -np.eye(2)).tolist()
    half, spread = (first + second) / 2, math.hypot((first - second) / 2, mixed)
    if half + spread >= 0:
        # Levenberg's shift makes it concave: along a ridge the step still follows the ridge.
        shift = half + spread + 0.1 * max(spread, abs(half))
        first, second = first - shift, second - shift
    determinant = first * second - mixed**2
    step = np.array([mixed * slope[1] - second * slope[0], mixed * slope[0] - first * slope[1]]) / determinant
    return step / max(1.0, 2 * np.abs(step).max())


def _fitted(matched: Complex, energy: float, numerology: Numerology, delay: float, doppler: float) -> Reflector:
    delay, doppler, value = refined(matched, numerology, delay, doppler)
    period, rate = 1 / numerology.subcarrier_spacing_hz, 1 / numerology.symbol_s
    turns = math.floor(delay / period)
    # The carrier lies on a subcarrier: a whole period of delay turns no phase, nor does a whole rate of shift.
    return Reflector(delay - turns * period, (doppler + rate / 2) % rate - rate / 2, value / energy)


def _strength(each: Reflector) -> float:
    return abs(each.amplitude)


def _relaxed(
    received: Complex, sent: Complex, energy: float, numerology: Numerology, found: list[Reflector]
) -> list[Reflector]:
    """Refine each target with the others taken off, until nothing moves."""
    if len(found) < 2:
        return found
    power = np.inf
    for _ in range(_CYCLES):
        for index, each in enumerate(found):
            others = found[:index] + found[index + 1 :]
            alone = received - sent * response(others, numerology)
            found[index] = _fitted(alone * sent.conj(), energy, numerology, each.delay_s, each.doppler_hz)
        left = float(np.sum(np.abs(received - sent * response(found, numerology)) ** 2))
        if power - left <= 1e-6 * left:
            break
        power = left
    return found


def _noise(matched: Complex, energy: float) -> float:
    """Noise power per element: the median of the periodogram, which is exponentially distributed."""
    values = np.fft.fft2(matched)
    return float(max(np.median(values.real**2 + values.imag**2) / (math.log(2) * energy), np.finfo(np.float64).tiny))


def _described(each: Reflector, sent: Complex, noise: float, numerology: Numerology) -> Estimate:
    snr = abs(each.amplitude) ** 2 / noise * np.abs(sent) ** 2
    return Estimate(
        each,
        float(snr.sum()),
        delay_variance(snr, numerology),
        doppler_variance(snr, numerology),
        each.delay_s * SPEED_OF_LIGHT / 2,
        each.doppler_hz * numerology.wavelength_m / 2,
    )


def errors(found: Sequence[Estimate], truth: Reflector, numerology: Numerology) -> tuple[float, float]:
    """Errors of delay (s) and Doppler shift (Hz) of the estimate nearest a target, modulo what cannot be told apart."""
    if not found:
        return math.nan, math.nan
    period, rate = 1 / numerology.subcarrier_spacing_hz, 1 / numerology.symbol_s
    pairs = [
        (
            math.remainder(each.reflector.delay_s - truth.delay_s, period),
            math.remainder(each.reflector.doppler_hz - truth.doppler_hz, rate),
        )
        for each in found
    ]
    return min(pairs, key=lambda pair: math.hypot(pair[0] * numerology.bandwidth_hz, pair[1] * numerology.frame_s))
