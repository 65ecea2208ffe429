"""Painted charts are changed until views that nobody has asked for yet agree, with as much fine detail as before.

They need not agree more than the scene's own views do: every step costs strokes.

Views are linear in the charts, what a warped view differs by from another one is linear in both, and so is what a mean
of 3 x 3 pixels takes away. A step goes down the slope of the squared differences, less as much of the slope of the
detail's energy as keeps that: detail goes where it agrees, to coarser strokes and to places that views show alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..quality.similarity import low_frequencies
from .camera import Camera
from .consistency import Warp, warp
from .pattern import Pattern
from .scene import Scene
from .splatting import Splats, splat

F32 = NDArray[np.float32]
#: Views, how far apart in their order those lie that shall agree, and steps towards it, at most.
VIEWS, APART, STEPS = 24, (1, 6), 12
#: Pixels of these views' longer side, at most: all views and warps are in memory at once.
_LARGEST = 512
#: Of the step that each pixel of the atlas would take for itself.
_STEP = 0.6
#: Pixels that views show less than this share of the middle one of take smaller steps.
_RARE = 0.3


@dataclass(frozen=True, slots=True)
class _Looks:
    """Views that shall agree, and warps between pairs of them: by how far apart they are, and their indices."""

    views: list[Splats]
    warps: dict[tuple[int, int, int], Warp]


def agreeing(pattern: Pattern, scene: Scene, colours: F32) -> F32:
    """Colours [discs, 3] by which a scene's views agree more than by these, with about the same fine detail.

    Args:
        pattern: what changes are painted on, so that discs beside each other change alike.
        scene: its surfaces and background.
        colours: float32 [discs, 3] to begin with.
    """
    looks = _looks(scene, pattern.size)
    if not looks.warps:
        return colours
    shown = np.sum([np.bincount(view.discs, view.weights, len(colours)) for view in looks.views], axis=0)
    often = _painted(pattern, shown[:, None].astype(np.float32))
    rate = np.float32(_STEP) / (often + np.float32(_RARE * np.median(often[often > 0])))
    plain = _slopes(looks, scene, scene.colours).apart
    wanted: float | None = None
    for _ in range(STEPS):
        found = _slopes(looks, scene, colours)
        if (found.apart <= plain).all():
            break
        energy, apart, fine = found.energy, found.to_agree, found.to_be_fine
        wanted = energy if wanted is None else wanted
        apart, fine = _painted(pattern, apart), _painted(pattern, fine)
        length = float((fine * rate * fine).sum())
        if length <= 1e-12:
            break
        # As much as keeps the energy, and what the last step lost of it by going straight on.
        kept = float((fine * rate * apart).sum()) / length + (wanted - energy) / (2 * length)
        change = pattern.colours(rate * (apart - np.float32(kept) * fine))
        colours = np.clip(colours - change, 0, 1).astype(np.float32)
    return colours


def cameras_between(scene: Scene, size: tuple[int, int]) -> list[Camera]:
    """Cameras all along the way around a scene, none of them where its detail is measured."""
    less = min(1.0, _LARGEST / max(size))
    return scene.views(4 * VIEWS, (round(size[0] * less), round(size[1] * less)))[1::4]


def _looks(scene: Scene, size: tuple[int, int]) -> _Looks:
    cameras = cameras_between(scene, size)
    views = [splat(scene, camera) for camera in cameras]
    found = {}
    for apart in APART:
        # Scenes without cameras are seen from all around: the first view follows the last one.
        for first in range(VIEWS - (apart if scene.cameras else 0)):
            second = (first + apart) % VIEWS
            depths = (views[first].depth, views[second].depth)
            between = warp((cameras[first], cameras[second]), depths)
            if len(between.there):
                found[apart, first, second] = between
    return _Looks(views, found)


@dataclass(frozen=True, slots=True)
class _Slopes:
    """What views have and by which discs it changes.

    Attributes:
        energy: of their fine detail.
        apart: by each distance in their order, squared differences of warped views, summed.
        to_agree, to_be_fine: half the slopes of these differences' sum and of the energy, float32 [discs, 3].
    """

    energy: float
    apart: NDArray[np.float64]
    to_agree: F32
    to_be_fine: F32


def _slopes(looks: _Looks, scene: Scene, colours: F32) -> _Slopes:
    drawn = [view.render(colours, scene.background) for view in looks.views]
    flat = [view.reshape(-1, 3) for view in drawn]
    slopes = [np.zeros_like(view) for view in flat]
    apart = np.zeros(len(APART))
    for (distance, first, second), between in looks.warps.items():
        wrong = between.taken(flat[first]) - flat[second][between.there]
        apart[APART.index(distance)] += np.square(wrong, dtype=np.float64).sum()
        slopes[second][between.there] -= wrong
        between.give_back(wrong, slopes[first])
    fine = [view - low_frequencies(view) for view in drawn]
    energy = float(sum(np.square(part, dtype=np.float64).sum() for part in fine))
    # What takes away a mean is, but for the borders, its own transpose.
    fine = [(part - low_frequencies(part)).reshape(-1, 3) for part in fine]
    discs = len(colours)
    return _Slopes(energy, apart, _discs(looks.views, slopes, discs), _discs(looks.views, fine, discs))


def _discs(views: list[Splats], slopes: list[F32], discs: int) -> F32:
    """Slopes by discs' colours [discs, 3] from those by views' pixels: the transpose of rendering."""
    found = np.zeros((discs, 3), np.float32)
    for view, slope in zip(views, slopes, strict=True):
        view.give_back(slope, found)
    return found


def _painted(pattern: Pattern, values: F32) -> F32:
    """Slopes by the atlas's pixels [height, width, n] from those by discs [discs, n]: the transpose of `colours`."""
    (width, height), (columns, rows) = pattern.size, pattern.grid
    wide, high = columns * width, rows * height
    found = np.zeros((high * wide, values.shape[1]), np.float32)
    for y, x, weight in pattern.corners():
        place = (y * wide + x).ravel()
        for channel in range(values.shape[1]):
            found[:, channel] += np.bincount(place, (weight * values[:, channel, None]).ravel(), minlength=len(found))
    return found.reshape(high, wide, -1)
