"""Painted charts are changed until views that nobody has asked for yet agree, with nearly as much detail as before.

They need not agree more than the scene's own views do: every step costs strokes.

Views are linear in the charts, what a warped view differs by from another one is linear in both, and so is what a mean
of 3 x 3 pixels takes away. A step goes down the slope of the squared differences, less as much of the slope of the
detail's energy as keeps that, place by place: else detail would leave floors for edges that views show alike, and
floors would blur. Most of the last step is gone once more (heavy ball, Polyak, 1964), which takes half the steps.

Every step looks from other places: charts that are changed for a few views agree less between these, as no two views'
pixels show the same places. So what is measured before a step, and says when it is enough, is not what was fitted last.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels.splatting import add_shares

from ..quality.similarity import low_frequencies
from .camera import Camera
from .consistency import Warp, warp
from .pattern import Pattern
from .scene import Scene
from .splatting import Splats, splat

F32 = NDArray[np.float32]
#: Sets of views that steps take in turn, pairs of views beside each other in a set, and steps, at most.
SETS, PAIRS, STEPS = 4, 8, 18
#: How far apart in the order of all cameras views of a pair lie, and in that of pairs those that shall agree, too.
APART = (2, 2)
#: Of the energy of fine detail, what each step may take away and what they leave.
TAKEN, LEFT = 0.01, 0.95
#: By so much less than the plain scene's views may those differ that are looked at after each further step.
FURTHER = 0.005
#: How far a disc's colour may go from what was painted: eyes and outlines, which the plain scene has too, stay sharp.
MOST = 0.22
#: Pixels of these views' longer side, at most: all views and warps are in memory at once.
_LARGEST = 512
#: Of the step that each pixel of the atlas would take for itself, and how much of the last one is gone once more.
_STEP, _AGAIN = 1.1, 0.6
#: Of what the slope says is enough, how much is taken; the least share of a step.
_MORE, _LEAST = 1.3, 0.25
#: Pixels that views show less than this share of the middle one of take smaller steps.
_RARE = 0.3
#: Pixels of a side of the atlas's blocks that keep their own energy, each with those around it.
_BLOCK = 16


def agreeing(pattern: Pattern, scene: Scene, colours: F32) -> F32:
    """Colours [discs, 3] by which a scene's views agree more than by these, with about the same fine detail.

    Args:
        pattern: what changes are painted on, so that discs beside each other change alike.
        scene: its surfaces and background.
        colours: float32 [discs, 3] to begin with.
    """
    atlas = _Atlas(pattern)
    begun, lowest, highest = colours, np.maximum(colours - MOST, 0), np.minimum(colours + MOST, 1)
    sets: list[_Views] = []
    change = np.float32(0)
    for step in range(STEPS):
        if step < SETS:
            sets.append(_views(scene, atlas, step, begun))
        looks = sets[step % SETS]
        found = _slopes(looks, scene, colours)
        asked = (1 - FURTHER * step) ** 2 * looks.plain
        if (found.apart <= asked).all():
            break
        wanted = looks.energy * max(LEFT, 1 - TAKEN * (1 + step))
        down = _down(found, atlas, looks.rate, wanted)
        if down is None:
            break
        change = down + np.float32(_AGAIN) * change
        moved = atlas.colours(change)
        share = _needed(found, asked, moved)
        change, moved = share * change, share * moved
        colours = np.clip(colours + moved, lowest, highest)
    return colours


def cameras_between(scene: Scene, size: tuple[int, int], which: int) -> list[Camera]:
    """Cameras of a set, all along the way around a scene, none of them where its detail is measured.

    Args:
        scene: to look at.
        size: (width, height) of a chart.
        which: of the sets, from 0.

    Returns:
        Both of each pair, one pair after the other.
    """
    less = min(1.0, _LARGEST / max(size))
    every = 2 * SETS
    along = scene.views(4 * every * PAIRS, (round(size[0] * less), round(size[1] * less)))[1::4]
    first = which // APART[0] * 2 * APART[0] + which % APART[0]
    return [along[every * pair + first + other] for pair in range(PAIRS) for other in (0, APART[0])]


class _Atlas:
    """Which pixels of the atlas discs take their colours from: `Pattern.colours` and its transpose."""

    def __init__(self, pattern: Pattern) -> None:
        (width, height), (columns, rows) = pattern.size, pattern.grid
        self.size, self.shape = pattern.size, (height * rows, width * columns)
        self.discs = len(pattern.places)
        parts = [(y * (width * columns) + x, weight) for y, x, weight in pattern.corners()]
        taken = np.stack([weight for _, weight in parts])
        known = taken > 0
        self._taken = taken[known]
        self._from = np.stack([place for place, _ in parts])[known].astype(np.int32)
        discs = np.arange(self.discs, dtype=np.int32)[:, None]
        self._by = np.broadcast_to(discs, known.shape)[known]

    def colours(self, atlas: F32) -> F32:
        """Discs' values [discs, n] from the atlas's [pixels, n]."""
        found = np.zeros((self.discs, atlas.shape[1]), np.float32)
        add_shares(self._by, self._from, self._taken, atlas, found)
        return found

    def painted(self, values: F32) -> F32:
        """Slopes by the atlas's pixels [pixels, n] from those by discs [discs, n]."""
        found = np.zeros((self.shape[0] * self.shape[1], values.shape[1]), np.float32)
        add_shares(self._from, self._by, self._taken, values, found)
        return found


