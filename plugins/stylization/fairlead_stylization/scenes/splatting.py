"""Rendering by splatting: discs to pixels, nearest first, blended where they overlap (EWA, Zwicker et al., 2001).

A view's splats do not depend on colours. They are found once for a camera, as (pixel, disc, weight), and then any
colours are rendered by a weighted sum: that is what lets a baked scene change its style at the cost of a sum, and
gradients reach colours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels import splatting as kernels

from .camera import Camera
from .scene import Scene

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]
#: Discs that are further behind the nearest one than so many of its radii, and so much of its depth, are hidden.
BEHIND_RADII, BEHIND = 2.0, 0.01
#: Splats reach so far in pixels, at most: larger ones belong to discs right before the camera.
MOST_PIXELS = 6


@dataclass(frozen=True, slots=True)
class Splats:
    """What a camera sees of a scene.

    Attributes:
        size: (width, height).
        pixels, discs: int32 [splats], which pixel (row by row) shows how much of which disc.
        weights: float32 [splats], that sum to 1 for each pixel which shows anything.
        depth: float32 [height, width], mean of what is shown; infinite where there is nothing.
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

    def render(self, colours: F32, background: tuple[float, float, float] | F32 = (1.0, 1.0, 1.0)) -> F32:
        """Return the view float32 [height, width, channels] of colours [discs, channels].

        Where it shows no disc it has the background: a colour, or a picture of its size.
        """
        width, height = self.size
        view = np.zeros((height, width, colours.shape[1]), np.float32)
        kernels.add_shares(self.pixels, self.discs, self.weights, colours, view.reshape(width * height, -1))
        if colours.shape[1] == 3:
            np.copyto(view, np.float32(background), where=~self.seen[..., None])
        return view

    def give_back(self, values: F32, discs: F32) -> None:
        """Add values [pixels, channels] to the discs [discs, channels] that pixels were rendered from."""
        kernels.add_shares(self.discs, self.pixels, self.weights, values, discs)


def splat(scene: Scene, camera: Camera, *, least_pixels: float = 0.6) -> Splats:
    """Find what a camera sees.

    Args:
        scene: its discs.
        camera: looks at it.
        least_pixels: radius of the smallest splat: surfaces stay closed where discs are sparse in pixels.
    """
    pixels, depth = camera.project(scene.points)
    radius = np.clip(scene.radii * max(camera.focal) / np.maximum(depth, 1e-6), least_pixels, MOST_PIXELS)
    slack = 1 + BEHIND + BEHIND_RADII * scene.radii / np.maximum(depth, 1e-6)
    shown = np.where(_facing(scene, camera), depth, -1)
    places, discs, weights, mean = kernels.splat(pixels, shown, radius, slack, camera.size)
    return Splats(camera.size, places, discs, weights, mean)


def _facing(scene: Scene, camera: Camera) -> NDArray[np.bool_]:
    """Whether a disc's front is seen; without normals all are."""
    if scene.normals is None:
        return np.ones(len(scene.points), bool)
    return ((camera.position - scene.points) * scene.normals).sum(axis=1) > 0
