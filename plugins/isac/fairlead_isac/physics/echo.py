"""Echoes of point targets and of clutter, on the grid and as samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import IsacError
from .arrays import steering
from .channel import gaussian
from .numerology import SPEED_OF_LIGHT, Numerology
from .waveform import checked_grid, prefix_samples, sample_rate_hz, sampled_size, to_samples

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Reflector:
    """A point that reflects.

    Attributes:
        delay_s: there and back.
        doppler_hz: positive where it comes nearer.
        amplitude: alpha, complex; the carrier's phase over the way is part of it.
    """

    delay_s: float
    doppler_hz: float = 0.0
    amplitude: complex = 1.0

    @classmethod
    def at(cls, range_m: float, velocity_m_per_s: float, numerology: Numerology, amplitude: complex = 1.0) -> Reflector:
        """Return one at a range, coming nearer at a velocity: ``tau = 2 R / c``, ``fD = 2 v / lambda``."""
        return cls(2 * range_m / SPEED_OF_LIGHT, 2 * velocity_m_per_s / numerology.wavelength_m, amplitude)


def response(reflectors: Sequence[Reflector], numerology: Numerology) -> Complex:
    """What the reflectors do to each resource element: ``sum alpha exp(-j 2 pi f_n tau) exp(j 2 pi m Ts fD)``.

    It holds while delays stay within the cyclic prefix and Doppler shifts far below the subcarrier spacing (Sturm and
    Wiesbeck 2011, eq. 12). :func:`echo_samples` has no such limits.

    Returns:
        complex [N, M].
    """
    delays, dopplers, amplitudes = _columns(reflectors)
    along = np.exp(-2j * np.pi * np.outer(numerology.frequencies_hz, delays)) * amplitudes
    return along @ np.exp(2j * np.pi * np.outer(dopplers, numerology.times_s))


def echo(
    sent: ArrayLike,
    reflectors: Sequence[Reflector],
    numerology: Numerology,
    rng: np.random.Generator | None = None,
    noise_watts: float = 0.0,
) -> Complex:
    """Received grid of a sent one, complex [N, M] each, with white noise of ``noise_watts`` per element."""
    received = checked_grid(sent, numerology, "sent") * response(reflectors, numerology)
    if rng is not None and noise_watts > 0:
        received += gaussian(received.shape, rng, noise_watts)
    return received


def echo_samples(
    sent: ArrayLike,
    reflectors: Sequence[Reflector],
    numerology: Numerology,
    rng: np.random.Generator | None = None,
    noise_watts: float = 0.0,
) -> Complex:
    """Received samples of a sent grid: real delays (any fraction of a sample) and Doppler shifts over each symbol.

    Echoes from beyond the cyclic prefix leak into the next symbol, and fast targets into the neighbouring subcarriers,
    as on air. A delay is split: whole samples shift the frame, the rest turns each subcarrier's phase, which is exact
    for the multicarrier signal (a symbol begins less than one sample early). Phases are those of :func:`response`: a
    Doppler shift turns from the middle of the first symbol on.

    Args:
        sent: complex [N, M].
        reflectors: that reflect it.
        numerology: of the grid.
        rng: draws the noise.
        noise_watts: per sample.

    Returns:
        complex [M * (size + prefix)]; what arrives after the frame's end is not part of it.

    Raises:
        IsacError: a delay is negative or not finite.
    """
    sent, rate = checked_grid(sent, numerology, "sent"), sample_rate_hz(numerology)
    early = next((each.delay_s for each in reflectors if not 0 <= each.delay_s < math.inf), None)
    if early is not None:
        raise IsacError(f"reflector.delay_s = {early!r}; accepted: finite, from 0")
    count = numerology.symbols * (sampled_size(numerology) + prefix_samples(numerology))
    received = np.zeros(count, np.complex128)
    middle = prefix_samples(numerology) + (sampled_size(numerology) - 1) / 2
    times = (np.arange(count) - middle) / rate
    for each in reflectors:
        whole = int(np.floor(each.delay_s * rate + 1e-9))
        turned = np.exp(-2j * np.pi * numerology.frequencies_hz * (each.delay_s - whole / rate))
        arrived = to_samples(sent * turned[:, None], numerology)[: max(count - whole, 0)]
        received[whole:] += each.amplitude * arrived * np.exp(2j * np.pi * each.doppler_hz * times[whole:])
    if rng is not None and noise_watts > 0:
        received += gaussian(received.shape, rng, noise_watts)
    return received


def array_echo(
    sent: ArrayLike,
    angles: ArrayLike,
    amplitudes: ArrayLike,
    receive_antennas: int,
    rng: np.random.Generator | None = None,
    noise_watts: float = 0.0,
    spacing: float = 0.5,
) -> Complex:
    """Snapshots ``Y = sum alpha b(theta) a(theta)^H X + Z`` of a receiving array beside the sending one.

    Args:
        sent: X, complex [antennas, L].
        angles: rad, [targets].
        amplitudes: alpha, complex [targets].
        receive_antennas: elements of b.
        rng: draws the noise.
        noise_watts: per receive antenna and snapshot.
        spacing: of neighbours, in wavelengths.

    Returns:
        complex [receive antennas, L].
    """
    sent = np.asarray(sent, np.complex128)
    angles = np.atleast_1d(np.asarray(angles, np.float64))
    lit = steering(angles, len(sent), spacing).conj() @ sent
    received = (steering(angles, receive_antennas, spacing).T * np.atleast_1d(amplitudes)) @ lit
    if rng is not None and noise_watts > 0:
        received += gaussian(received.shape, rng, noise_watts)
    return received


def clutter(
    numerology: Numerology,
    rng: np.random.Generator,
    power_watts: float,
    patches: int = 200,
    nearest_m: float = 5.0,
    farthest_m: float | None = None,
    velocity_spread_m_per_s: float = 0.0,
    decay: float = 3.0,
) -> list[Reflector]:
    """Ground clutter: patches at ranges drawn alike, Rayleigh amplitudes whose mean power falls as ``R**-decay``.

    ``R**-3`` is the radar equation's fourth power with a patch that widens with its range (Skolnik, 7.2).

    Args:
        numerology: gives the wavelength, and the farthest range: by default that of the cyclic prefix.
        rng: draws ranges, amplitudes and velocities.
        power_watts: of all patches together, on average.
        patches: how many.
        nearest_m: range of the nearest.
        farthest_m: range of the farthest.
        velocity_spread_m_per_s: standard deviation of what wind moves.
        decay: of the mean power over the range.
    """
    far = farthest_m if farthest_m is not None else max(numerology.prefix_range_m, nearest_m)
    ranges = rng.uniform(nearest_m, far, patches)
    powers = ranges**-decay
    amplitudes = gaussian((patches,), rng) * np.sqrt(power_watts * powers / powers.sum())
    velocities = rng.normal(0, velocity_spread_m_per_s, patches)
    return [
        Reflector.at(float(where), float(speed), numerology, complex(amplitude))
        for where, speed, amplitude in zip(ranges, velocities, amplitudes, strict=True)
    ]


def swerling_amplitude(mean_power: float, kind: int, rng: np.random.Generator) -> complex:
    """Draw a target's amplitude for one frame: steady (kind 0) or Rayleigh (kind 1; Swerling 1960), random phase."""
    if kind == 0:
        return complex(np.sqrt(mean_power) * np.exp(2j * np.pi * rng.uniform()))
    return complex(gaussian((1,), rng, mean_power)[0])


def _columns(reflectors: Sequence[Reflector]) -> tuple[Float, Float, Complex]:
    values = [(each.delay_s, each.doppler_hz, each.amplitude) for each in reflectors]
    table = np.array(values, np.complex128).reshape(-1, 3)
    return table[:, 0].real, table[:, 1].real, table[:, 2]
