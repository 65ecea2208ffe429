"""Whether views of a scene agree: what one shows of a place, another one has to show of it too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels.splatting import add_shares

from .camera import Camera

F32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Warp:
    """Which pixels of a view show what another one shows, and where that one does.

    Attributes:
        there: int32 [n], pixels of the second view, row by row.
        near: int32 [4, n], pixels of the first one that are mixed for each.
        shares: float32 [4, n], how much of each: they sum to 1.
    """

    there: NDArray[np.int32]
    near: NDArray[np.int32]
    shares: F32

    def taken(self, first: F32) -> F32:
        """Values [n, channels] of the first view [pixels, channels] where the second one shows the same."""
        mixed = np.zeros((len(self.there), first.shape[1]), np.float32)
        add_shares(self._own(), self.near.ravel(), self.shares.ravel(), first, mixed)
        return mixed

    def give_back(self, values: F32, first: F32) -> None:
        """Add values [n, channels] to the pixels [pixels, channels] that they were taken from."""
        add_shares(self.near.ravel(), self._own(), self.shares.ravel(), values, first)

    def _own(self) -> NDArray[np.int32]:
        return np.tile(np.arange(len(self.there), dtype=np.int32), len(self.near))


def warp(cameras: tuple[Camera, Camera], depths: tuple[F32, F32]) -> Warp:
    """Find where a view shows what another one shows, by the scene's depth, over what both see (Lai et al., 2018).

    Args:
        cameras, depths: of both; depths [height, width] are infinite where nothing is.
    """
    height, width = depths[1].shape
    y, x = np.nonzero(np.isfinite(depths[1]))
    pixels = np.stack([x, y], axis=1).astype(np.float32) + 0.5
    points = cameras[1].unproject(pixels, depths[1][y, x])
    there, far = cameras[0].project(points)
    at = there - 0.5
    inside = (at >= 0).all(axis=1) & (at < np.float32([width - 1, height - 1])).all(axis=1) & (far > 0)
    y, x, at, far = y[inside], x[inside], at[inside], far[inside]
    corner = np.floor(at).astype(np.int64)
    near = np.stack([depths[0][corner[:, 1] + down, corner[:, 0] + across] for down in (0, 1) for across in (0, 1)])
    # All four pixels that are mixed must show the surface that is meant, or something else is compared.
    same = (np.abs(near - far) < 0.02 * far).all(axis=0)
    y, x, at, corner = y[same], x[same], at[same], corner[same]
    share = at - corner
    places, shares = [], []
    for down in (0, 1):
        for across in (0, 1):
            places.append((corner[:, 1] + down) * width + corner[:, 0] + across)
            shares.append(np.abs(1 - down - share[:, 1]) * np.abs(1 - across - share[:, 0]))
    return Warp(
        (y * width + x).astype(np.int32), np.stack(places).astype(np.int32), np.stack(shares).astype(np.float32)
    )


def warped_error(first: F32, second: F32, cameras: tuple[Camera, Camera], depths: tuple[F32, F32]) -> float:
    """RMSE between a view and another one warped to it by the scene's depth, over what both see (Lai et al., 2018).

    Args:
        first, second: views float32 [height, width, 3].
        cameras, depths: of them; depths [height, width] are infinite where nothing is.

    Returns:
        NaN where nothing is in both.
    """
    between = warp(cameras, depths)
    if not len(between.there):
        return float("nan")
    wrong = between.taken(first.reshape(-1, first.shape[2])) - second.reshape(-1, second.shape[2])[between.there]
    return float(np.sqrt((wrong**2).mean()))


def consistency(views: Sequence[F32], cameras: Sequence[Camera], depths: Sequence[F32], apart: int) -> float:
    """Mean warped error of all pairs of views that lie ``apart`` in their order; NaN where no pair shares anything.

    1 is short range and 7 is long range in the literature.
    """
    found = [
        warped_error(views[at], views[at + apart], (cameras[at], cameras[at + apart]), (depths[at], depths[at + apart]))
        for at in range(len(views) - apart)
    ]
    good = [value for value in found if np.isfinite(value)]
    return float(np.mean(good)) if good else float("nan")
