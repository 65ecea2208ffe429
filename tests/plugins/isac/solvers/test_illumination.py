"""Illumination: requirements are met, the gap is certified and true, hard channels get an answer, bad ones an error."""

from __future__ import annotations

import numpy as np
import pytest

from fairlead_isac.errors import IsacError
from fairlead_isac.solvers import Illumination, illuminate
from tests.plugins.isac.solvers.channels import Complex, rayleigh, sinr, steering

POWER = 100.0


def check_feasible(channels: Complex, asked: list[float], found: Illumination, power: float = POWER) -> None:
    assert (sinr(channels, found.beamformers, 1.0) >= np.array(asked) * (1 - 1e-9)).all()
    assert np.trace(found.covariance).real <= power * (1 + 1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_the_optimum_meets_the_optimality_conditions(seed: int) -> None:
    rng = np.random.default_rng(seed)
    h, a, asked = rayleigh(rng, 4, 16), steering(16), [10.0, 5.0, 20.0, 3.0]
    found = illuminate(h, a, asked, POWER, 1.0)
    assert found.fallback is None and found.gap < 1e-7
    check_feasible(h, asked, found)
    assert np.isclose((a.conj() @ found.covariance @ a).real, found.illumination_watts)
    # The dual: M is positive definite, and each user's beam is in the null space of its own slack.
    prices = found.duals
    m = found.power_price * np.eye(16) - np.outer(a, a.conj()) + (h.T * prices) @ h.conj()
    assert np.linalg.eigvalsh(m).min() > 0
    for k in range(4):
        slack = m - prices[k] * (1 + 1 / asked[k]) * np.outer(h[k], h[k].conj())
        assert np.linalg.eigvalsh(slack).min() > -1e-8 * found.power_price
        beam = found.beamformers[k]
        assert np.linalg.norm(slack @ beam) < 1e-5 * found.power_price * np.linalg.norm(beam)
    bound = POWER * found.power_price - prices.sum()  # the noise is 1
    assert np.isclose(bound, found.illumination_watts, rtol=1e-7)


def test_more_power_brings_what_its_price_says() -> None:
    h, a = rayleigh(np.random.default_rng(7), 3, 8), steering(8)
    prices = [illuminate(h, a, [8.0] * 3, POWER + step, 1.0) for step in (-0.01, 0.0, 0.01)]
    slope = (prices[2].illumination_watts - prices[0].illumination_watts) / 0.02
    assert np.isclose(slope, prices[1].power_price, rtol=1e-4)


def test_light_requirements_leave_every_beam_on_the_target() -> None:
    h, a = rayleigh(np.random.default_rng(0), 2, 16), steering(16)
    found = illuminate(h, a, [0.1, 0.1], 1e4, 1.0)
    assert np.isclose(found.illumination_watts, 1e4 * 16) and found.gap < 1e-12
    check_feasible(h, [0.1, 0.1], found, 1e4)


def test_users_without_a_requirement_get_no_beam() -> None:
    h, a = rayleigh(np.random.default_rng(0), 3, 16), steering(16)
    found = illuminate(h, a, [0.0, 5.0, 5.0], POWER, 1.0)
    assert not found.beamformers[0].any()
    assert np.isclose(found.illumination_watts, illuminate(h[1:], a, [5.0, 5.0], POWER, 1.0).illumination_watts)


@pytest.mark.parametrize("users", [0, 2])
def test_nobody_to_serve_is_radar_alone(users: int) -> None:
    a = steering(16)
    found = illuminate(rayleigh(np.random.default_rng(0), users, 16), a, [0.0] * users, POWER, 1.0)
    assert found.fallback is None and found.beamformers.shape == (users, 16)
    assert np.allclose(found.covariance, POWER / 16 * np.outer(a, a.conj()))


def test_infeasible_requirements_get_the_largest_common_share() -> None:
    h, a = rayleigh(np.random.default_rng(2), 4, 16), steering(16)
    asked = [1000.0, 500.0, 1000.0, 2000.0]
    found = illuminate(h, a, asked, POWER, 1.0)
    assert found.fallback is not None and found.fallback.startswith("infeasible: ") and found.gap == np.inf
    shares = sinr(h, found.beamformers, 1.0) / asked
    assert np.allclose(shares, found.reached, rtol=1e-6) and 0 < found.reached < 1
    barely = illuminate(h, a, np.array(asked) * found.reached * 0.999, POWER, 1.0)
    above = illuminate(h, a, np.array(asked) * found.reached * 1.001, POWER, 1.0)
    assert barely.fallback is None and above.fallback is not None


def test_identical_users_share_or_are_refused() -> None:
    h = rayleigh(np.random.default_rng(3), 3, 16)
    h[1] = h[0]
    found = illuminate(h, steering(16), [0.5, 0.5, 2.0], POWER, 1.0)
    assert found.fallback is None and found.gap < 1e-6
    check_feasible(h, [0.5, 0.5, 2.0], found)
    refused = illuminate(h, steering(16), [5.0, 5.0, 2.0], POWER, 1.0)
    assert refused.fallback is not None
    assert 0.19 < refused.reached < 0.2, "two SINR with one channel have a product below one"


def test_more_users_than_antennas() -> None:
    h = rayleigh(np.random.default_rng(4), 6, 3)
    found = illuminate(h, steering(3), [0.25] * 6, 1e3, 1.0)
    assert found.fallback is None and found.gap < 1e-6
    check_feasible(h, [0.25] * 6, found, 1e3)
    assert illuminate(h, steering(3), [5.0] * 6, POWER, 1.0).fallback is not None


def test_a_user_that_hears_nothing_is_named_and_the_others_served() -> None:
    h = rayleigh(np.random.default_rng(5), 3, 16)
    h[1] = 0
    found = illuminate(h, steering(16), [2.0, 2.0, 2.0], POWER, 1.0)
    assert found.fallback is not None and "user 1 has a channel of zeros" in found.fallback
    assert (sinr(h, found.beamformers, 1.0)[[0, 2]] >= 2 - 1e-8).all()


@pytest.mark.parametrize("aligned", [False, True])
def test_a_target_that_users_cannot_hear(aligned: bool) -> None:
    """M is singular at the optimum: the target is orthogonal to all channels, or to all but one along it."""
    a = steering(16)
    h = rayleigh(np.random.default_rng(6), 3, 16)
    h -= np.outer(h @ a.conj(), a) / 16
    if aligned:
        h[2] = a
    found = illuminate(h, a, [5.0] * 3, POWER, 1.0)
    assert found.fallback is None and found.gap < 1e-6
    check_feasible(h, [5.0] * 3, found)


def test_iterations_that_run_out_leave_a_feasible_point() -> None:
    h, a = rayleigh(np.random.default_rng(0), 4, 16), steering(16)
    stopped = illuminate(h, a, [10.0] * 4, POWER, 1.0, most_iterations=12)
    assert stopped.fallback is not None and stopped.fallback.startswith("stopped after ")
    check_feasible(h, [10.0] * 4, stopped)


def test_scale_does_not_matter() -> None:
    h, a = rayleigh(np.random.default_rng(8), 3, 8), steering(8)
    small = illuminate(h * 1e-6, a, [5.0] * 3, 1.0, 1e-14)
    assert np.isclose(small.illumination_watts * POWER, illuminate(h, a, [5.0] * 3, POWER, 1.0).illumination_watts)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"channels": np.full((2, 4), np.nan)}, r"channels\[0, 0\]: is \(?nan.*; accepted: finite numbers"),
        ({"steering": np.ones(3)}, r"steering: must be \[antennas\] = \[4\], got \[3\]"),
        ({"sinr": [1.0, -1.0]}, r"sinr\[1\]: is -1.0; accepted: finite numbers of at least 0"),
        ({"sinr": [1.0]}, r"sinr: must be \[users\] = \[2\], got \[1\]"),
        ({"channels": np.ones(4)}, r"channels: must have 2 dimensions, got the shape \[4\]"),
        ({"power_watts": 0.0}, "power: must be a finite number above 0, got 0.0"),
        ({"noise_watts": np.inf}, "noise: must be a finite number above 0, got inf"),
        ({"most_iterations": 0}, "most_iterations: must be at least 1, got 0"),
    ],
)
def test_bad_arguments_are_named(change: dict[str, object], message: str) -> None:
    good: dict[str, object] = {
        "channels": np.ones((2, 4)),
        "steering": np.ones(4),
        "sinr": [1.0, 1.0],
        "power_watts": 1.0,
        "noise_watts": 1.0,
    }
    with pytest.raises(IsacError, match=message):
        illuminate(**{**good, **change})  # type: ignore[arg-type]
