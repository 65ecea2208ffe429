"""Rendering by splatting: discs to pixels, nearest first, blended where they overlap (EWA, Zwicker et al., 2001).

A view's splats do not depend on colours. They are found once for a camera, as (pixel, disc, weight), and then any
colours are rendered by a weighted sum: that is what lets a baked scene change its style at the cost of a sum, and
gradients reach colours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .camera import Camera
from .scene import Scene

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]
#: Discs that are further behind the nearest one than so many of its radii, and so much of its depth, are hidden.
_BEHIND_RADII, _BEHIND = 2.0, 0.01
#: Splats reach so far in pixels, at most: larger ones belong to discs right before the camera.
_MOST_PIXELS = 6


@dataclass(frozen=True, slots=True)
class Splats:
    """What a camera sees of a scene.

    Attributes:
        size: (width, height).
        pixels, discs: int32 [splats], which pixel (row by row) shows how much of which disc.
        weights: float32 [splats], that sum to 1 for each pixel which shows anything.
        depth: float32 [height, width], of the nearest disc; infinite where there is none.
    """

    size: tuple[int, int]
    pixels: I32
    discs: I32
    weights: F32
    depth: F32

    @property
    def seen(self) -> NDArray[np.bool_]:
        """[height, width], whether a pixel shows a disc."""
        return np.isfinite(self.depth)

    def render(self, colours: F32, background: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> F32:
        """Return the view float32 [height, width, channels] of colours [discs, channels]."""
        width, height = self.size
        sums = [
            np.bincount(self.pixels, self.weights * colours[self.discs, channel], minlength=width * height)
            for channel in range(colours.shape[1])
        ]
        view = np.stack(sums, axis=1).astype(np.float32).reshape(height, width, -1)
        view[~self.seen] = background if colours.shape[1] == 3 else 0
        return view


def splat(scene: Scene, camera: Camera, *, least_pixels: float = 0.6) -> Splats:
    """Find what a camera sees.

    Args:
        scene: its discs.
        camera: looks at it.
        least_pixels: radius of the smallest splat: surfaces stay closed where discs are sparse in pixels.
    """
    width, height = camera.size
    pixels, depth = camera.project(scene.points)
    facing = _facing(scene, camera)
    radius = np.clip(scene.radii * max(camera.focal) / np.maximum(depth, 1e-9), least_pixels, _MOST_PIXELS)
    inside = (depth > 1e-6) & (pixels > -radius[:, None]).all(axis=1) & facing
    inside &= (pixels[:, 0] < width + radius) & (pixels[:, 1] < height + radius)
    chosen = np.nonzero(inside)[0]
    # The furthest first: where several are written to one pixel, the last one stays.
    chosen = chosen[np.argsort(-depth[chosen], kind="stable")]
    at, radius, depth = pixels[chosen], radius[chosen], depth[chosen]
    parts = list(_footprints(at, radius, width, height))
    nearest = np.full(width * height, np.inf, np.float32)
    for place, index, _ in parts:
        found = np.full(width * height, np.inf, np.float32)
        found[place] = depth[index]
        np.minimum(nearest, found, out=nearest)
    slack = 1 + _BEHIND + _BEHIND_RADII * scene.radii[chosen] / np.maximum(depth, 1e-9)
    kept = [(place, index, weight, depth[index] <= nearest[place] * slack[index]) for place, index, weight in parts]
    place = np.concatenate([place[keep] for place, _, _, keep in kept] or [np.zeros(0, np.int64)])
    index = np.concatenate([index[keep] for _, index, _, keep in kept] or [np.zeros(0, np.int64)])
    weight = np.concatenate([weight[keep] for _, _, weight, keep in kept] or [np.zeros(0, np.float32)])
    total = np.bincount(place, weight, minlength=width * height)
    return Splats(
        camera.size,
        place.astype(np.int32),
        chosen[index].astype(np.int32),
        (weight / total[place]).astype(np.float32),
        nearest.reshape(height, width),
    )


def _footprints(at: F32, radius: F32, width: int, height: int):
    """Pixels in reach of each disc: (pixel, disc, weight), one offset at a time, discs in their order in each."""
    corner = np.floor(at).astype(np.int32)
    reach = int(np.ceil(radius.max(initial=0.0)))
    for down in range(-reach, reach + 1):
        for across in range(-reach, reach + 1):
            # Most discs are small: those that cannot reach so far are left out before anything is computed.
            index = np.arange(len(at)) if max(abs(down), abs(across)) <= 1 else np.nonzero(
                radius > max(abs(down), abs(across)) - 1
            )[0]  # fmt: skip
            x, y = corner[index, 0] + across, corner[index, 1] + down
            square = (x + 0.5 - at[index, 0]) ** 2 + (y + 0.5 - at[index, 1]) ** 2
            good = (x >= 0) & (x < width) & (y >= 0) & (y < height) & (square <= (radius[index] + 0.25) ** 2)
            index = index[good]
            weight = np.exp(-1.5 * square[good] / np.maximum(radius[index], 0.5) ** 2).astype(np.float32)
            yield y[good].astype(np.int64) * width + x[good], index, weight


def _facing(scene: Scene, camera: Camera) -> NDArray[np.bool_]:
    """Whether a disc's front is seen; without normals all are."""
    if scene.normals is None:
        return np.ones(len(scene.points), bool)
    return ((camera.position - scene.points) * scene.normals).sum(axis=1) > 0
