"""Allocation: powers meet the bound on the delay, the gap is certified, tied users share, hard cases get an answer."""

from __future__ import annotations

import numpy as np
import pytest

from fairlead_isac.errors import IsacError
from fairlead_isac.solvers import allocate, proportional_fair_weights
from tests.plugins.isac.solvers.channels import Floats, information

BLOCKS, USERS = 40, 5
POSITIONS = np.arange(BLOCKS) - 7.0
POWER = 20.0
MOST = POWER * (BLOCKS - 1) ** 2 / 4
"""The information of all power at both ends."""


def gains(seed: int, users: int = USERS, blocks: int = BLOCKS) -> Floats:
    rng = np.random.default_rng(seed)
    return rng.exponential(1.0, (users, blocks)) * 10 ** rng.uniform(-1, 2, (users, 1))


@pytest.mark.parametrize("share", [0.0, 0.5, 0.95])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_optimum_meets_the_optimality_conditions(seed: int, share: float) -> None:
    g, weights = gains(seed), np.linspace(0.5, 2, USERS)
    found = allocate(g, weights, POWER, share * MOST, POSITIONS)
    assert found.fallback is None and found.gap < 1e-7
    power = found.power_of_block
    assert np.isclose(power.sum(), POWER) and (found.power >= 0).all()
    assert np.isclose(found.delay_information, information(power, POSITIONS, np.ones(BLOCKS)))
    assert found.delay_information >= share * MOST
    # Water filling at the price that the distance from the power's own centre leaves.
    lam, nu = found.duals
    assert nu >= 0 and (share > 0 or nu == 0)
    price = lam - nu * (POSITIONS - found.centre) ** 2
    mine = g[found.user_of_block, np.arange(BLOCKS)]
    level = weights[found.user_of_block] / (np.log(2) * price)
    assert np.allclose(power, np.maximum(level - 1 / mine, 0), atol=1e-6 * POWER)


def test_what_information_costs_is_its_price() -> None:
    g, weights = gains(3), np.ones(USERS)
    rates = [weights @ allocate(g, weights, POWER, 0.8 * MOST + step, POSITIONS).rate_bits for step in (-0.5, 0.5)]
    middle = allocate(g, weights, POWER, 0.8 * MOST, POSITIONS)
    assert np.isclose(rates[0] - rates[1], middle.duals[1], rtol=1e-3)


