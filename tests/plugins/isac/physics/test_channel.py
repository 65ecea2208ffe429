"""Channels have the power, the correlation and the spread that they say."""

from __future__ import annotations

import numpy as np
import pytest

from fairlead_isac.errors import IsacError
from fairlead_isac.physics import channel
from fairlead_isac.physics.numerology import Numerology


def test_gains_are_the_textbooks() -> None:
    assert channel.noise_power_watts(1.0) == pytest.approx(10 ** (-173.975 / 10) * 1e-3, rel=1e-3)
    assert channel.noise_power_watts(1e6, 5) / channel.noise_power_watts(1e6) == pytest.approx(10**0.5)
    assert 10 * np.log10(channel.path_gain(1000.0, 1e9)) == pytest.approx(-92.45, abs=0.01)
    assert channel.path_gain(100.0, 1e9, 3.5) == pytest.approx(channel.path_gain(1.0, 1e9) * 100**-3.5)
    equal_ways = channel.path_gain(50.0, 28e9) ** 2 * 4 * np.pi / (channel.SPEED_OF_LIGHT / 28e9) ** 2
    assert channel.radar_gain(50.0, 28e9, 1.0) == pytest.approx(equal_ways)


def test_rayleigh_and_rician_channels_have_unit_power() -> None:
    rng = np.random.default_rng(1)
    assert np.mean(np.abs(channel.rayleigh(400, 50, rng)) ** 2) == pytest.approx(1, abs=0.03)
    drawn = channel.rician(np.full(4000, 0.3), 4, 5.0, rng)
    assert np.mean(np.abs(drawn) ** 2) == pytest.approx(1, abs=0.03)
    direct = channel.line_of_sight(0.3, 4)
    assert np.abs(drawn.mean(axis=0) / direct) == pytest.approx(np.full(4, np.sqrt(5 / 6)), abs=0.02)


def test_j0_is_the_tables() -> None:
    zeros = [2.404825557695773, 5.520078110286311, 30.634606468431976]
    assert channel.bessel_j0(zeros) == pytest.approx([0, 0, 0], abs=1e-12)
    assert channel.bessel_j0([0.0, 1.0, 100.0]) == pytest.approx([1, 0.7651976865579666, 0.01998585030422312])


def test_fading_keeps_its_power_and_its_correlation() -> None:
    rng = np.random.default_rng(2)
    first = channel.rayleigh(200, 100, rng)
    second = channel.evolve(first, 50.0, 2e-3, rng)
    assert np.mean(np.abs(second) ** 2) == pytest.approx(1, abs=0.03)
    assert np.mean(second * first.conj()).real == pytest.approx(channel.correlation(50.0, 2e-3), abs=0.02)


def test_jakes_fading_has_clarkes_correlation() -> None:
    times = np.array([0.0, 1e-3, 4e-3, 7.7e-3])
    drawn = channel.jakes(times, 50.0, 100, 40, np.random.default_rng(3))
    measured = np.mean(drawn * drawn[:1].conj(), axis=(1, 2))
    assert measured == pytest.approx(channel.correlation(50.0, times), abs=0.04)


def test_selective_channels_have_the_delay_spread() -> None:
    delays, powers = channel.exponential_profile(100e-9, 12)
    assert powers.sum() == pytest.approx(1)
    assert np.sqrt(powers @ delays**2 - (powers @ delays) ** 2) == pytest.approx(100e-9)
    grid = Numerology.new_radio(3.5e9, 1, 20)
    drawn = channel.selective(50, 16, grid, 100e-9, np.random.default_rng(4))
    assert drawn.shape == (50, 240, 16)
    assert np.mean(np.abs(drawn) ** 2) == pytest.approx(1, abs=0.05)
    apart = np.mean(drawn[:, 200] * drawn[:, 0].conj())
    expected = (powers * np.exp(-2j * np.pi * 200 * 30e3 * delays)).sum()
    assert apart == pytest.approx(expected, abs=0.08)


def test_a_distance_of_zero_is_refused() -> None:
    with pytest.raises(IsacError, match=r"distance_m = 0.0; accepted: above 0"):
        channel.path_gain([10.0, 0.0], 1e9)
    with pytest.raises(IsacError, match="rcs_m2"):
        channel.radar_gain(10.0, 1e9, np.nan)
