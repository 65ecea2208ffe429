"""Native passes over pixels and their reference agree on every ISA; resizing is Pillow's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fairlead_kernels import pixels
from fairlead_kernels import reference_pixels as reference
from fairlead_kernels.backend import extension, set_threads, threads
from tests.plugins.kernels.cases import examples

compiled = pytest.mark.skipif(extension() is None, reason="the kernels are not compiled: native pixels are not tested")
SIDES = st.integers(1, 70)


def picture(height: int, width: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random((height, width, 3), np.float32)


@compiled
@examples(40, seeded=False)
@given(SIDES, SIDES, SIDES, SIDES, st.integers(0, 2**31))
def test_native_is_the_reference(height: int, width: int, rows: int, columns: int, seed: int) -> None:
    given_one = 1.4 * picture(height, width, seed) - np.float32(0.2)
    target = np.empty((rows, columns, 3), np.float32)
    taps = (*pixels._taps(height, rows), *pixels._taps(width, columns))
    reference.pixels_resample(given_one, *taps, target)
    np.testing.assert_allclose(pixels.resized(given_one, rows, columns), target, atol=1e-5)
    step, mean, covariance = 1 + seed % 3, np.empty(3, np.float32), np.empty((3, 3), np.float32)
    reference.pixels_moments(given_one, step, mean, covariance)
    for native, plain in zip(pixels.moments(given_one, step), (mean, covariance), strict=True):
        np.testing.assert_allclose(native, plain, atol=2e-6)
    slopes = [picture(height, width, seed + 1) for _ in range(2)]
    pixels.step(given_one, -0.3, slopes[0])
    reference.pixels_step(given_one, -0.3, slopes[1])
    np.testing.assert_allclose(*slopes, atol=1e-6)
    framed, plain = (np.empty((height + 9 + rows, width + 9 + columns, 3), np.float32) for _ in range(2))
    pixels.frame(given_one, 9, framed)
    reference.pixels_frame(given_one, 9, plain)
    np.testing.assert_array_equal(framed, plain)


@compiled
@examples(25, seeded=False)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**31))
def test_native_cells_are_the_reference(down: int, across: int, side: int, seed: int) -> None:
    whole = picture(down * side, across * side, seed)
    means, less = np.empty((down, across, 3), np.float32), np.empty_like(whole)
    reference.pixels_cells(whole, side, means)
    np.testing.assert_allclose(pixels.cells(whole, side), means, atol=1e-6)
    reference.pixels_less_cells(whole, means, side, less)
    np.testing.assert_allclose(pixels.less_cells(whole, means, side), less, atol=1e-6)


@pytest.mark.parametrize(("size", "wanted"), [((97, 140), (64, 48)), ((30, 41), (45, 90)), ((64, 64), (32, 32))])
def test_resizing_is_pillows(each_isa: str, size: tuple[int, int], wanted: tuple[int, int]) -> None:
    # Nothing is clipped, which Pillow does along each axis.
    levels = (70 + 110 * picture(*size, 0)).astype(np.uint8)
    expected = np.asarray(Image.fromarray(levels).resize(wanted[::-1], Image.Resampling.LANCZOS), np.float32) / 255
    got = pixels.resized(levels.astype(np.float32) / 255, *wanted)
    # It rounds to bytes along each axis.
    assert np.abs(got - expected).max() < 1.8 / 255


def test_numbers_that_are_not_finite_are_found(each_isa: str) -> None:
    whole = picture(40, 50, 1)
    assert pixels.finite(whole)
    for value in (np.nan, np.inf, -np.inf):
        bad = whole.copy()
        bad[37, 3, 1] = value
        assert not pixels.finite(bad)


@pytest.mark.parametrize("level", [0.0, 0.9])
def test_moments_of_nearly_one_colour_are_exact(each_isa: str, level: float) -> None:
    whole = np.float32(level) + np.float32(1e-3) * picture(64, 65, 2)
    flat = whole.reshape(-1, 3).astype(np.float64)
    mean, covariance = pixels.moments(whole)
    np.testing.assert_allclose(mean, flat.mean(0), rtol=1e-6)
    np.testing.assert_allclose(covariance, np.cov(flat.T, bias=True), atol=1e-11)


@pytest.mark.parametrize("side", [1, 7, 100])
def test_the_mean_square_is_of_all_numbers(each_isa: str, side: int) -> None:
    whole = picture(side, 131, 5) - np.float32(0.5)
    np.testing.assert_allclose(pixels.mean_square(whole), np.square(whole.astype(np.float64)).mean(), rtol=1e-6)


@compiled
def test_results_do_not_depend_on_threads() -> None:
    whole, found, before = picture(131, 120, 3), [], threads()
    for count in (1, 3):
        set_threads(count)
        passes = pixels.resized(whole, 60, 64), *pixels.moments(whole), pixels.cells(whole[:128], 8)
        found.append((*passes, pixels.mean_square(whole)))
    set_threads(before)
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


@compiled
def test_what_does_not_go_together_is_refused() -> None:
    whole = picture(16, 16, 4)
    with pytest.raises(ValueError, match="behind the margin"):
        pixels.frame(whole, 4, np.empty((19, 20, 3), np.float32))
    with pytest.raises(ValueError, match="multiples of a cell's"):
        pixels.cells(whole, 7)
    with pytest.raises(ValueError, match="of the picture's shape"):
        pixels.step(whole, 1.0, picture(16, 15, 0))
