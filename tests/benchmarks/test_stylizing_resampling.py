"""What a warp leaves of pictures that agree perfectly."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.stylizing.resampling import left_by_warping, mixed, moved

SIDE = 64


def waves(cycles: int) -> np.ndarray:
    """A picture of vertical stripes, so many over its width."""
    across = np.sin(2 * np.pi * cycles * np.arange(SIDE) / SIDE)
    return np.broadcast_to(across[None, :, None], (SIDE, SIDE, 3)).astype(np.float32)


@pytest.mark.parametrize("cycles", [1, 5, 20])
def test_a_band_limited_picture_is_moved_without_loss(cycles: int) -> None:
    there = np.sin(2 * np.pi * cycles * (np.arange(SIDE) + 0.37) / SIDE)
    np.testing.assert_allclose(moved(waves(cycles), 0.8, 0.37)[3, :, 1], there, atol=1e-5)


def test_whole_pixels_lose_nothing() -> None:
    picture = np.random.default_rng(1).random((SIDE, SIDE, 3), np.float32)
    np.testing.assert_allclose(mixed(picture, 1.0, 0.0), np.roll(picture, -1, axis=0), atol=1e-6)
    everywhere = np.ones((SIDE, SIDE), np.bool_)
    assert left_by_warping(picture, everywhere, np.array([[0.0, 0.0]])) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("cycles", [2, 8, 16])
def test_what_is_left_is_what_a_mean_of_neighbours_takes_from_a_wave(cycles: int) -> None:
    # Halfway between two pixels their mean has cos(w / 2) of a wave of w radians a pixel.
    left = left_by_warping(waves(cycles), np.ones((SIDE, SIDE), np.bool_), np.array([[0.0, 0.5]]))
    wanted = (1 - np.cos(np.pi * cycles / SIDE)) * np.sqrt(0.5)
    assert left == pytest.approx(wanted, rel=0.05)


def test_only_what_is_seen_counts() -> None:
    picture = waves(16)
    picture[:, SIDE // 2 :] = 0.5
    left = np.zeros((SIDE, SIDE), np.bool_)
    left[:, 40:50] = True
    calm = left_by_warping(picture, left, np.array([[0.0, 0.5]]))
    assert calm < 0.2 * left_by_warping(picture, ~left, np.array([[0.0, 0.5]]))
