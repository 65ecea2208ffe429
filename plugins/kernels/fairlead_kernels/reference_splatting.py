"""Splatting in NumPy: the reference of the native one, and what stands in for it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]


def splat(at: F32, depth: F32, radius: F32, slack: F32, nearest: F32) -> tuple[I32, I32, F32]:
    """See `fairlead_kernels.splatting.splat`; fills ``nearest``."""
    height, width = nearest.shape
    with np.errstate(invalid="ignore"):
        inside = (depth > 0) & (at > -radius[:, None]).all(axis=1)
        inside &= (at[:, 0] < width + radius) & (at[:, 1] < height + radius)
    chosen = np.nonzero(inside)[0]
    # The furthest first: where several are written to one pixel, the last one stays.
    chosen = chosen[np.argsort(-depth[chosen], kind="stable")]
    at, depth, radius, slack = at[chosen], depth[chosen], radius[chosen], slack[chosen]
    parts = list(_footprints(at, radius, width, height))
    flat = np.full(width * height, np.inf, np.float32)
    for pixel, disc, _ in parts:
        found = np.full(width * height, np.inf, np.float32)
        found[pixel] = depth[disc]
        np.minimum(flat, found, out=flat)
    nearest[...] = flat.reshape(height, width)
    kept = [depth[disc] <= flat[pixel] * slack[disc] for pixel, disc, _ in parts]
    pixel, disc, weight = (
        np.concatenate([part[place][keep] for part, keep in zip(parts, kept, strict=True)]) for place in range(3)
    )
    total = np.bincount(pixel, weight, minlength=width * height)
    return pixel.astype(np.int32), chosen[disc].astype(np.int32), (weight / total[pixel]).astype(np.float32)


def _footprints(at: F32, radius: F32, width: int, height: int) -> Iterator[tuple[I64, I64, F32]]:
    """Pixels in reach of each disc: (pixel, disc, weight), one offset at a time, discs in their order in each."""
    corner = np.floor(at).astype(np.int64)
    reach = int(np.ceil(radius.max(initial=0.0)))
    for down in range(-reach, reach + 1):
        for across in range(-reach, reach + 1):
            # Most discs are small: those that cannot reach so far are left out before anything is computed.
            disc = np.nonzero(np.ceil(radius) >= max(abs(down), abs(across)))[0]
            x, y = corner[disc, 0] + across, corner[disc, 1] + down
            square = (x.astype(np.float32) + np.float32(0.5) - at[disc, 0]) ** 2
            square += (y.astype(np.float32) + np.float32(0.5) - at[disc, 1]) ** 2
            good = (x >= 0) & (x < width) & (y >= 0) & (y < height) & (square <= (radius[disc] + 0.25) ** 2)
            disc = disc[good]
            weight = np.exp(-1.5 * square[good] / np.maximum(radius[disc], 0.5) ** 2).astype(np.float32)
            yield y[good] * width + x[good], disc, weight
