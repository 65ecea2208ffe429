"""Passes over the pixels of pictures in NumPy: the reference of the native way, and what stands in for it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]


def _along(values: F32, starts: I32, weights: F32) -> F32:
    """Means along the first axis."""
    whole = np.zeros((len(starts), len(values)), np.float32)
    np.put_along_axis(whole, starts[:, None] + np.arange(weights.shape[1]), weights, 1)
    return np.tensordot(whole, values, 1)


def pixels_resample(picture: F32, tops: I32, down: F32, lefts: I32, across: F32, target: F32) -> None:
    """See `fairlead_kernels.pixels.resized`; fills ``target``."""
    rows = _along(picture.clip(0, 1), tops, down)
    target[...] = _along(rows.swapaxes(0, 1), lefts, across).swapaxes(0, 1).clip(0, 1)


def pixels_moments(picture: F32, step: int, mean: F32, covariance: F32) -> None:
    """See `fairlead_kernels.pixels.moments`; fills ``mean`` and ``covariance``."""
    flat = picture[::step, ::step].reshape(-1, 3).astype(np.float64)
    mean[...] = flat.mean(0)
    centred = flat - flat.mean(0)
    covariance[...] = centred.T @ centred / len(flat)


def pixels_step(picture: F32, factor: float, slope: F32) -> None:
    """See `fairlead_kernels.pixels.step`; in place of ``slope``."""
    slope *= np.float32(factor)
    slope += picture
    np.clip(slope, 0, 1, out=slope)


def pixels_mean_square(picture: F32) -> float:
    """See `fairlead_kernels.pixels.mean_square`."""
    return float(np.square(picture, dtype=np.float64).mean())


def pixels_finite(picture: F32) -> bool:
    """See `fairlead_kernels.pixels.finite`."""
    return bool(np.isfinite(picture).all())


def pixels_frame(picture: F32, margin: int, target: F32) -> None:
    """See `fairlead_kernels.pixels.frame`; fills ``target``."""
    rows, columns = (
        np.pad(np.arange(length), (margin, want - length - margin), mode="symmetric")
        for length, want in zip(picture.shape[:2], target.shape[:2], strict=True)
    )
    target[...] = picture[rows[:, None], columns]


def pixels_cells(picture: F32, side: int, means: F32) -> None:
    """See `fairlead_kernels.pixels.cells`; fills ``means``."""
    height, width = means.shape[:2]
    # Rows first: long sums over neighbouring memory.
    rows = picture.reshape(height, side, width * side * 3).sum(1, dtype=np.float32)
    means[...] = rows.reshape(height, width, side, 3).sum(2) / np.float32(side * side)


def pixels_less_cells(picture: F32, means: F32, side: int, target: F32) -> None:
    """See `fairlead_kernels.pixels.less_cells`; fills ``target``."""
    target[...] = picture - _grown(_grown(means, 0, side), 1, side)


def _grown(cells: F32, axis: int, side: int) -> F32:
    """Cells -> pixels along an axis, linearly between centres, constant beyond the outer ones."""
    count = cells.shape[axis]
    at = (np.arange(count * side, dtype=np.float32) + 0.5) / side - 0.5
    low = np.floor(at).astype(np.intp)
    shape = [1] * cells.ndim
    shape[axis] = -1
    share = (at - low).astype(np.float32).reshape(shape)
    below, above = (np.take(cells, np.clip(index, 0, count - 1), axis) for index in (low, low + 1))
    return below + share * (above - below)
