"""Channels from a base station's array to its users, and gains over distance."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import IsacError
from .arrays import steering
from .numerology import SPEED_OF_LIGHT, Numerology

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]
BOLTZMANN = 1.380649e-23
"""J/K."""
ROOM_TEMPERATURE = 290.0
"""K, to which noise figures refer (IEEE)."""


def noise_power_watts(bandwidth_hz: float, noise_figure_db: float = 0.0) -> float:
    """Thermal noise ``k T B F`` at 290 K."""
    return BOLTZMANN * ROOM_TEMPERATURE * bandwidth_hz * 10 ** (noise_figure_db / 10)


def path_gain(distance_m: ArrayLike, carrier_hz: float, exponent: float = 2.0) -> Float:
    """Power gain of a path: Friis at 1 m, then ``d**-exponent`` (close-in model, Rappaport; 3GPP TR 38.901 7.4.1).

    Raises:
        IsacError: a distance is not above 0.
    """
    distance = _positive("distance_m", distance_m)
    return (SPEED_OF_LIGHT / (4 * np.pi * carrier_hz)) ** 2 * distance**-exponent


def radar_gain(range_m: ArrayLike, carrier_hz: float, rcs_m2: ArrayLike) -> Float:
    """Power gain to a point target and back, isotropic antennas: ``lambda^2 rcs / ((4 pi)^3 R^4)`` (Skolnik, 1.1).

    Raises:
        IsacError: a range or a radar cross section is not above 0.
    """
    wavelength = SPEED_OF_LIGHT / carrier_hz
    return wavelength**2 * _positive("rcs_m2", rcs_m2) / ((4 * np.pi) ** 3 * _positive("range_m", range_m) ** 4)


def gaussian(shape: tuple[int, ...], rng: np.random.Generator, power: float = 1.0) -> Complex:
    """Circular complex Gaussian values of ``power`` each."""
    pairs = rng.standard_normal((*shape, 2))
    pairs *= np.sqrt(power / 2)
    return pairs.view(np.complex128)[..., 0]


def rayleigh(users: int, antennas: int, rng: np.random.Generator) -> Complex:
    """Independent channels of unit power per antenna; complex [users, antennas]."""
    return gaussian((users, antennas), rng)


def line_of_sight(angles: ArrayLike, antennas: int, gain: ArrayLike = 1.0, spacing: float = 0.5) -> Complex:
    """Plane waves: ``sqrt(gain) a(theta)``; angles [users] in rad, power gains [users]; complex [users, antennas]."""
    return np.sqrt(np.asarray(gain, np.float64))[..., None] * steering(angles, antennas, spacing)


def rician(angles: ArrayLike, antennas: int, factor: float, rng: np.random.Generator, spacing: float = 0.5) -> Complex:
    """Line of sight and scatter, ``factor`` (K) the ratio of their powers; unit power; complex [users, antennas]."""
    direct = line_of_sight(angles, antennas, 1.0, spacing)
    return np.sqrt(factor / (1 + factor)) * direct + gaussian(direct.shape, rng, 1 / (1 + factor))


def bessel_j0(argument: ArrayLike) -> Float:
    """J0 by the trapezoidal rule on ``(1/pi) int_0^pi cos(x sin t) dt``, which converges geometrically; any shape."""
    argument = np.abs(np.asarray(argument, np.float64))
    points = 32 + int(np.ceil(argument.max(initial=0)))
    phases = np.sin((np.arange(points) + 0.5) * np.pi / points)
    return np.cos(argument[..., None] * phases).mean(axis=-1)


def correlation(doppler_hz: float, lag_s: ArrayLike) -> Float:
    """Clarke's autocorrelation of fading ``J0(2 pi fD lag)`` (Clarke 1968; Jakes 1974)."""
    return bessel_j0(2 * np.pi * doppler_hz * np.asarray(lag_s, np.float64))


def evolve(
    channels: Complex, doppler_hz: float, step_s: float, rng: np.random.Generator, power: float = 1.0
) -> Complex:
    """Fading one step on, a first-order autoregression that keeps the power: ``r h + sqrt(1 - r^2) w``.

    ``r`` is Clarke's correlation over the step. Steps should be short against 1 / fD: one step's correlation is exact,
    that over several steps decays geometrically.

    Args:
        channels: complex, any shape.
        doppler_hz: greatest Doppler shift, v / lambda.
        step_s: of time.
        rng: draws the innovation.
        power: of each channel.
    """
    kept = float(correlation(doppler_hz, step_s))
    return kept * channels + np.sqrt(max(1 - kept**2, 0.0)) * gaussian(channels.shape, rng, power)


def jakes(times_s: ArrayLike, doppler_hz: float, users: int, antennas: int, rng: np.random.Generator) -> Complex:
    """Fading over time with Clarke's spectrum: a sum of 32 waves from random directions (Pop and Beaulieu 2001).

    Returns:
        complex [times, users, antennas] of unit power.
    """
    waves = 32
    shape = (users, antennas, waves)
    turned = (2 * np.pi * np.arange(waves) + rng.uniform(-np.pi, np.pi, (users, antennas, 1))) / waves
    rate = 2 * np.pi * doppler_hz * np.cos(turned)
    start = np.exp(1j * rng.uniform(-np.pi, np.pi, shape)) / np.sqrt(waves)
    times = np.asarray(times_s, np.float64)
    return np.stack([(start * np.exp(1j * rate * time)).sum(axis=-1) for time in times])


def exponential_profile(delay_spread_s: float, taps: int) -> tuple[Float, Float]:
    """Delays [taps] in s and powers [taps] (sum 1), whose r.m.s. delay spread is the one that is asked for."""
    if taps < 1 or delay_spread_s < 0:
        raise IsacError(f"taps = {taps!r}, delay_spread_s = {delay_spread_s!r}; accepted: at least 1, from 0")
    steps = np.arange(taps) * (4.0 / max(taps - 1, 1))
    powers = np.exp(-steps)
    powers /= powers.sum()
    spread = np.sqrt(powers @ steps**2 - (powers @ steps) ** 2)
    return (steps * (delay_spread_s / spread) if spread > 0 else steps), powers


def selective(
    users: int, antennas: int, numerology: Numerology, delay_spread_s: float, rng: np.random.Generator, taps: int = 12
) -> Complex:
    """Frequency-selective Rayleigh channels with an exponential power-delay profile.

    Returns:
        complex [users, subcarriers, antennas], unit power on average.
    """
    delays, powers = exponential_profile(delay_spread_s, taps)
    drawn = gaussian((users, taps, antennas), rng) * np.sqrt(powers)[:, None]
    return frequency_response(drawn, delays, numerology.frequencies_hz)


def frequency_response(taps: Complex, delays_s: ArrayLike, frequencies_hz: ArrayLike) -> Complex:
    """Channels over frequency ``sum_l h_l exp(-j 2 pi f tau_l)``.

    Args:
        taps: complex [users, taps, antennas].
        delays_s: [taps].
        frequencies_hz: [subcarriers].

    Returns:
        complex [users, subcarriers, antennas].
    """
    phases = np.exp(-2j * np.pi * np.outer(np.asarray(frequencies_hz), np.asarray(delays_s)))
    return np.einsum("sl,ula->usa", phases, taps, optimize=True)


def _positive(name: str, value: ArrayLike) -> Float:
    checked = np.asarray(value, np.float64)
    if not (checked > 0).all():
        raise IsacError(f"{name} = {checked[~(checked > 0)].flat[0]}; accepted: above 0")
    return checked
