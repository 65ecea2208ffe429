"""Powers of blocks: NumPy and each ISA reach the same value, and both keep to the power and the information."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fairlead_kernels as fk
from fairlead_kernels import radio
from tests.plugins.kernels.cases import each_backend, each_isa, examples


def information(power: radio.Floats, positions: radio.Floats, sensing: radio.Floats) -> float:
    rho = power.sum(0) * sensing
    pairs = rho[:, None] * rho[None] * (positions[:, None] - positions[None]) ** 2
    return float(pairs.sum() / max(2 * rho.sum(), 1e-300))


@each_isa
@examples(25)
@given(
    seed=st.integers(0, 2**32 - 1),
    users=st.integers(1, 5),
    blocks=st.integers(1, 33),
    level=st.floats(-2, 3),
    share=st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.1]),
    special=st.sampled_from(["", "", "identical", "silent", "unweighted", "unsensed"]),
)
def test_native_and_numpy_decide_the_same(
    isa: str, seed: int, users: int, blocks: int, level: float, share: float, special: str
) -> None:
    rng = np.random.default_rng(seed)
    gains, weights = rng.exponential(1.0, (users, blocks)), rng.uniform(0.2, 2, users)
    positions, sensing = np.sort(rng.uniform(-50, 50, blocks)), rng.exponential(1.0, blocks)
    power = 10.0**level
    if special == "identical":
        gains[-1], weights[-1] = gains[0], weights[0]
    if special == "silent":
        gains[:, : blocks // 2] = 0
    if special == "unweighted":
        weights[0] = 0
    if special == "unsensed":
        sensing[: blocks // 2] = 0
    apart = (positions[:, None] - positions[None]) ** 2 * sensing[:, None] * sensing[None]
    most = power * (apart / (np.sqrt(sensing)[:, None] + np.sqrt(sensing)[None] + 1e-100) ** 2).max()
    question = (gains, weights, power, share * most, positions, sensing)
    fk.select("numpy")
    expected = radio.allocate(*question)
    fk.select(isa)
    found = radio.allocate(*question)
    infeasible = share > 1 and most > 0
    assert (found.status == radio.INFEASIBLE) == (expected.status == radio.INFEASIBLE) == infeasible
    if found.status == expected.status:
        assert np.isclose(found.value, expected.value, rtol=2e-4, atol=1e-9) or found.status == radio.STOPPED
    else:
        assert special == "silent", "only what nobody hears may take more iterations than there are"
    assert (found.power >= 0).all() and found.power.sum() <= power * (1 + 1e-9)
    assert np.allclose(found.shares.sum(0), 1)
    assert np.isclose(information(found.power, positions, sensing), found.information, rtol=1e-6, atol=1e-6 * power)
    assert found.information >= min(share, 1) * most * (1 - 1e-9)
    if found.status == radio.SOLVED:
        assert found.bound - found.value <= 1e-4 * found.bound + 1e-9


@each_backend
def test_numbers_that_are_not_accepted(choice: str) -> None:
    fk.select(choice)
    gains, weights = np.ones((2, 9)), np.ones(2)
    for name, array, value in (("gains", gains, np.nan), ("weights", weights, -1.0), ("gains", gains, np.inf)):
        before = array.flat[-1]
        array.flat[-1] = value
        with pytest.raises(radio.RadioError, match=rf"{name}\[.*\]: is {value}; accepted: finite numbers"):
            radio.allocate(gains, weights, 1.0)
        array.flat[-1] = before
    with pytest.raises(radio.RadioError, match=r"positions\[8\]: is inf; accepted: finite numbers"):
        radio.allocate(gains, weights, 1.0, 1.0, [*range(8), np.inf])
    assert radio.allocate(gains, weights, 1.0, positions=-np.arange(9.0)).status == radio.SOLVED


@each_backend
def test_few_iterations_leave_powers_that_keep_the_bound(choice: str) -> None:
    fk.select(choice)
    gains = np.random.default_rng(0).exponential(1.0, (4, 50))
    for most in (1, 3, 6, 150):
        found = radio.allocate(gains, np.ones(4), 10.0, 4000.0, most_iterations=most)
        assert found.information >= 4000 and found.power.sum() <= 10 * (1 + 1e-12)
    assert found.status == radio.SOLVED
