"""Water filling, time split, WMMSE and fractional programming against brute force and their own conditions."""

from __future__ import annotations

import numpy as np
import pytest

from fairlead_isac.errors import IsacError
from fairlead_isac.solvers import control_power, most_efficient, time_split, water_fill, wmmse
from tests.plugins.isac.solvers.channels import rayleigh, sinr


@pytest.mark.parametrize("power", [0.05, 1.0, 50.0])
def test_water_filling_has_one_price(power: float) -> None:
    rng = np.random.default_rng(0)
    gains, weights = rng.exponential(2.0, 12), rng.uniform(0.5, 2, 12)
    gains[3] = 0
    found = water_fill(gains, power, weights)
    assert np.isclose(found.power.sum(), power) and (found.power >= 0).all() and found.power[3] == 0
    slope = weights * gains / (1 + found.power * gains) / np.log(2)
    served = found.power > 0
    assert np.allclose(slope[served], found.price) and (slope[~served] <= found.price * (1 + 1e-9)).all()


def test_water_filling_without_a_channel_that_hears() -> None:
    assert water_fill([0.0, 0.0], 1.0).rate_bits == 0
    with pytest.raises(IsacError, match="gains: must have a channel at least"):
        water_fill([], 1.0)
    with pytest.raises(IsacError, match=r"gains\[1\]: is nan"):
        water_fill([1.0, np.nan], 1.0)


def test_the_time_split_is_the_best_of_a_grid() -> None:
    gain, power, energy, peak = 30.0, 1.0, 0.3, 1.5
    found = time_split(gain, power, energy, (0.1, 0.9), peak)
    best = 0.0
    for share in np.linspace(0.1, 0.9, 801):
        if share * peak >= energy:
            watts = min(peak, (power - energy) / (1 - share))
            best = max(best, (1 - share) * np.log2(1 + gain * watts))
    assert np.isclose(found.rate_bits, best, rtol=1e-3) and found.rate_bits >= best * (1 - 1e-9)
    assert np.isclose(found.sensing_watts * found.sensing_fraction, energy) and found.fallback is None


def test_a_time_split_that_cannot_be_says_what_it_gives() -> None:
    found = time_split(10.0, 1.0, 0.8, (0.0, 0.5))
    assert found.fallback is not None and found.fallback.startswith("infeasible: 0.8 W for sensing, 0.5 W at most")
    assert found.sensing_energy == 0.5 and found.sensing_fraction == 0.5
    with pytest.raises(IsacError, match="fraction: must be 0 <= least <= most <= 1"):
        time_split(10.0, 1.0, 0.1, (0.6, 0.5))


def test_wmmse_of_one_user_is_its_channel() -> None:
    h = rayleigh(np.random.default_rng(0), 1, 8)
    found = wmmse(h, 10.0, 1.0)
    assert np.isclose(found.rate_bits[0], np.log2(1 + 10 * np.linalg.norm(h) ** 2), rtol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_wmmse_reaches_a_stationary_point(seed: int) -> None:
    rng = np.random.default_rng(seed)
    h, weights = rayleigh(rng, 4, 8), rng.uniform(0.5, 2, 4)
    found = wmmse(h, 10.0, 1.0, weights, tolerance=1e-10, most_iterations=2000)
    assert found.fallback is None
    assert np.isclose((np.abs(found.beamformers) ** 2).sum(), 10.0, rtol=1e-6)
    assert np.allclose(np.log2(1 + sinr(h, found.beamformers, 1.0)), found.rate_bits)
    for _ in range(50):
        moved = found.beamformers + 1e-3 * rayleigh(rng, 4, 8)
        moved *= np.linalg.norm(found.beamformers) / np.linalg.norm(moved)
        assert weights @ np.log2(1 + sinr(h, moved, 1.0)) <= found.weighted_rate * (1 + 1e-6)


def test_wmmse_of_hard_channels() -> None:
    h = rayleigh(np.random.default_rng(1), 3, 4)
    h[1] = 0
    assert wmmse(h, 1.0, 1.0).rate_bits[1] == 0
    h[1] = h[0]
    found = wmmse(h, 1e4, 1.0)
    assert np.isfinite(found.rate_bits).all() and found.weighted_rate > 10
    assert wmmse(np.zeros((0, 4)), 1.0, 1.0).beamformers.shape == (0, 4)
    crowd = wmmse(rayleigh(np.random.default_rng(2), 6, 2), 100.0, 1.0)
    assert np.isclose((np.abs(crowd.beamformers) ** 2).sum(), 100.0, rtol=1e-6)
    with pytest.raises(IsacError, match=r"weights: must have the shape \[3\], got \[2\]"):
        wmmse(h, 1.0, 1.0, [1.0, 1.0])


def test_controlled_powers_are_near_the_best_of_a_grid() -> None:
    rng = np.random.default_rng(3)
    steps = np.linspace(0, 1, 41)
    for _ in range(4):
        gains = rng.exponential(0.3, (3, 3)) + np.diag(rng.exponential(2.0, 3))
        found = control_power(gains, [1.0] * 3, 0.1)
        assert found.fallback is None and (found.power <= 1).all()
        grid = np.stack(np.meshgrid(steps, steps, steps), -1).reshape(-1, 3)
        own = grid * gains.diagonal()
        rates = np.log2(1 + own / (grid @ gains.T - own + 0.1)).sum(1)
        assert found.weighted_rate > 0.9 * rates.max()
        all_on = np.log2(1 + gains.diagonal() / (gains.sum(1) - gains.diagonal() + 0.1)).sum()
        assert found.weighted_rate >= all_on * (1 - 1e-9)


def test_the_most_efficient_power_is_the_best_of_a_line() -> None:
    gains = np.array([5.0, 1.0, 0.0])
    found = most_efficient(gains, 10.0, 0.5)
    line = [water_fill(gains, power).rate_bits / (0.5 + power) for power in np.linspace(0.01, 10, 2000)]
    assert np.isclose(found.bits_per_joule, max(line), rtol=1e-5) and found.bits_per_joule >= max(line) * (1 - 1e-9)