def test_the_centre_follows_the_power() -> None:
    """One end of the band fades for users and sensing: an information around the middle would overestimate."""
    g = gains(1)
    g[:, : BLOCKS // 2] *= 1e-3
    sensing = np.linspace(0.2, 1, BLOCKS)
    found = allocate(g, np.ones(USERS), POWER, 0.2 * MOST, POSITIONS, sensing)
    assert found.fallback is None and found.gap < 1e-7
    assert found.delay_information >= 0.2 * MOST
    assert np.isclose(found.delay_information, information(found.power_of_block, POSITIONS, sensing))
    assert found.centre > POSITIONS.mean() + 1


def test_tied_users_share_a_block() -> None:
    """Two users, two blocks and a power between the two whole assignments: only shared time is optimal."""
    g, weights = np.array([[30.0, 30.0], [1.0, 1.0]]), np.array([1.0, 1.8])
    values = [allocate(g, weights, power) for power in np.linspace(20, 400, 12)]
    assert all(found.fallback is None and found.gap < 1e-6 for found in values)
    assert any(found.shared_blocks for found in values)
    for found in values:
        assert np.allclose(found.shares.sum(0), 1)
        rates = (found.shares * np.log2(1 + found.power * g / np.maximum(found.shares, 1e-300))).sum(1)
        assert np.allclose(rates, found.rate_bits)


def test_identical_users_lose_nothing() -> None:
    g = gains(5)
    g[1] = g[0]
    found = allocate(g, np.ones(USERS), POWER, 0.6 * MOST, POSITIONS)
    alone = allocate(np.delete(g, 1, 0), np.ones(USERS - 1), POWER, 0.6 * MOST, POSITIONS)
    assert found.gap < 1e-6 and np.isclose(found.rate_bits.sum(), alone.rate_bits.sum())


def test_blocks_that_nobody_hears_carry_what_sensing_needs() -> None:
    g = gains(6)
    g[:, :3] = g[:, -3:] = 0
    found = allocate(g, np.ones(USERS), POWER, 0.9 * MOST, POSITIONS)
    assert found.fallback is None and found.gap < 1e-4 and found.delay_information >= 0.9 * MOST
    silent = allocate(np.zeros((2, BLOCKS)), np.ones(2), POWER, 0.5 * MOST, POSITIONS)
    assert silent.delay_information >= 0.5 * MOST and not silent.rate_bits.any()


def test_information_out_of_reach_gets_the_most_there_is() -> None:
    found = allocate(gains(0), np.ones(USERS), POWER, 1.01 * MOST, POSITIONS)
    assert found.fallback is not None and found.fallback.startswith("infeasible: delay_information ")
    assert np.isclose(found.delay_information, MOST) and found.gap == np.inf
    assert np.isclose(found.power.sum(), POWER)
    edge = allocate(gains(0), np.ones(USERS), POWER, 0.999 * MOST, POSITIONS)
    assert edge.fallback is None and edge.gap < 1e-6


def test_the_most_information_of_uneven_sensing() -> None:
    sensing = np.random.default_rng(0).exponential(1.0, BLOCKS)
    found = allocate(gains(0), np.ones(USERS), POWER, 1e9, POSITIONS, sensing)
    pairs = [(i, j) for i in range(BLOCKS) for j in range(i)]
    best = max(
        POWER * sensing[i] * sensing[j] * (i - j) ** 2 / (np.sqrt(sensing[i]) + np.sqrt(sensing[j])) ** 2
        for i, j in pairs
    )
    assert np.isclose(found.delay_information, best)


def test_without_users_the_power_senses() -> None:
    found = allocate(np.zeros((0, BLOCKS)), [], POWER, 1.0, POSITIONS)
    assert found.fallback is not None and found.fallback.startswith("no users")
    assert np.isclose(found.delay_information, MOST) and (found.user_of_block == -1).all()


def test_iterations_that_run_out_leave_a_point_that_keeps_the_bound() -> None:
    found = allocate(gains(0), np.ones(USERS), POWER, 0.9 * MOST, POSITIONS, most_iterations=4)
    assert found.fallback is not None and found.fallback.startswith("stopped after 4 ")
    assert found.delay_information >= 0.9 * MOST and found.power.sum() <= POWER * (1 + 1e-12)


def test_proportional_fair_weights() -> None:
    assert np.allclose(proportional_fair_weights([1.0, 2.0]), [4 / 3, 2 / 3])
    assert np.allclose(proportional_fair_weights([0.0, 0.0]), 1)
    rates = np.full(3, 1e-3)
    for slot in range(200):
        served = allocate(gains(slot, 3, 8), proportional_fair_weights(rates), POWER).rate_bits
        rates += (served - rates) / 50
    assert rates.min() > 0.2 * rates.max(), "a user with a weak channel is served, too"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gains": [[1.0, np.nan]]}, r"gains\[0, 1\]: is nan; accepted: finite numbers of at least 0"),
        ({"gains": np.ones((1, 0))}, "gains: must have a user and a block at least"),
        ({"weights": [1.0, 2.0]}, r"weights: must be \[users\] = \[1\], got \[2\]"),
        ({"weights": [-1.0]}, r"weights\[0\]: is -1.0"),
        ({"positions": [1.0]}, r"positions: must be \[blocks\] = \[2\], got \[1\]"),
        ({"power_watts": -1.0}, "power: must be a finite number above 0, got -1.0"),
        ({"delay_information": -2.0}, r"information\[0\]: is -2.0"),
    ],
)
def test_bad_arguments_are_named(change: dict[str, object], message: str) -> None:
    good: dict[str, object] = {"gains": [[1.0, 2.0]], "weights": [1.0], "power_watts": 1.0}
    with pytest.raises(IsacError, match=message):
        allocate(**{**good, **change})  # type: ignore[arg-type]
