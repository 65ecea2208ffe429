"""A range-Doppler map of a scenario's targets at its start, from OFDM samples."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from ..captures.surface import Surface
from ..physics.channel import noise_power_watts, radar_gain
from ..physics.echo import Reflector, clutter, echo_samples
from ..physics.numerology import Numerology
from ..physics.range_doppler import Processing, range_doppler_map
from ..physics.waveform import random_grid, to_grid
from ..scenario import Cell

#: Symbols of the map, and how much of a bin ground clutter has against noise.
SYMBOLS, CLUTTER_DB = 1024, 10.0
PROCESSING = Processing(windows=("hann", "hann"), padding=(1, 1))


def look(file: Any) -> Surface:
    """Send a frame of QAM symbols, receive its echoes over all antennas, map them.

    Targets and clutter are lit alike: the beams are taken to be swept over the sector within the frame.

    Args:
        file: a scenario file.
    """
    rng, cell = np.random.default_rng(file.seed), file.cell_of()
    scenario = file.scenario()
    numerology = replace(cell.numerology, symbols=SYMBOLS)
    targets = [each.tracked(0.0).target for each in scenario.targets]
    noise = noise_power_watts(numerology.subcarrier_spacing_hz, cell.noise_figure_db)
    reflectors = [
        Reflector.at(each.range_m, -each.velocity_m_per_s, numerology, _amplitude(each, cell, numerology, noise))
        for each in targets
        if each.range_m < 2 * numerology.prefix_range_m
    ]
    power = 10 ** (CLUTTER_DB / 10) / SYMBOLS
    ground = clutter(numerology, rng, power, patches=60, nearest_m=10.0, farthest_m=numerology.prefix_range_m)
    sent = random_grid(numerology, 16, rng)
    received = to_grid(echo_samples(sent, [*reflectors, *ground], numerology, rng, 1.0), numerology)
    mapped = range_doppler_map(received, sent, numerology, PROCESSING)
    shown = min(
        len(mapped.ranges_m),
        math.ceil(1.3 * max([*(each.range_m for each in targets), 50.0]) / numerology.range_resolution_m),
    )
    cut = replace(mapped, values=mapped.values[:shown], ranges_m=mapped.ranges_m[:shown])
    return Surface.of_map(cut, file.name, PROCESSING)


def _amplitude(target: Any, cell: Cell, numerology: Numerology, noise: float) -> float:
    """Of an echo against unit noise on an element, all antennas added up."""
    gain = float(radar_gain(target.range_m, numerology.carrier_hz, target.reflectivity))
    sent = cell.power_watts / numerology.subcarriers
    return math.sqrt(sent * gain * cell.antennas * cell.echo_antennas / noise)