@dataclass(frozen=True, slots=True)
class _Views:
    """Views that shall agree, and what is asked of them.

    Attributes:
        views: a set of them.
        warps: between two of them: whether they are beside each other (0) or far apart (1), and their indices.
        plain: squared differences of warped views of the plain scene, by these two, summed.
        energy: of the fine detail that was painted.
        rate: float32 [pixels of the atlas, 1], how far each goes down its slope.
    """

    views: list[Splats]
    warps: dict[tuple[int, int, int], Warp]
    plain: NDArray[np.float64]
    energy: float
    rate: F32


def _views(scene: Scene, atlas: _Atlas, which: int, painted: F32) -> _Views:
    cameras = cameras_between(scene, atlas.size, which)
    views = [splat(scene, camera) for camera in cameras]
    warps = {}
    for distance, first, second in _pairs(bool(scene.cameras)):
        depths = (views[first].depth, views[second].depth)
        between = warp((cameras[first], cameras[second]), depths)
        if len(between.there):
            warps[distance, first, second] = between
    plain, _ = _differing(warps, _drawn(views, scene, scene.colours))
    energy = sum(_energy(view - low_frequencies(view)) for view in _drawn(views, scene, painted))
    return _Views(views, warps, plain, energy, _rate(views, atlas))


def _pairs(cameras: bool) -> list[tuple[int, int, int]]:
    """Pairs of views beside each other (0) and of first ones far apart (1), as indices in a set.

    Scenes without cameras are seen from all around: the first view follows the last one.
    """
    far = range(PAIRS - (APART[1] if cameras else 0))
    near = [(0, 2 * pair, 2 * pair + 1) for pair in range(PAIRS)]
    return near + [(1, 2 * pair, 2 * ((pair + APART[1]) % PAIRS)) for pair in far]


def _rate(views: list[Splats], atlas: _Atlas) -> F32:
    shown = np.sum([np.bincount(view.discs, view.weights, atlas.discs) for view in views], axis=0)
    often = atlas.painted(shown[:, None].astype(np.float32))
    middle = np.median(often[often > 0]) if often.any() else 1.0
    return np.float32(_STEP) / (often + np.float32(_RARE * middle))


def _drawn(views: list[Splats], scene: Scene, colours: F32) -> list[F32]:
    return [view.render(colours, scene.background) for view in views]


def _energy(values: F32) -> float:
    return float(np.vdot(values, values))


