"""Splatting in NumPy: the reference of the native one, and what stands in for it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]
#: A disc's weight falls off over this share of its radius, and so many pixels at least: where discs are dense a pixel
#: shows those at its middle, where they are sparse those that reach it.
SHARP, LEAST = 0.7, 0.6
#: Added to the second moments, in squares of pixels: what lies on one side of a pixel only is not extrapolated far.
RIDGE = 0.02


def splat(at: F32, depth: F32, radius: F32, slack: F32, shown: F32) -> tuple[I32, I32, F32]:
    """See `fairlead_kernels.splatting.splat`; fills ``shown`` with depths."""
    height, width = shown.shape
    with np.errstate(invalid="ignore"):
        inside = (depth > 0) & (at > -radius[:, None]).all(axis=1)
        inside &= (at[:, 0] < width + radius) & (at[:, 1] < height + radius)
    chosen = np.nonzero(inside)[0]
    # The furthest first: where several are written to one pixel, the last one stays.
    chosen = chosen[np.argsort(-depth[chosen], kind="stable")]
    at, depth, radius, slack = at[chosen], depth[chosen], radius[chosen], slack[chosen]
    parts = list(_footprints(at, radius, width, height))
    nearest = np.full(width * height, np.inf, np.float32)
    for pixel, disc in parts:
        found = np.full(width * height, np.inf, np.float32)
        found[pixel] = depth[disc]
        np.minimum(nearest, found, out=nearest)
    kept = [depth[disc] <= nearest[pixel] * slack[disc] for pixel, disc in parts]
    pixel, disc = (
        np.concatenate([part[place][keep] for part, keep in zip(parts, kept, strict=True)]) for place in range(2)
    )
    weight = _centred(pixel, _offsets(at, pixel, disc, width), radius[disc], width * height)
    good = weight > 0
    pixel, disc, weight = pixel[good], disc[good], weight[good]
    mean = np.bincount(pixel, weight * depth[disc], minlength=width * height)
    shown[...] = np.where(np.isfinite(nearest), mean, np.inf).reshape(height, width)
    return pixel.astype(np.int32), chosen[disc].astype(np.int32), weight.astype(np.float32)


def _footprints(at: F32, radius: F32, width: int, height: int) -> Iterator[tuple[I64, I64]]:
    """Pixels in reach of each disc: (pixel, disc), one offset at a time, discs in their order in each."""
    corner = np.floor(at).astype(np.int64)
    reach = int(np.ceil(radius.max(initial=0.0)))
    for down in range(-reach, reach + 1):
        for across in range(-reach, reach + 1):
            # Most discs are small: those that cannot reach so far are left out before anything is computed.
            disc = np.nonzero(np.ceil(radius) >= max(abs(down), abs(across)))[0]
            x, y = corner[disc, 0] + across, corner[disc, 1] + down
            good = (x >= 0) & (x < width) & (y >= 0) & (y < height)
            disc, pixel = disc[good], y[good] * width + x[good]
            square = (_offsets(at, pixel, disc, width) ** 2).sum(axis=1)
            near = square <= (radius[disc] + np.float32(0.25)) ** 2
            yield pixel[near], disc[near]


def _offsets(at: F32, pixel: I64, disc: I64, width: int) -> F32:
    """Of pixels' middles from discs', (x, y): [n, 2]."""
    middle = np.stack([pixel % width, pixel // width], axis=1).astype(np.float32) + np.float32(0.5)
    return middle - at[disc]


def _centred(pixel: I64, offset: F32, radius: F32, pixels: int) -> F64:
    """Weights that sum to 1 for each pixel, whose mean offset is 0 where there are discs all around it."""
    wide = np.maximum(np.float32(SHARP) * radius, np.float32(LEAST))
    weight = np.exp(-1.5 * (offset**2).sum(axis=1) / wide**2).astype(np.float64)
    across, down = offset.astype(np.float64).T

    def summed(values: F64) -> F64:
        return np.bincount(pixel, values, minlength=pixels)

    total, x, y = summed(weight), summed(weight * across), summed(weight * down)
    xx, yy = summed(weight * across**2) + RIDGE * total, summed(weight * down**2) + RIDGE * total
    xy = summed(weight * across * down)
    determinant = np.where(total > 0, xx * yy - xy**2, 1)
    slope_x, slope_y = -(x * yy - y * xy) / determinant, -(y * xx - x * xy) / determinant
    weight *= np.maximum(1 + slope_x[pixel] * across + slope_y[pixel] * down, 0)
    return weight / summed(weight)[pixel]


def add_shares(targets: I32, sources: I32, weights: F32, values: F32, sums: F32) -> None:
    """See `fairlead_kernels.splatting.add_shares`."""
    for index, rows in ((targets, len(sums)), (sources, len(values))):
        if len(index) and not (index.min() >= 0 and index.max() < rows):
            raise ValueError("targets, sources: a row that is not there; accepted: rows of sums and of values")
    for channel in range(values.shape[1]):
        shares = weights * values[sources, channel]
        sums[:, channel] += np.bincount(targets, shares, minlength=len(sums)).astype(np.float32)
