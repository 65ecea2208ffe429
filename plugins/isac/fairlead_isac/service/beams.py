"""What beams of the array do to a point target: gains of sending and of each receiving channel. Pure."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ..physics.arrays import steering

Float = NDArray[np.float64]


@lru_cache(maxsize=4096)
def send_gain(antennas: int, toward_rad: float, angle_rad: float) -> float:
    """Power gain ``|a(angle)^H a(toward)|^2 / N`` of a beam of all antennas; N at its middle."""
    return abs(np.vdot(steering(angle_rad, antennas), steering(toward_rad, antennas))) ** 2 / antennas


def channel_centres(antennas: int, channels: int) -> Float:
    """Phase centres of equal neighbouring parts of the array, [channels] in wavelengths from the array's middle."""
    return (np.arange(channels) - (channels - 1) / 2) * (antennas // channels) / 2


@lru_cache(maxsize=4096)
def folded_angle(antennas: int, channels: int, angle_rad: float) -> float:
    """Angle at which elements half a wavelength apart have the phases that the channels have at ``angle_rad``.

    Channels are ``antennas / channels`` elements apart; phases repeat with the sine, so it is folded into [-1, 1].
    """
    sine = antennas // channels * math.sin(angle_rad)
    return math.asin(max(-1.0, min(1.0, math.remainder(sine, 2.0))))
