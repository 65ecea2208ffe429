"""Estimators reach the bounds and tell targets apart."""

from __future__ import annotations

import numpy as np
import pytest

from fairlead_isac.errors import IsacError
from fairlead_isac.physics import crb
from fairlead_isac.physics.angle_estimator import estimate_angles, golden_section
from fairlead_isac.physics.channel import gaussian
from fairlead_isac.physics.echo import Reflector, array_echo, echo
from fairlead_isac.physics.estimators import errors, estimate
from fairlead_isac.physics.numerology import Numerology
from fairlead_isac.physics.waveform import random_grid

GRID = Numerology.new_radio(28e9, 3, 4, 14)


@pytest.mark.parametrize("power", ["even", "uneven"])
def test_delay_and_doppler_errors_are_the_bounds(power: str) -> None:
    rng, trials = np.random.default_rng(1), 200
    sent = random_grid(GRID, 4, rng)
    if power == "uneven":
        sent *= np.sqrt(rng.exponential(1, sent.shape[0]) * (np.arange(sent.shape[0]) < 36))[:, None]
    rho = 10**2.7 / np.sum(np.abs(sent) ** 2)
    bound = np.diag(crb.delay_doppler_covariance(rho * np.abs(sent) ** 2, GRID))
    squares = np.zeros(2)
    for _ in range(trials):
        place = rng.uniform(0, 1 / GRID.subcarrier_spacing_hz), rng.uniform(-0.5, 0.5) / GRID.symbol_s
        target = Reflector(*place, np.sqrt(rho) * np.exp(2j * np.pi * rng.uniform()))
        found = estimate(echo(sent, [target], GRID, rng, 1.0), sent, GRID, noise_watts=1.0)
        squares += np.square(errors(found, target, GRID))
    assert squares / trials / bound == pytest.approx(np.ones(2), abs=0.35)  # 3.5 deviations of 200 squares


def test_an_estimate_says_how_good_it_is() -> None:
    rng = np.random.default_rng(2)
    sent = random_grid(GRID, 16, rng)
    target = Reflector.at(55.0, -12.0, GRID, 0.4 - 0.3j)
    found = estimate(echo(sent, [target], GRID, rng, 0.01), sent, GRID)[0]
    assert found.range_m == pytest.approx(55.0, abs=5 * np.sqrt(found.delay_variance) * 1.5e8)
    assert found.velocity_m_per_s == pytest.approx(-12.0, abs=5 * np.sqrt(found.doppler_variance) * 0.0054)
    assert found.reflector.amplitude == pytest.approx(target.amplitude, abs=0.02)
    assert found.integrated_snr == pytest.approx(0.25 / 0.01 * np.sum(np.abs(sent) ** 2), rel=0.15)
    assert not found.gated
    weak = estimate(echo(sent, [target], GRID, rng, 10.0), sent, GRID, noise_watts=10.0)[0]
    assert weak.gated


def test_weak_targets_beside_a_strong_one_are_found_and_no_more() -> None:
    rng = np.random.default_rng(3)
    sent = random_grid(GRID, 16, rng)
    truth = [Reflector.at(30, 20, GRID, 1.0), Reflector.at(62, -20, GRID, 0.2j), Reflector.at(100, 21, GRID, -0.03)]
    found = estimate(echo(sent, truth, GRID, rng, 1e-3), sent, GRID, most=6, false_alarm=1e-3)
    assert len(found) == 3
    for each, target in zip(found, truth, strict=True):
        delay, doppler = errors([each], target, GRID)
        assert delay**2 < 25 * each.delay_variance and doppler**2 < 25 * each.doppler_variance
    nothing = gaussian(sent.shape, rng, 1e-3)
    assert estimate(nothing, sent, GRID, most=3, false_alarm=1e-3) == []


def test_power_in_two_far_blocks_does_not_deceive() -> None:
    rng = np.random.default_rng(6)
    sent = np.zeros((48, 14), complex)
    sent[:6], sent[-6:] = 1, 1
    for _ in range(60):
        place = rng.uniform(0, 1 / GRID.subcarrier_spacing_hz), rng.uniform(-0.5, 0.5) / GRID.symbol_s
        target = Reflector(*place, np.exp(2j * np.pi * rng.uniform()))
        found = estimate(echo(sent, [target], GRID, rng, 1e-3), sent, GRID, noise_watts=1e-3)
        assert abs(errors(found, target, GRID)[0]) < 0.1 / GRID.bandwidth_hz


def test_one_symbol_tells_the_delay_alone() -> None:
    grid = Numerology.new_radio(28e9, 3, 4, 1)
    sent = np.ones((48, 1))
    found = estimate(echo(sent, [Reflector.at(20.0, 0, grid)], grid), sent, grid, noise_watts=1e-9)[0]
    assert found.range_m == pytest.approx(20.0, abs=1e-6)
    assert found.doppler_variance == np.inf


def test_angle_errors_are_the_bound() -> None:
    rng, trials, squares = np.random.default_rng(4), 120, 0.0
    for _ in range(trials):
        sent = gaussian((6, 32), rng, 1 / 6)
        angle, alpha = rng.uniform(-1, 1), np.sqrt(10**2.9 / (32 * 6)) * np.exp(2j * np.pi * rng.uniform())
        found = estimate_angles(array_echo(sent, [angle], [alpha], 6, rng, 1.0), sent)[0]
        bound = crb.angle_variance(sent @ sent.conj().T / 32, angle, abs(alpha) ** 2, 1.0, 32, 6)
        squares += (found.angle_rad - angle) ** 2 / bound
    assert squares / trials == pytest.approx(1, abs=0.45)  # 3.5 deviations of 120 squares


def test_several_angles_are_told_apart() -> None:
    rng = np.random.default_rng(5)
    sent = gaussian((8, 64), rng)
    angles, amplitudes = [0.2, 0.6, -0.4], [1.0, 0.5, 0.2j]
    found = estimate_angles(array_echo(sent, angles, amplitudes, 8, rng, 1e-3), sent, 3)
    assert [each.angle_rad for each in found] == pytest.approx(angles, abs=2e-3)
    assert [each.amplitude for each in found] == pytest.approx(amplitudes, abs=1e-2)


def test_golden_section_finds_the_top() -> None:
    assert golden_section(lambda x: -((x - 0.3) ** 2), -1, 1) == pytest.approx(0.3, abs=1e-8)


def test_bad_snapshots_and_grids_are_refused() -> None:
    with pytest.raises(IsacError, match="one L"):
        estimate_angles(np.ones((2, 3)), np.ones((2, 4)))
    with pytest.raises(IsacError, match="not finite"):
        estimate_angles(np.full((2, 3), np.nan), np.ones((2, 3)))
    with pytest.raises(IsacError, match="nothing was sent"):
        estimate(np.ones((48, 14)), np.zeros((48, 14)), GRID)
    with pytest.raises(IsacError, match="received of shape"):
        estimate(np.ones((48, 13)), np.ones((48, 14)), GRID)
