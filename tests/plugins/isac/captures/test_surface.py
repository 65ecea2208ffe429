"""Computed maps are searched as recorded ones are."""

from __future__ import annotations

import numpy as np
import pytest

from fairlead_isac.captures.detections import detections
from fairlead_isac.captures.surface import Surface
from fairlead_isac.physics.echo import Reflector, clutter, echo
from fairlead_isac.physics.numerology import Numerology
from fairlead_isac.physics.range_doppler import Processing, range_doppler_map
from fairlead_isac.physics.self_interference import white_residual
from fairlead_isac.physics.waveform import random_grid


def test_targets_in_clutter_and_self_interference_are_found() -> None:
    grid, rng = Numerology.new_radio(28e9, 3, 16, 112), np.random.default_rng(1)
    sent, noise = random_grid(grid, 4, rng), 1e-3
    targets = [Reflector.at(45, 25, grid, 0.05), Reflector.at(80, -20, grid, 0.04j)]
    received = echo(sent, [*targets, *clutter(grid, rng, 1.0, 100, 5, 150)], grid, rng, noise)
    received += white_residual(sent.shape, 1.0, 30.0, rng)
    processing = Processing(("hamming", "hamming"), (2, 2))
    surface = Surface.of_map(range_doppler_map(received, sent, grid, processing), "made", processing, 2 * noise)
    assert np.median(surface.power_db[:, :40]) == pytest.approx(10 * np.log10(np.log(2)), abs=0.5)
    moving = [each for each in detections(surface) if each.moving]
    assert len(moving) == 2
    assert sorted((round(each.row), round(each.column)) for each in moving) == [(45, 25), (80, -20)]
