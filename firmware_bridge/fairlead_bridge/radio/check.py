"""Whether a radio hears what stands before it: an OFDM frame out, its echoes in, and where they are; needs numpy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fairlead_bridge.radio.ofdm import Ofdm
from fairlead_bridge.radio.radio import SPEED_OF_LIGHT, Radio, RadioConfiguration, RadioError
from fairlead_bridge.radio.scene import Target

FRAME = Ofdm(size=256, subcarriers=240, symbols=512, prefix=64)
_NEAR = 2


@dataclass(frozen=True, slots=True)
class Heard:
    """The strongest cell of the range-Doppler map, and the strongest near where a target was expected."""

    name: str
    range_m: float
    velocity_m_per_s: float
    above_floor_db: float


def listen(
    radio: Radio, expected: tuple[Target, ...] = (), *, power_watts: float = 1.0, seed: int = 0
) -> tuple[Heard, ...]:
    """Send one frame, and look for the expected targets (or for whatever is strongest) in what comes back.

    Raises:
        RadioLost: the radio did not answer.
        RadioError: it has several antennas.
    """
    configuration = radio.configuration
    if (configuration.transmit_antennas, configuration.receive_antennas) != (1, 1):
        raise RadioError("a radio with several antennas; accepted: one antenna each way")
    sent = FRAME.random_grid(np.random.default_rng(seed), power_watts)
    radio.transmit(FRAME.modulate(sent))
    power = FRAME.range_doppler(FRAME.demodulate(np.asarray(radio.receive(FRAME.samples), np.complex128)), sent)
    floor = float(np.median(power))
    if not expected:
        return (_heard("strongest", power, floor, np.s_[:, :], configuration),)
    range_m, velocity_m_per_s = resolution(configuration)
    found: list[Heard] = []
    for target in expected:
        row = round(target.range_m / range_m)
        column = round(FRAME.symbols / 2 + target.velocity_m_per_s / velocity_m_per_s)
        near = np.s_[max(0, row - _NEAR) : row + _NEAR + 1, max(0, column - _NEAR) : column + _NEAR + 1]
        if row > FRAME.subcarriers or not 0 <= column < FRAME.symbols:
            raise RadioError(f"target {target.name}: outside of the map; accepted: a nearer or slower one")
        found.append(_heard(target.name, power, floor, near, configuration))
    return tuple(found)


def resolution(configuration: RadioConfiguration) -> tuple[float, float]:
    """Metres and metres per second of a cell: ``c / 2B`` and ``lambda / 2T``."""
    bandwidth_hz = configuration.sample_rate_hz * FRAME.subcarriers / FRAME.size
    frame_s = FRAME.samples / configuration.sample_rate_hz
    return SPEED_OF_LIGHT / 2 / bandwidth_hz, configuration.wavelength_m / 2 / frame_s


def _heard(
    name: str, power: np.ndarray, floor: float, near: tuple[slice, slice], configuration: RadioConfiguration
) -> Heard:
    part = power[near]
    row, column = np.unravel_index(int(np.argmax(part)), part.shape)
    range_m, velocity_m_per_s = resolution(configuration)
    return Heard(
        name=name,
        range_m=float((row + (near[0].start or 0)) * range_m),
        velocity_m_per_s=float((column + (near[1].start or 0) - FRAME.symbols / 2) * velocity_m_per_s),
        above_floor_db=float(10 * np.log10(part.max() / floor)) if floor > 0 else float("inf"),
    )
