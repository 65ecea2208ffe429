"""A range-Doppler map of a scenario's targets at its start."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from ..captures.surface import Surface
from ..physics.channel import noise_power_watts, radar_gain
from ..physics.echo import Reflector, clutter, echo
from ..physics.range_doppler import Processing, range_doppler_map
from ..physics.waveform import random_grid
from ..scenario import Cell, Target
from ..simulation.scenario import MovingScenario

#: Slots of the map, of each of which one symbol looks; SNR of all ground clutter on an element; fewest ranges drawn.
SLOTS, CLUTTER_DB, FEWEST = 256, -10.0, 40
PROCESSING = Processing(windows=("hann", "hann"))


def look(scenario: MovingScenario, name: str, rng: np.random.Generator) -> Surface:
    """Send a QAM symbol in each of some slots, receive their echoes over all antennas, and map them.

    Beams are taken to sweep the sector within the frame, so that targets and clutter are lit alike, and no beam gains
    when sending.

    Args:
        scenario: its targets as they are at the start.
        name: for the title.
        rng: draws symbols, clutter and noise.
    """
    cell = scenario.cell
    whole = cell.numerology
    numerology = replace(whole, symbols=SLOTS, cyclic_prefix_s=whole.slot_s - 1 / whole.subcarrier_spacing_hz)
    targets = [each.tracked(0.0).target for each in scenario.targets]
    reflectors = [
        Reflector.at(each.range_m, -each.velocity_m_per_s, numerology, _amplitude(each, cell)) for each in targets
    ]
    farthest = max([50.0, *(each.range_m for each in targets)])
    ground = clutter(numerology, rng, 10 ** (CLUTTER_DB / 10), patches=60, nearest_m=10.0, farthest_m=farthest)
    sent = random_grid(numerology, 16, rng)
    received = echo(sent, [*reflectors, *ground], numerology, rng, 1.0)
    mapped = range_doppler_map(received, sent, numerology, PROCESSING)
    shown = max(FEWEST, math.ceil(1.3 * farthest / numerology.range_resolution_m))
    cut = replace(mapped, values=mapped.values[:shown], ranges_m=mapped.ranges_m[:shown])
    return Surface.of_map(cut, name, PROCESSING)


def _amplitude(target: Target, cell: Cell) -> float:
    """Of an echo against unit noise on an element, all receiving antennas added up."""
    numerology = cell.numerology
    noise = noise_power_watts(numerology.subcarrier_spacing_hz, cell.noise_figure_db)
    gain = float(radar_gain(target.range_m, numerology.carrier_hz, target.reflectivity))
    return math.sqrt(cell.power_watts / numerology.subcarriers * gain * cell.echo_antennas / noise)
