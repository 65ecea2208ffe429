"""Arrays: vectors, their slopes, patterns."""

from __future__ import annotations

import numpy as np
import pytest

from fairlead_isac.errors import IsacError
from fairlead_isac.physics import arrays

ANGLES = np.deg2rad(np.linspace(-90, 90, 3601))


def test_the_derivative_is_the_slope() -> None:
    at = np.array([-1.1, 0.0, 0.4])
    numeric = (arrays.steering(at + 1e-6, 9, 0.6) - arrays.steering(at - 1e-6, 9, 0.6)) / 2e-6
    assert arrays.steering_derivative(at, 9, 0.6) == pytest.approx(numeric, abs=1e-7)


def test_a_uniform_beam_has_the_textbooks_gain_width_and_side_lobe() -> None:
    a = arrays.steering(0.2, 20)
    pattern = arrays.beampattern(np.outer(a, a.conj()) / 20, ANGLES)
    assert pattern.max() == pytest.approx(20, rel=1e-4)
    assert ANGLES[pattern.argmax()] == pytest.approx(0.2, abs=1e-3)
    half = ANGLES[pattern >= pattern.max() / 2]
    assert np.ptp(half) == pytest.approx(arrays.half_power_width(20, 0.2), rel=0.03)
    nulls = np.arcsin(np.sin(0.2) + np.array([-2, 2]) / 20)
    assert arrays.pslr_db(pattern, ANGLES, nulls) == pytest.approx(13.2, abs=0.1)
    assert -11 < arrays.islr_db(pattern, ANGLES, nulls) < -8


def test_independent_antennas_light_all_alike() -> None:
    assert arrays.beampattern(np.eye(8) / 8, ANGLES) == pytest.approx(np.ones(len(ANGLES)))


def test_several_main_lobes_count_as_one() -> None:
    pattern = np.array([1.0, 10, 1, 2, 8, 1])
    where = np.arange(6.0)
    assert arrays.pslr_db(pattern, where, [[1, 1], [4, 4]]) == pytest.approx(10 * np.log10(5))
    assert arrays.pslr_db(pattern, where, [0, 5]) == np.inf


def test_what_is_no_pattern_is_refused() -> None:
    with pytest.raises(IsacError, match="mainlobe"):
        arrays.pslr_db(np.ones(3), np.arange(3.0), [7, 8])
    with pytest.raises(IsacError, match="shape"):
        arrays.pslr_db(np.ones(3), np.arange(4.0), [0, 1])
    with pytest.raises(IsacError, match="covariance"):
        arrays.beampattern(np.ones((2, 3)), ANGLES)
    with pytest.raises(IsacError, match="antennas = 0"):
        arrays.steering(0.0, 0)
