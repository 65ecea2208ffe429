"""Passes over the pixels of pictures, float32 [height, width, 3]: resizing, framing, moments, cells.

Native where compiled; :mod:`fairlead_kernels.reference_pixels` is the same in NumPy and stands in otherwise.
"""

from __future__ import annotations

from functools import lru_cache
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels import reference_pixels
from fairlead_kernels.backend import extension

__all__ = ["cells", "finite", "frame", "less_cells", "mean_square", "moments", "resized", "step"]

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]

#: Lobes of the window at each side.
LOBES = 3


def _kernels() -> ModuleType | Any:
    native = extension()
    return reference_pixels if native is None else native


def resized(picture: F32, height: int, width: int) -> F32:
    """Resize by Lanczos' window of three lobes, as wide as what becomes one pixel; numbers are clipped to [0, 1]."""
    target = np.empty((height, width, 3), np.float32)
    taps = (*_taps(picture.shape[0], height), *_taps(picture.shape[1], width))
    _kernels().pixels_resample(np.ascontiguousarray(picture), *taps, target)
    return target


def moments(picture: F32, step: int = 1) -> tuple[F32, F32]:
    """Return the mean [3] and the covariance [3, 3] over every step-th row and column."""
    mean, covariance = np.empty(3, np.float32), np.empty((3, 3), np.float32)
    _kernels().pixels_moments(np.ascontiguousarray(picture), step, mean, covariance)
    return mean, covariance


def step(picture: F32, factor: float, slope: F32) -> None:
    """Replace a slope by picture + factor * slope, clipped to [0, 1]."""
    _kernels().pixels_step(picture, factor, slope)


def mean_square(picture: F32) -> float:
    """Return the mean of all numbers' squares."""
    return _kernels().pixels_mean_square(np.ascontiguousarray(picture))


def finite(picture: F32) -> bool:
    """Whether all numbers are finite."""
    return _kernels().pixels_finite(np.ascontiguousarray(picture))


def frame(picture: F32, margin: int, target: F32) -> None:
    """Fill a larger picture with one that is mirrored at its borders, the outermost pixels too.

    Args:
        picture: [height, width, 3].
        margin: where in the target the picture's first pixel lies, both ways.
        target: [height + margin or more, width + margin or more, 3].

    Raises:
        ValueError: a target that is too small.
    """
    _kernels().pixels_frame(np.ascontiguousarray(picture), margin, target)


def cells(picture: F32, side: int) -> F32:
    """Return the means of cells of side x side pixels, [height / side, width / side, 3]."""
    means = np.empty((picture.shape[0] // side, picture.shape[1] // side, 3), np.float32)
    _kernels().pixels_cells(np.ascontiguousarray(picture), side, means)
    return means


def less_cells(picture: F32, means: F32, side: int) -> F32:
    """Return a picture less its cells' means, linear between their centres and constant beyond the outer ones."""
    target = np.empty(picture.shape, np.float32)
    _kernels().pixels_less_cells(np.ascontiguousarray(picture), np.ascontiguousarray(means), side, target)
    return target


@lru_cache(maxsize=16)
def _taps(length: int, count: int) -> tuple[I32, F32]:
    """Of each of `count` places along a side: its first pixel, [count], and weights from there on, [count, taps]."""
    scale = length / count
    wide = max(scale, 1.0)
    centres = (np.arange(count) + 0.5) * scale
    first, last = ((centres + side * LOBES * wide + 0.5).astype(np.intp).clip(0, length) for side in (-1, 1))
    taps = int((last - first).max())
    starts = np.minimum(first, length - taps)
    at = starts[:, None] + np.arange(taps)
    places = (at + 0.5 - centres[:, None]) / wide
    held = (at >= first[:, None]) & (at < last[:, None]) & (np.abs(places) < LOBES)
    weights = np.where(held, np.sinc(places) * np.sinc(places / LOBES), 0)
    weights /= weights.sum(1, keepdims=True)
    return starts.astype(np.int32), weights.astype(np.float32)
