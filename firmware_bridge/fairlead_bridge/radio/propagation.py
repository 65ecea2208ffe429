"""From sent samples to received ones: fractional delays that move, Doppler shifts, arrays, noise; needs numpy.

The complex envelope of an echo is ``a x(t - tau(t)) exp(-j 2 pi f_c tau(t))`` with ``tau(t) = 2 R(t) / c``: the turning
phase is the Doppler shift ``2 v / lambda`` exactly, and the envelope itself moves too (Richards, Fundamentals of Radar
Signal Processing, 2.2). Amplitudes follow the radar equation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from fairlead_bridge.radio.radio import SPEED_OF_LIGHT, RadioConfiguration
from fairlead_bridge.radio.scene import NEAREST_M, Converter, Target

Complex = NDArray[np.complex128]
#: Of the interpolation filter (Kaiser window): its error is below -60 dB up to 0.85 of the Nyquist frequency.
TAPS = 32
_SHAPE = 6.0
_PHASES = 512
#: Samples over which an envelope's delay counts as constant: at 50 m/s it moves by 0.0014 samples meanwhile.
BLOCK = 4096
BOLTZMANN = 1.380649e-23

#: ``history(first, count)``: what was sent in those samples, [antennas, count]; zeros where nothing was.
History = Callable[[int, int], Complex]


def delayed(history: History, first: int, count: int, delay_samples: float) -> Complex:
    """Samples ``first..first + count`` of what was sent, later by any fraction of a sample: [antennas, count]."""
    whole = math.floor(delay_samples)
    taps = interpolation(delay_samples - whole)
    before = TAPS // 2
    source = history(first - whole - before, count + TAPS - 1)
    return np.stack([np.convolve(row, taps, "valid") for row in source])


def echo(
    history: History, first: int, count: int, target: Target, since_s: float, radio: RadioConfiguration
) -> Complex:
    """What one reflector adds to ``count`` samples from ``first`` on: [receive antennas, count].

    ``since_s`` is the age of the scene at sample 0 (negative where it is newer): targets move from its time on. Blocks
    begin at multiples of ``BLOCK``, so that it does not matter in which pieces samples are asked for.
    """
    received = np.empty((radio.receive_antennas, count), np.complex128)
    done = 0
    while done < count:
        start = first + done
        size = min(BLOCK - start % BLOCK, count - done)
        middle_s = (start - start % BLOCK + BLOCK / 2) / radio.sample_rate_hz + since_s
        times_s = (start + np.arange(size)) / radio.sample_rate_hz + since_s
        piece = _block(history, start, target, times_s, middle_s, radio)
        received[:, done : done + size] = piece
        done += size
    return received


def _block(
    history: History,
    start: int,
    target: Target,
    times_s: NDArray[np.float64],
    middle_s: float,
    radio: RadioConfiguration,
) -> Complex:
    """Part of a block; the target stands still in it but for the phase of its way."""
    range_m, angle_rad = target.range_at(middle_s), target.angle_at(middle_s)
    delay_samples = 2 * range_m / SPEED_OF_LIGHT * radio.sample_rate_hz
    sent = delayed(history, start, len(times_s), delay_samples)
    lit = steering(angle_rad, radio.transmit_antennas).conj() @ sent
    ranges_m = np.maximum(NEAREST_M, target.range_m - target.velocity_m_per_s * times_s)
    turned = np.exp(1j * (target.phase_rad - 4 * math.pi / radio.wavelength_m * ranges_m))
    amplitude = radar_amplitude(range_m, target.cross_section_m2, radio.wavelength_m)
    return np.outer(steering(angle_rad, radio.receive_antennas), amplitude * lit * turned)


def still_response(reflectors: Sequence[Target], radio: RadioConfiguration) -> tuple[int, Complex]:
    """All reflectors that do not move as one filter: its first delay in samples, and [receive, transmit, taps]."""
    delays = [2 * item.range_at(0) / SPEED_OF_LIGHT * radio.sample_rate_hz for item in reflectors]
    first = math.floor(min(delays)) - (TAPS // 2 - 1)
    length = math.floor(max(delays)) + TAPS // 2 + 1 - first
    response = np.zeros((radio.receive_antennas, radio.transmit_antennas, length), np.complex128)
    for item, delay in zip(reflectors, delays, strict=True):
        phase = item.phase_rad - 4 * math.pi / radio.wavelength_m * item.range_at(0)
        gain = radar_amplitude(item.range_at(0), item.cross_section_m2, radio.wavelength_m) * np.exp(1j * phase)
        seen, lit = (steering(item.angle_rad, n) for n in (radio.receive_antennas, radio.transmit_antennas))
        start = math.floor(delay) - (TAPS // 2 - 1) - first
        taps = interpolation(delay - math.floor(delay))
        response[:, :, start : start + TAPS] += gain * np.outer(seen, lit.conj())[:, :, None] * taps
    return first, response


def filtered(history: History, first: int, count: int, delay: int, response: Complex) -> Complex:
    """What a filter makes of what was sent: [receive antennas, count], by one transform (the convolution theorem)."""
    length = response.shape[2]
    source = history(first - delay - length + 1, count + length - 1)
    size = 1 << (source.shape[1] + length - 2).bit_length()
    spectrum = np.einsum("rtf,tf->rf", np.fft.fft(response, size), np.fft.fft(source, size))
    return np.fft.ifft(spectrum)[:, length - 1 : length - 1 + count]


def radar_amplitude(range_m: float, cross_section_m2: float, wavelength_m: float) -> float:
    """Square root of received over sent power between isotropic antennas (radar equation)."""
    return wavelength_m * math.sqrt(cross_section_m2 / (4 * math.pi) ** 3) / range_m**2


def steering(angle_rad: float, antennas: int) -> Complex:
    """Phases over a line of antennas half a wavelength apart, from its centre: [antennas]."""
    places = np.arange(antennas) - (antennas - 1) / 2
    return np.exp(1j * math.pi * places * math.sin(angle_rad))


def noise_power_watts(sample_rate_hz: float, noise_figure_db: float, temperature_kelvin: float) -> float:
    """``k T B F``: of each received sample."""
    return BOLTZMANN * temperature_kelvin * sample_rate_hz * 10 ** (noise_figure_db / 10)


def white(shape: tuple[int, ...], rng: np.random.Generator) -> Complex:
    """Circular Gaussian noise of unit power."""
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) * math.sqrt(0.5)


def converted(samples: Complex, converter: Converter) -> Complex:
    """As a converter of so many bits reads it: rounded, and clipped at its full scale."""
    levels = 2.0 ** (converter.bits - 1)
    step = math.sqrt(converter.full_scale_watts) / levels
    real, imaginary = (np.clip(np.round(part / step), -levels, levels - 1) for part in (samples.real, samples.imag))
    return (real + 1j * imaginary) * step


def interpolation(fraction: float) -> NDArray[np.float64]:
    """Taps that delay by ``fraction`` of a sample (0 to 1) behind the filter's own ``TAPS // 2 - 1``."""
    place = fraction * _PHASES
    index = min(int(place), _PHASES - 1)
    rest = place - index
    return (1 - rest) * _table()[index] + rest * _table()[index + 1]


@lru_cache(maxsize=1)
def _table() -> NDArray[np.float64]:
    """A sinc under a Kaiser window for each of ``_PHASES + 1`` fractions; between two a line is exact enough."""
    fractions = np.arange(_PHASES + 1)[:, None] / _PHASES
    places = np.arange(TAPS) - (TAPS // 2 - 1) - fractions
    window = np.i0(_SHAPE * np.sqrt(np.maximum(0.0, 1 - (places / (TAPS / 2)) ** 2)))
    taps = np.sinc(places) * window
    return taps / taps.sum(axis=1, keepdims=True)
