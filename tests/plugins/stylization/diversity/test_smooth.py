"""Perturbations stay within their bound, are smooth, and say what they add."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead_stylization.diversity.request import Search
from fairlead_stylization.diversity.smooth import bent, lattice_shape, spline_matrix, spread
from fairlead_stylization.errors import BadSetting
from fairlead_stylization.quality.similarity import high_frequency_energy


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 90), st.integers(1, 40), st.integers(0, 2**31))
def test_no_pixel_leaves_the_bound(pixels: int, cell: int, seed: int) -> None:
    weights = spline_matrix(pixels, cell)
    assert (weights >= -1e-7).all()
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-5)
    rng = np.random.default_rng(seed)
    lattice = rng.choice([-0.15, 0.15], (3, *lattice_shape(pixels, 7, cell))).astype(np.float32)
    assert np.abs(spread(lattice, pixels, 7, cell)).max() <= 0.15 + 1e-6


def test_what_would_leave_the_bound_is_bent_back() -> None:
    change = np.linspace(-0.5, 0.5, 401, dtype=np.float32)
    found = bent(change, 0.1)
    assert np.abs(found).max() <= 0.1 and (np.diff(found) >= 0).all() and found[-1] > 0.099
    small = np.abs(change) < 0.01
    np.testing.assert_allclose(found[small], change[small], atol=1e-4)


def test_a_lattice_adds_less_high_frequencies_than_pixels() -> None:
    rng = np.random.default_rng(2)
    noise = rng.choice([-0.1, 0.1], (3, 64, 64)).astype(np.float32)
    smooth = spread(rng.choice([-0.1, 0.1], (3, *lattice_shape(64, 64, 16))).astype(np.float32), 64, 64, 16)
    assert high_frequency_energy(np.moveaxis(smooth, 0, -1)) < 1e-2 * high_frequency_energy(np.moveaxis(noise, 0, -1))


def test_a_cell_of_one_is_each_pixel() -> None:
    np.testing.assert_array_equal(spread(np.eye(5, dtype=np.float32), 5, 5, 1), np.eye(5))


@pytest.mark.parametrize(
    "values", [{"count": 0}, {"bound": 0.0}, {"bound": 1.5}, {"steps": 0}, {"cell": 0}, {"seed": -1}, {"stretch": 0.0}]
)
def test_a_search_refuses_by_name(values: dict[str, float]) -> None:
    with pytest.raises(BadSetting, match=rf"{next(iter(values))} .*accepted"):
        Search(**values)  # type: ignore[arg-type]
