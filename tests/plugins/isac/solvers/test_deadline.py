"""Paces: a measured one fits its deadline, and what does not fit is answered all the same."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from fairlead_isac.errors import IsacError
from fairlead_isac.solvers import Pace, allocate, illuminate
from tests.plugins.isac.solvers.channels import rayleigh, sinr, steering


def test_iterations_fill_half_a_deadline() -> None:
    pace = Pace(fixed_s=20e-6, iteration_s=2e-6)
    assert pace.iterations(0.5e-3) == 115 and pace.iterations(0.5e-3, share=1.0) == 240
    assert pace.iterations(1e-6) == 1
    with pytest.raises(IsacError, match="deadline_s: must be a finite number above 0, got 0"):
        pace.iterations(0)


@pytest.mark.parametrize("measure", [Pace.of_beams, Pace.of_blocks])
def test_a_pace_is_measured_by_the_clock_it_is_given(measure: object) -> None:
    ticks = itertools.count()
    pace = measure(3, 8, lambda: float(next(ticks)))  # type: ignore[operator]
    assert pace.iteration_s == 1e-9 and pace.fixed_s == 1.0 - 1e-9, "each decision lasts one tick"


def test_a_deadline_that_is_too_short_leaves_feasible_points() -> None:
    pace = Pace(fixed_s=0.0, iteration_s=1e-6)
    h = rayleigh(np.random.default_rng(0), 4, 16)
    beams = illuminate(h, steering(16), [10.0] * 4, 100.0, 1.0, most_iterations=pace.iterations(24e-6))
    assert beams.fallback is not None and (sinr(h, beams.beamformers, 1.0) >= 10 * (1 - 1e-8)).all()
    gains = np.random.default_rng(0).exponential(1.0, (4, 30))
    powers = allocate(gains, np.ones(4), 10.0, 1500.0, most_iterations=pace.iterations(6e-6))
    assert powers.fallback is not None and powers.delay_information >= 1500
