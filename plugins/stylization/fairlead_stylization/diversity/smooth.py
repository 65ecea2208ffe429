"""Perturbations without a grid: values on a coarse lattice, spread by cubic B-splines.

Sign steps on pixels leave a pattern that one sees. A B-spline's weights are not negative and sum to 1, so that a
perturbation stays within the bound of its lattice's values, and has no frequencies above that of the lattice.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]


@lru_cache(maxsize=32)
def spline_matrix(pixels: int, cell: int) -> F32:
    """Return the weights float32 [pixels, values] by which a lattice's values make pixels.

    Args:
        pixels: of a side.
        cell: pixels from one value to the next; 1: each pixel has its own.

    Raises:
        ValueError: either is below 1.
    """
    if pixels < 1 or cell < 1:
        raise ValueError(f"pixels {pixels}, cell {cell}: accepted: 1 and above")
    if cell == 1:
        return np.eye(pixels, dtype=np.float32)
    # Three values more than cells: a cubic B-spline reaches over four.
    matrix = np.zeros((pixels, (pixels - 1) // cell + 4), np.float32)
    place, t = np.divmod(np.arange(pixels), cell)
    t = t / cell
    weights = ((1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3)
    for offset, weight in enumerate(weights):
        matrix[np.arange(pixels), place + offset] = weight / 6
    return matrix


def lattice_shape(height: int, width: int, cell: int) -> tuple[int, int]:
    """Return (rows, columns) of the lattice for a picture."""
    return spline_matrix(height, cell).shape[1], spline_matrix(width, cell).shape[1]


def spread(lattice: F32, height: int, width: int, cell: int) -> F32:
    """Return pixels [..., height, width] of a lattice [..., rows, columns]."""
    return spline_matrix(height, cell) @ lattice @ spline_matrix(width, cell).T


def bent(change: F32, bound: float) -> F32:
    """A smooth change bent to stay within a bound: near 0 it is kept, no edge shows where it gets there."""
    return (bound * np.tanh(change / bound)).astype(np.float32)
