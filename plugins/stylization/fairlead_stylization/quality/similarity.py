"""Structural similarity (Wang et al., IEEE TIP 2004), in NumPy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..errors import BadPicture

Picture = NDArray[np.float32]

WINDOW = 11
SIGMA = 1.5


def structural_similarity(first: Picture, second: Picture) -> float:
    """Mean SSIM of two pictures over their channels, by the paper's Gaussian window of 11 pixels, without borders.

    Args:
        first, second: [H, W, C] in [0, 1], 11 pixels or more a side.

    Raises:
        BadPicture: sizes that differ or are too small.
    """
    if first.shape != second.shape or min(first.shape[:2]) < WINDOW:
        raise BadPicture(
            f"pictures: {first.shape} and {second.shape}; accepted: one shape, {WINDOW} pixels or more a side"
        )
    one, two = first.astype(np.float64), second.astype(np.float64)
    mean_one, mean_two = _blurred(one), _blurred(two)
    variance_one = _blurred(one * one) - mean_one**2
    variance_two = _blurred(two * two) - mean_two**2
    covariance = _blurred(one * two) - mean_one * mean_two
    luminance = (2 * mean_one * mean_two + 0.01**2) / (mean_one**2 + mean_two**2 + 0.01**2)
    structure = (2 * covariance + 0.03**2) / (variance_one + variance_two + 0.03**2)
    return float((luminance * structure).mean())


def _blurred(picture: NDArray[np.float64]) -> NDArray[np.float64]:
    """A Gaussian window's means, where the whole window fits."""
    places = np.arange(WINDOW) - WINDOW // 2
    weights = np.exp(-(places**2) / (2 * SIGMA**2))
    weights /= weights.sum()
    for axis in (0, 1):
        picture = np.lib.stride_tricks.sliding_window_view(picture, WINDOW, axis=axis) @ weights
    return picture


def high_frequency_energy(picture: Picture) -> float:
    """Mean square of what a 3 x 3 mean takes away: how much fine detail there is. [H, W, C] in [0, 1]."""
    picture = picture.astype(np.float64)
    return float(((picture - low_frequencies(picture)) ** 2).mean())


def low_frequencies(picture: NDArray[np.floating]) -> NDArray[np.floating]:
    """Means of 3 x 3 pixels, [H, W, C], edges going on."""
    means = np.pad(picture, ((1, 1), (1, 1), (0, 0)), mode="edge")
    means = means[:-2] + means[1:-1] + means[2:]
    return (means[:, :-2] + means[:, 1:-1] + means[:, 2:]) / 9