def _differing(
    warps: dict[tuple[int, int, int], Warp], drawn: list[F32]
) -> tuple[NDArray[np.float64], dict[tuple[int, int, int], F32]]:
    """What warped views differ by: by both distances, squared and summed, and each as it is."""
    flat = [view.reshape(-1, 3) for view in drawn]
    apart, wrong = np.zeros(2), {}
    for (distance, first, second), between in warps.items():
        differs = between.taken(flat[first]) - flat[second][between.there]
        wrong[distance, first, second] = differs
        apart[distance] += _energy(differs)
    return apart, wrong


@dataclass(frozen=True, slots=True)
class _Slopes:
    """What views have and by which discs it changes.

    Attributes:
        energy: of their fine detail.
        apart: as `_Views.plain`.
        slopes: halves of those of these differences' sum and of the energy, float32 [discs, 3 + 3].
    """

    energy: float
    apart: NDArray[np.float64]
    slopes: F32


def _slopes(looks: _Views, scene: Scene, colours: F32) -> _Slopes:
    drawn = _drawn(looks.views, scene, colours)
    apart, wrong = _differing(looks.warps, drawn)
    slopes = [np.zeros((view.shape[0] * view.shape[1], 3), np.float32) for view in drawn]
    for key, differs in wrong.items():
        _, first, second = key
        slopes[second][looks.warps[key].there] -= differs
        looks.warps[key].give_back(differs, slopes[first])
    energy, found = 0.0, np.zeros((len(colours), 6), np.float32)
    for view, picture, slope in zip(looks.views, drawn, slopes, strict=True):
        fine = picture - low_frequencies(picture)
        energy += _energy(fine)
        # What takes away a mean is, but for the borders, its own transpose.
        fine = (fine - low_frequencies(fine)).reshape(-1, 3)
        view.give_back(np.concatenate([slope, fine], axis=1), found)
    return _Slopes(energy, apart, found)


def _needed(found: _Slopes, asked: NDArray[np.float64], moved: F32) -> np.float32:
    """How much of a change of discs' colours [discs, 3] makes views differ by no more than asked: at most all of it.

    By the slope alone, which promises more than there is: so a little more is taken, and another step may follow.
    """
    lost = -2 * float(np.vdot(found.slopes[:, :3], moved)) / max(float(found.apart.sum()), 1e-12)
    wanted = 1 - float((asked / np.maximum(found.apart, 1e-12)).min())
    return np.float32(np.clip(_MORE * wanted / max(lost, 1e-12), _LEAST, 1))


def _down(found: _Slopes, atlas: _Atlas, rate: F32, wanted: float) -> F32 | None:
    """The atlas's change [pixels, 3] towards views that agree and have the wanted energy; None: they have no detail."""
    slopes = atlas.painted(found.slopes)
    apart, fine = slopes[:, :3], slopes[:, 3:]
    both, length = ((fine * rate * other).sum(axis=1) for other in (apart, fine))
    if float(length.sum()) <= 1e-12:
        return None
    # As much as keeps the energy, and what the last steps changed of it by going straight on.
    kept = _by_blocks(both, length, atlas.shape) + np.float32((wanted - found.energy) / (2 * float(length.sum())))
    return -rate * (apart - kept * fine)


def _by_blocks(above: F32, below: F32, shape: tuple[int, int]) -> F32:
    """Quotients [pixels, 1] of two values [pixels] that are summed over blocks around; of all where there is little."""
    sums = [_blocks(values.reshape(shape)) for values in (above, below)]
    little = np.float32(0.01) * sums[1].mean()
    quotients = (sums[0] + little * (above.sum() / below.sum())) / (sums[1] + little)
    wide = quotients.repeat(_BLOCK, axis=0).repeat(_BLOCK, axis=1)
    return wide[: shape[0], : shape[1]].reshape(-1, 1)


def _blocks(values: F32) -> F32:
    """Sums over blocks of an atlas [height, width], smoothed over those around each."""
    height, width = (-(-side // _BLOCK) for side in values.shape)
    padded = np.pad(values, [(0, -side % _BLOCK) for side in values.shape])
    sums = padded.reshape(height, _BLOCK, width, _BLOCK).sum(axis=(1, 3))
    return low_frequencies(sums[..., None])[..., 0]
