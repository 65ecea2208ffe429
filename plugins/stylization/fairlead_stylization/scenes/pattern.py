"""The pattern space: a few pictures in which every disc of a scene has its place, as texture has it on a mesh.

After the style pattern space of PNeSM (AAAI 2024): geometry says where in it a disc lies, appearance is what is painted
there, and a 2D stylizer that knows nothing of 3D works on the pictures. Where the paper fits a network for the places,
a pattern here is a set of charts: pictures taken by chosen cameras, so that patterns have the size in it that they have
in views, and nothing has to be trained for a scene. A disc takes its colour from the charts that see it best.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import BadSetting
from .camera import Camera, turntable
from .scene import Scene
from .splatting import Splats, splat

F32 = NDArray[np.float32]
#: Charts that a disc may take its colour from; the best one has most of it, so that two patterns rarely mix.
_SHARED, _SHARPNESS = 2, 20.0
#: Share of a chart's side at its borders over which its weight falls to nothing.
_BORDER = 0.08
#: Half the side of the largest square that is a hole in a surface and no background, in pixels.
_HOLE = 2
#: Cameras among which charts are chosen, and the share of discs that may be left to the nearest chart.
_CANDIDATES, _LEFT = 24, 0.01


@dataclass(frozen=True, slots=True)
class Pattern:
    """Where discs lie in charts.

    Attributes:
        splats: of each chart's camera.
        charts: int16 [discs, 2], that a disc takes its colour from, the best first.
        places: float32 [discs, 2, 2], (x, y) in pixels in each of them.
        weights: float32 [discs, 2], that sum to 1.
        unseen: bool [discs], whether no chart sees the disc: it takes the colours before it in the best one.
    """

    splats: tuple[Splats, ...]
    charts: NDArray[np.int16]
    places: F32
    weights: F32
    unseen: NDArray[np.bool_]

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of a chart."""
        return self.splats[0].size

    @property
    def grid(self) -> tuple[int, int]:
        """(columns, rows) of charts in the atlas."""
        columns = int(np.ceil(np.sqrt(len(self.splats))))
        return columns, -(-len(self.splats) // columns)

    def atlas(self, colours: F32, background: tuple[float, float, float] | F32) -> F32:
        """Paint discs' colours [discs, 3]: all charts in one picture, so that they share its statistics.

        Charts are what views are, with their background: a stylizer makes of them what it makes of views, outlines
        included. Only holes of a few pixels take the colours around: they are no content.
        """
        width, height = self.size
        columns, rows = self.grid
        painted = np.empty((rows * height, columns * width, 3), np.float32)
        for place in range(rows * columns):
            # Places without a chart repeat others.
            found = self.splats[place % len(self.splats)]
            chart = closed(found, colours, background)
            row, column = divmod(place, columns)
            painted[row * height : (row + 1) * height, column * width : (column + 1) * width] = chart
        return painted

    def charts_of(self, atlas: F32, background: tuple[float, float, float]) -> list[F32]:
        """Charts cut from an atlas, float32 [height, width, 3] each, with the background where they show nothing."""
        width, height = self.size
        cut = []
        for place, found in enumerate(self.splats):
            row, column = divmod(place, self.grid[0])
            chart = atlas[row * height : (row + 1) * height, column * width : (column + 1) * width]
            cut.append(np.where(found.seen[..., None], chart, np.float32(background)))
        return cut

    def colours(self, atlas: F32) -> F32:
        """Take discs' colours [discs, 3] from an atlas, bilinearly."""
        taken = [atlas[y, x] * weight[..., None] for y, x, weight in self.corners()]
        return np.sum(taken, axis=(0, 2)).astype(np.float32)

    def corners(self) -> list[tuple[NDArray[np.int64], NDArray[np.int64], F32]]:
        """Pixels of the atlas that discs take colours from: rows, columns and weights, each [discs, 2], 4 times."""
        width, height = self.size
        columns, _ = self.grid
        at = np.clip(self.places - 0.5, 0, np.float32([width - 1.001, height - 1.001]))
        corner = np.floor(at).astype(np.int64)
        share = at - corner
        left = (self.charts % columns).astype(np.int64) * width + corner[..., 0]
        top = (self.charts // columns).astype(np.int64) * height + corner[..., 1]
        found = []
        for down in (0, 1):
            for across in (0, 1):
                part = np.abs(1 - down - share[..., 1]) * np.abs(1 - across - share[..., 0])
                found.append((top + down, left + across, (part * self.weights).astype(np.float32)))
        return found


def fit_pattern(scene: Scene, *, charts: int = 6, size: int = 256) -> Pattern:
    """Choose charts for a scene and find where each disc lies in them.

    Args:
        scene: its discs; its cameras, where it has them, say from where it is looked at.
        charts: at most; fewer are taken where fewer see all.
        size: of a chart's side, in pixels: that of the views that will be rendered.

    Raises:
        BadSetting: a number that is not accepted.
    """
    if not 1 <= charts <= 64 or not 16 <= size <= 4096:
        raise BadSetting(f"charts {charts}, size {size}; accepted: from 1 to 64 charts of 16 to 4096 pixels")
    cameras = _candidates(scene, size)
    found = [splat(scene, camera) for camera in cameras]
    worth = np.stack([_worth(scene, camera, view) for camera, view in zip(cameras, found, strict=True)])
    chosen = _chosen(worth, charts)
    return _placed(scene, [cameras[index] for index in chosen], [found[index] for index in chosen], worth[chosen])


def _candidates(scene: Scene, size: int) -> list[Camera]:
    if scene.cameras:
        return scene.views(min(_CANDIDATES, 4 * len(scene.cameras)), (size, size))
    up = np.float32(scene.up)
    rings = ((-0.5, 6), (0.35, 12), (1.2, 6))
    return [
        camera
        for elevation, count in rings
        for camera in turntable(scene.centre, scene.radius, count, up=up, elevation=elevation, size=(size, size))
    ]


def _worth(scene: Scene, camera: Camera, view: Splats) -> F32:
    """How well a chart shows each disc, [discs]: 0 where it does not see it.

    Larger for discs that are near, face the camera, and lie away from the chart's border.
    """
    shown = np.zeros(len(scene.points), bool)
    shown[view.discs] = True
    pixels, depth = camera.project(scene.points)
    shown |= _behind(scene, camera, view) <= 1
    inner = np.minimum(pixels, np.float32(camera.size) - pixels).min(axis=1) / (_BORDER * min(camera.size))
    worth = np.clip(inner, 0, 1) / np.maximum(depth, 1e-6) * max(camera.focal)
    if scene.normals is not None:
        towards = camera.position - scene.points
        towards /= np.maximum(np.linalg.norm(towards, axis=1, keepdims=True), 1e-9)
        worth *= np.clip((towards * scene.normals).sum(axis=1), 0.05, 1)
    return np.where(shown, worth, 0).astype(np.float32)


def _chosen(worth: F32, most: int) -> list[int]:
    """Charts, one after the other, each the one that adds most to what the best chart of each disc is worth."""
    best = np.zeros(worth.shape[1], np.float32)
    whole = worth.max(axis=0)
    reachable = max(float((whole > 0).sum()), 1.0)
    chosen: list[int] = []
    while len(chosen) < most:
        gains = (np.maximum(worth, best) / np.maximum(whole, 1e-12)).sum(axis=1)
        index = int(np.argmax(gains))
        if index in chosen:
            break
        chosen.append(index)
        best = np.maximum(best, worth[index])
        if float((best[whole > 0] > 0.7 * whole[whole > 0]).sum()) >= (1 - _LEFT) * reachable:
            break
    return chosen


def _placed(scene: Scene, cameras: list[Camera], found: list[Splats], worth: F32) -> Pattern:
    shared = min(_SHARED, len(cameras))
    order = np.argsort(-worth, axis=0, kind="stable")[:shared].T
    values = np.take_along_axis(worth.T, order, axis=1)
    values = (values / np.maximum(values.max(axis=1, keepdims=True), 1e-12)) ** _SHARPNESS
    unseen = values.sum(axis=1) <= 0
    values[unseen, 0] = 1
    pixels = np.stack([camera.project(scene.points)[0] for camera in cameras], axis=1)
    # Discs that others hide look like those right before them, if these are near.
    behind = np.stack([_behind(scene, camera, view) for camera, view in zip(cameras, found, strict=True)])
    order[unseen, 0] = np.argmin(behind[:, unseen], axis=0)
    if shared < _SHARED:
        order, values = np.repeat(order, 2, axis=1), np.concatenate([values, np.zeros_like(values)], axis=1)
    return Pattern(
        tuple(found),
        order.astype(np.int16),
        np.take_along_axis(pixels, order[..., None], axis=1).astype(np.float32),
        (values / values.sum(axis=1, keepdims=True)).astype(np.float32),
        unseen,
    )


def _behind(scene: Scene, camera: Camera, view: Splats) -> F32:
    """How far each disc lies behind what its pixel shows, in its own diameters, [discs]; infinite outside the chart."""
    pixels, depth = camera.project(scene.points)
    inside = (depth > 0) & (pixels >= 0).all(axis=1) & (pixels < np.float32(camera.size)).all(axis=1)
    at = np.floor(np.where(inside[:, None], pixels, 0)).astype(np.int64)
    nearest = view.depth[at[:, 1], at[:, 0]]
    gap = (depth - np.where(np.isfinite(nearest), nearest, 0)) / (2 * scene.radii)
    return np.where(inside, np.maximum(gap, 0), np.inf).astype(np.float32)


def closed(view: Splats, colours: F32, background: tuple[float, float, float] | F32) -> F32:
    """A view float32 [height, width, 3] of colours [discs, 3], the small holes between a surface's discs closed."""
    return spread_inwards(view.render(colours, background), view.seen | wide(~view.seen, _HOLE))


def wide(mask: NDArray[np.bool_], reach: int) -> NDArray[np.bool_]:
    """Where a mask [height, width] holds whole squares of 2 reach + 1 pixels: its opening; it goes on past its border.

    Args:
        mask: of anything.
        reach: half the squares' side.
    """
    return _grown(~_grown(~mask, reach), reach)


def _grown(mask: NDArray[np.bool_], reach: int) -> NDArray[np.bool_]:
    """A mask and all within a square around it."""
    for axis in (0, 1):
        padded = np.pad(mask, [(reach, reach) if axis == place else (0, 0) for place in (0, 1)])
        mask = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1, axis=axis).any(axis=-1)
    return mask


def spread_inwards(picture: F32, known: NDArray[np.bool_]) -> F32:
    """Fill unknown pixels from known ones around, coarse to fine (push-pull, Gortler et al., 1996).

    Args:
        picture: float32 [height, width, channels].
        known: [height, width]; where nothing is, the picture is returned as it is.
    """
    if known.all() or not known.any():
        return picture
    weight = known.astype(np.float32)[..., None]
    return _pulled(picture * weight, weight)


def _pulled(summed: F32, weight: F32) -> F32:
    """Values of sums by weights; where a weight is 0, of the level above."""
    height, width = weight.shape[:2]
    if height == 1 and width == 1:
        return summed / np.maximum(weight, 1e-12)
    padding = ((0, height % 2), (0, width % 2), (0, 0))
    padded, weights = np.pad(summed, padding), np.pad(weight, padding)
    halves = (padded.shape[0] // 2, 2, padded.shape[1] // 2, 2, -1)
    above = _pulled(padded.reshape(halves).sum(axis=(1, 3)), weights.reshape(halves).sum(axis=(1, 3)))
    spread = above.repeat(2, axis=0).repeat(2, axis=1)[:height, :width]
    if min(height, width) > 8:
        # Blocks of a coarse level would be edges that a stylizer paints.
        edge = np.pad(spread, ((1, 1), (1, 1), (0, 0)), mode="edge")
        spread = sum(edge[y : y + height, x : x + width] for y in range(3) for x in range(3)) / np.float32(9)
    return np.where(weight > 0, summed / np.maximum(weight, 1e-12), spread).astype(np.float32)
