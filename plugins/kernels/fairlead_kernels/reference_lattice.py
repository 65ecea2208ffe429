"""What repeats every second pixel, taken away in NumPy: the reference of the native way, and what stands in for it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]

#: Signs of a checkerboard's 2 x 2 phases, as [1, 2, 1, 2, 1].
_CHECKERS = np.array([[1, -1], [-1, 1]], np.float32)[None, :, None, :, None]


def _between(length: int, count: int, cell: int) -> F32:
    """How much of each cell a place takes, [length, count]: linear between centres."""
    at = ((np.arange(length) + 0.5) / cell - 0.5).clip(0, count - 1)
    return np.maximum(0, 1 - np.abs(at[:, None] - np.arange(count))).astype(np.float32)


def _means(values: F32, axis: int, cell: int) -> F32:
    """Means over cells along an axis; the last one may be smaller."""
    starts = np.arange(0, values.shape[axis], cell)
    counts = np.diff(np.append(starts, values.shape[axis])).astype(np.float32)
    shape = [1] * values.ndim
    shape[axis] = -1
    return np.add.reduceat(values, starts, axis) / counts.reshape(shape)


def _checkerboard(values: F32) -> F32:
    """Fourth differences along both axes by 256, mirrored at the borders: a checkerboard and next to nothing else."""
    for axis in (0, 1):
        widths = [(0, 0)] * values.ndim
        widths[axis] = (2, 2)
        values = np.diff(np.pad(values, widths, mode="reflect"), 4, axis) / 16
    return values


def remove_lattice(picture: F32, like: F32, cell: int, target: F32, margin: int) -> None:
    """See `fairlead_kernels.lattice.remove_lattice`."""
    height, width = picture.shape[0] // 2, picture.shape[1] // 2
    places = (picture - like).reshape(height, 2, width, 2, 3)
    cells = _means(_means(places, 0, cell), 2, cell)
    cells = cells - cells.mean((1, 3), keepdims=True) - _CHECKERS * (_CHECKERS * cells).mean((1, 3), keepdims=True)
    down, across = _between(height, cells.shape[0], cell), _between(width, cells.shape[2], cell)
    stripes = np.einsum("ir,jc,rvcuk->ivjuk", down, across, cells, optimize=True).reshape(picture.shape)
    inside = tuple(slice(margin, margin + side) for side in target.shape[:2])
    np.clip((picture - stripes - _checkerboard(picture - like))[inside], 0, 1, out=target)
