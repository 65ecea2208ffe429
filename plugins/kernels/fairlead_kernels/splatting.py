"""Discs to pixels: which pixel shows how much of which disc (EWA splatting, Zwicker et al., 2001).

Native where compiled; :mod:`fairlead_kernels.reference_splatting` is the same in NumPy and stands in otherwise.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels import reference_splatting
from fairlead_kernels.backend import extension

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]
MOST_PIXELS = 64


def splat(at: F32, depth: F32, radius: F32, slack: F32, size: tuple[int, int]) -> tuple[I32, I32, F32, F32]:
    """Splat discs onto a picture.

    A disc covers the pixels whose middles are at most a quarter pixel beyond its radius, with Gaussian weights. Of
    those, a pixel shows what is not hidden: discs at most ``slack`` times as far as its nearest one. Weights are then
    changed so that the mean place of what a pixel shows is its middle, where discs lie on all of its sides (moving
    least squares, Lancaster and Salkauskas, 1981): otherwise views would show places beside those that are meant.

    Args:
        at: float32 [discs, 2], (x, y) in pixels; the first pixel's middle is at 0.5, 0.5.
        depth: float32 [discs]; discs at 0 and below are not there.
        radius: float32 [discs], in pixels, at most 64.
        slack: float32 [discs], at least 1.
        size: (width, height) of the picture.

    Returns:
        pixels int32 [n] (row by row), discs int32 [n], weights float32 [n] above 0 that sum to 1 for each pixel, in no
        order that is promised, and the mean depth of what is shown, float32 [height, width], infinite where there is
        nothing.

    Raises:
        ValueError: arrays of other shapes, or a radius that is not accepted.
    """
    count = len(at)
    if at.shape != (count, 2) or not depth.shape == radius.shape == slack.shape == (count,):
        shapes = (at.shape, depth.shape, radius.shape, slack.shape)
        raise ValueError(f"at, depth, radius, slack: shapes {shapes}; accepted: [discs, 2] and [discs] each")
    if min(size) < 1:
        raise ValueError(f"size {size}; accepted: 1 and above")
    if count and not (radius.min() >= 0 and radius.max() <= MOST_PIXELS):
        raise ValueError(f"radius from {radius.min()} to {radius.max()}; accepted: from 0 to {MOST_PIXELS} pixels")
    arrays = [np.ascontiguousarray(values, np.float32) for values in (at, depth, radius, slack)]
    shown = np.empty((size[1], size[0]), np.float32)
    native = extension()
    found = reference_splatting.splat(*arrays, shown) if native is None else native.splat(*arrays, shown)
    return (*found, shown)


def add_shares(targets: I32, sources: I32, weights: F32, values: F32, sums: F32) -> None:
    """Add shares of rows to rows: ``sums[targets[k]] += weights[k] * values[sources[k]]`` for every k.

    Views are taken from discs in this way, and what is asked of views is given back to discs.

    Args:
        targets, sources: int32 [n], rows of sums and of values.
        weights: float32 [n].
        values: float32 [m, channels].
        sums: float32 [r, channels], contiguous, that is added to.

    Raises:
        ValueError: arrays of other shapes, or rows that are not there.
    """
    count, channels = len(targets), values.shape[1:]
    if not targets.shape == sources.shape == weights.shape == (count,) or len(channels) != 1:
        shapes = (targets.shape, sources.shape, weights.shape, values.shape)
        raise ValueError(f"targets, sources, weights, values: shapes {shapes}; accepted: [n] each and [m, channels]")
    if sums.shape[1:] != channels or sums.dtype != np.float32 or not sums.flags.c_contiguous:
        raise ValueError(f"sums {sums.dtype} {sums.shape}; accepted: contiguous float32 [r, {channels[0]}]")
    native = extension()
    if native is None:
        reference_splatting.add_shares(targets, sources, weights, values, sums)
        return
    rows = [np.ascontiguousarray(index, np.int32) for index in (targets, sources)]
    native.add_shares(*rows, np.ascontiguousarray(weights, np.float32), np.ascontiguousarray(values, np.float32), sums)
