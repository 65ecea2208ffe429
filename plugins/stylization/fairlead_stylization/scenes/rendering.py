"""A baked scene's views in torch: on a GPU, or wherever torch computes. It draws what `splatting` draws.

Discs' colours are all that a style changes, and they stay on the device: a view is two sweeps over the pixels in discs'
reach, one for what is nearest and one for the weighted sums.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fairlead_kernels.reference_splatting import LEAST, RIDGE, SHARP

from ..errors import BadSetting
from .camera import Camera
from .scene import Scene
from .splatting import BEHIND, BEHIND_RADII, MOST_PIXELS

F32 = NDArray[np.float32]


class TorchRenderer:
    """Renders a scene on a device.

    Args:
        scene: to show; its discs are copied to the device once.
        device: "cuda", "cuda:1", "cpu" or another one of torch's.

    Raises:
        BadSetting: a device that is not here.
    """

    def __init__(self, scene: Scene, device: str = "cuda") -> None:
        try:
            self.device = torch.device(device)
            self._points, self._colours, self._radii = (
                torch.from_numpy(np.ascontiguousarray(values, np.float32)).to(self.device)
                for values in (scene.points, scene.colours, scene.radii)
            )
        except (RuntimeError, AssertionError) as problem:
            told = str(problem).splitlines()[0]
            raise BadSetting(
                f"device: {device!r} ({told}); accepted: a device that torch has here, such as cpu"
            ) from None
        self._normals = None if scene.normals is None else torch.from_numpy(scene.normals).float().to(self.device)
        self._background = torch.tensor(scene.background, device=self.device)

    @torch.no_grad()
    def view(self, camera: Camera, *, least_pixels: float = 0.6) -> Tensor:
        """What a camera sees, float32 [height, width, 3] on the device.

        Args:
            camera: looks at the scene.
            least_pixels: radius of the smallest splat, as in `splatting.splat`.
        """
        (width, height), (at, depth, radius, slack, chosen) = camera.size, self._seen(camera, least_pixels)
        parts = list(_footprints(at, radius, width, height))
        nearest = torch.full((width * height,), torch.inf, device=self.device)
        for pixel, disc, _ in parts:
            nearest.scatter_reduce_(0, pixel, depth[disc], "amin")
        kept = []
        for pixel, disc, offset in parts:
            shown = depth[disc] <= nearest[pixel] * slack[disc]
            kept.append((pixel[shown], disc[shown], offset[shown]))
        pixel, disc, offset = (torch.cat(found) for found in zip(*kept, strict=True))
        weight = _centred(pixel, offset, radius[disc], width * height)
        view = torch.zeros(width * height, 3, device=self.device)
        view.index_add_(0, pixel, weight[:, None] * self._colours[chosen[disc]])
        return torch.where(nearest.isfinite()[:, None], view, self._background).reshape(height, width, 3)

    def _seen(self, camera: Camera, least_pixels: float) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Of discs whose splats reach the picture: middles in pixels, depths, radii, slack behind, which they are."""
        there = torch.from_numpy(np.asarray(camera.world_to_camera, np.float32)).to(self.device)
        local = self._points @ there[:3, :3].T + there[:3, 3]
        depth = local[:, 2]
        focal, centre = (torch.tensor(pair, dtype=torch.float32, device=self.device)
                         for pair in (camera.focal, camera.centre))  # fmt: skip
        at = local[:, :2] / torch.where(depth > 1e-9, depth, 1.0)[:, None] * focal + centre
        safe = depth.clamp_min(1e-6)
        radius = (self._radii * max(camera.focal) / safe).clamp(least_pixels, MOST_PIXELS)
        slack = 1 + BEHIND + BEHIND_RADII * self._radii / safe
        size = torch.tensor(camera.size, device=self.device)
        inside = (depth > 0) & (at > -radius[:, None]).all(1) & (at < size + radius[:, None]).all(1)
        if self._normals is not None:
            position = torch.from_numpy(np.asarray(camera.position, np.float32)).to(self.device)
            inside &= ((position - self._points) * self._normals).sum(1) > 0
        chosen = inside.nonzero()[:, 0]
        return at[chosen], depth[chosen], radius[chosen], slack[chosen], chosen


def _footprints(at: Tensor, radius: Tensor, width: int, height: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Pixels in reach of each disc, one offset at a time: (pixel, disc, of the pixel's middle from the disc's)."""
    corner = at.floor().long()
    reach = int(radius.max().ceil()) if len(radius) else 0
    for down in range(-reach, reach + 1):
        for across in range(-reach, reach + 1):
            disc = (radius.ceil() >= max(abs(down), abs(across))).nonzero()[:, 0]
            x, y = corner[disc, 0] + across, corner[disc, 1] + down
            offset = torch.stack([x, y], 1) + 0.5 - at[disc]
            near = (x >= 0) & (x < width) & (y >= 0) & (y < height)
            near &= offset.square().sum(1) <= (radius[disc] + 0.25) ** 2
            yield (y * width + x)[near], disc[near], offset[near]


def _centred(pixel: Tensor, offset: Tensor, radius: Tensor, pixels: int) -> Tensor:
    """Weights [n] that sum to 1 for each pixel, whose mean offset is 0 where there are discs all around it."""
    wide = (SHARP * radius).clamp_min(LEAST)
    across, down = offset.double().unbind(1)
    weight = (-1.5 * (across**2 + down**2) / wide.double() ** 2).exp()

    def summed(values: Tensor) -> Tensor:
        return torch.zeros(pixels, dtype=values.dtype, device=values.device).index_add(0, pixel, values)

    total, x, y = summed(weight), summed(weight * across), summed(weight * down)
    xx, yy = summed(weight * across**2) + RIDGE * total, summed(weight * down**2) + RIDGE * total
    xy = summed(weight * across * down)
    determinant = torch.where(total > 0, xx * yy - xy**2, 1.0)
    slope_x, slope_y = -(x * yy - y * xy) / determinant, -(y * xx - x * xy) / determinant
    weight = weight * (1 + slope_x[pixel] * across + slope_y[pixel] * down).clamp_min(0)
    return (weight / summed(weight)[pixel]).float()
