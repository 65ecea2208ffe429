"""Native splatting and its reference agree; weights sum to 1; what is hidden, away or no number is not shown."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_kernels import reference_splatting
from fairlead_kernels.backend import extension
from fairlead_kernels.splatting import add_shares, splat
from tests.plugins.kernels.cases import examples


def discs(count: int, seed: int, size: tuple[int, int]) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    at = rng.uniform(-4, max(size) + 4, (count, 2)).astype(np.float32)
    depth = rng.uniform(-0.2, 3, count).astype(np.float32)
    radius = rng.uniform(0, 4, count).astype(np.float32)
    return at, depth, radius, rng.uniform(1, 1.3, count).astype(np.float32)


def dense(found: tuple[np.ndarray, ...], count: int, size: tuple[int, int]) -> np.ndarray:
    weights = np.zeros((size[0] * size[1], count))
    np.add.at(weights, (found[0], found[1]), found[2])
    return weights


@pytest.mark.skipif(extension() is None, reason="the kernels are not compiled: native splatting is not tested")
@examples(25, seeded=False)
@given(st.integers(0, 60), st.integers(1, 20), st.integers(1, 20), st.integers(0, 2**31))
def test_native_is_the_reference(count: int, width: int, height: int, seed: int) -> None:
    given_discs = discs(count, seed, (width, height))
    found = splat(*given_discs, (width, height))
    shown = np.empty((height, width), np.float32)
    expected = reference_splatting.splat(*given_discs, shown)
    np.testing.assert_allclose(found[3], shown, rtol=1e-5)
    np.testing.assert_allclose(dense(found, count, (width, height)), dense(expected, count, (width, height)), atol=1e-5)


def test_weights_of_a_pixel_sum_to_one() -> None:
    found = splat(*discs(200, 3, (16, 12)), (16, 12))
    total = np.bincount(found[0], found[2], minlength=192)
    np.testing.assert_allclose(total[np.isfinite(found[3]).ravel()], 1, atol=1e-5)


@examples(20, seeded=False)
@given(st.integers(0, 2**31), st.floats(0.05, 1.0), st.floats(-0.02, 0.02))
def test_a_pixel_shows_its_middle(seed: int, spread: float, slope: float) -> None:
    """What changes evenly over the discs changes evenly over pixels, wherever the discs happen to lie."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(np.arange(-3, 16, 0.6), np.arange(-3, 16, 0.6)), axis=2).reshape(-1, 2)
    at = (grid + rng.uniform(-0.5, 0.5, grid.shape) * spread * 0.6).astype(np.float32)
    depth = (3 + slope * at[:, 0]).astype(np.float32)
    radius, slack = np.full(len(at), 1.5, np.float32), np.full(len(at), 1.5, np.float32)
    pixels, found, weights, shown = splat(at, depth, radius, slack, (12, 12))
    middle = np.arange(12) + 0.5
    place = np.stack([np.bincount(pixels, weights * at[found, axis], minlength=144) for axis in (0, 1)], axis=1)
    expected = np.stack(np.meshgrid(middle, middle), axis=2).reshape(-1, 2)
    assert np.abs(place - expected).max() < 0.05
    np.testing.assert_allclose(shown, np.broadcast_to(3 + slope * middle, (12, 12)), atol=1e-3 + 0.05 * abs(slope))


def test_the_depth_is_that_of_what_is_shown() -> None:
    at, radius = np.float32([[2.5, 2.5], [2.5, 2.5], [2.5, 2.5]]), np.ones(3, np.float32)
    found = splat(at, np.float32([1.0, 1.2, 9.0]), radius, np.full(3, 1.5, np.float32), (5, 5))
    assert set(found[1].tolist()) == {0, 1} and found[3][2, 2] == pytest.approx(1.1)


def test_what_is_hidden_or_no_number_is_not_shown() -> None:
    at = np.float32([[2.5, 2.5], [2.5, 2.5], [np.nan, 2.5], [1e30, 2.5], [2.5, 2.5]])
    depth = np.float32([1.0, 2.0, 0.5, 0.5, -1.0])
    found = splat(at, depth, np.full(5, 1, np.float32), np.full(5, 1.5, np.float32), (5, 5))
    assert set(found[1].tolist()) == {0} and found[3][2, 2] == 1.0


def test_no_discs_are_an_empty_picture() -> None:
    none = np.zeros(0, np.float32)
    found = splat(np.zeros((0, 2), np.float32), none, none, none, (3, 2))
    assert len(found[0]) == 0 and np.isinf(found[3]).all()


@pytest.mark.parametrize(("radius", "size"), [(65.0, (4, 4)), (-1.0, (4, 4)), (np.nan, (4, 4)), (1.0, (0, 4))])
def test_what_is_not_accepted_is_named(radius: float, size: tuple[int, int]) -> None:
    one = np.ones(1, np.float32)
    with pytest.raises(ValueError, match="accepted"):
        splat(np.ones((1, 2), np.float32), one, one * np.float32(radius), one, size)
    with pytest.raises(ValueError, match="shapes"):
        splat(np.ones((2, 2), np.float32), one, one, one, (4, 4))


@examples(25, seeded=False)
@given(st.integers(0, 80), st.integers(1, 30), st.integers(1, 30), st.integers(1, 5), st.integers(0, 2**31))
def test_shares_are_added_as_by_the_reference(count: int, rows: int, others: int, channels: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    targets, sources = (rng.integers(0, most, count).astype(np.int32) for most in (rows, others))
    weights, values = rng.random(count, np.float32), rng.random((others, channels), np.float32)
    sums = rng.random((rows, channels), np.float32)
    expected = sums.copy()
    reference_splatting.add_shares(targets, sources, weights, values, expected)
    add_shares(targets, sources, weights, values, sums)
    np.testing.assert_allclose(sums, expected, rtol=1e-5, atol=1e-5)


def test_shares_of_rows_that_are_not_there_are_refused() -> None:
    weights, values, sums = np.ones(1, np.float32), np.ones((4, 3), np.float32), np.zeros((2, 3), np.float32)
    for target, source in ((2, 0), (-1, 0), (0, 4), (0, -1)):
        with pytest.raises(ValueError, match="accepted"):
            add_shares(np.int32([target]), np.int32([source]), weights, values, sums)
    with pytest.raises(ValueError, match="shapes"):
        add_shares(np.int32([0, 1]), np.int32([0]), weights, values, sums)
    with pytest.raises(ValueError, match="sums"):
        add_shares(np.int32([0]), np.int32([0]), weights, values, np.zeros((2, 4), np.float32))
