"""Painted charts are changed until views that nobody has asked for yet agree, with nearly as much detail as before.

They need not agree more than the scene's own views do: every step costs strokes.

Views are linear in the charts, what a warped view differs by from another one is linear in both, and so is what a mean
of 3 x 3 pixels takes away. A step goes down the slope of the squared differences, less as much of the slope of the
detail's energy as keeps that, place by place: else detail would leave floors for edges that views show alike, and
floors would blur. Most of the last step is gone once more (heavy ball, Polyak, 1964), which takes half the steps.

Every step looks from other places: charts that are changed for a few views agree less between these, as no two views'
pixels show the same places. So what is measured before a step, and says when it is enough, is not what was fitted last.

What agrees is coarser, has less of the style and shows less of the scene. Where these losses are held, steps also go
down their slope, by as much as takes back what is above: there are pictures that agree and have both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels.splatting import add_shares

from ..quality.similarity import low_frequencies
from .camera import Camera
from .consistency import Warp, warp
from .pattern import Pattern
from .refinement import Slope
from .scene import Scene
from .splatting import Splats, splat

F32 = NDArray[np.float32]
#: Sets of views that steps take in turn, and pairs of views beside each other in a set.
SETS, PAIRS = 4, 8
#: How far apart in the order of all cameras views of a pair lie, and in that of pairs those that shall agree, too.
APART = (2, 2)
#: Of the energy of fine detail, what each step may take away.
TAKEN = 0.01
#: By so much less than the plain scene's views may those differ that are looked at after each further step, of so many.
FURTHER, FIRST = 0.005, 18
#: Pixels of these views' longer side, at most: all views and warps are in memory at once.
_LARGEST = 512
#: Of the step that each pixel of the atlas would take for itself.
_STEP = 1.1
#: How long at most what takes back losses is, by the length of the rest of the step.
_PULL = 3.0
#: How much the content counts beside the style: without it eyes and patches are painted over.
CONTENT = 0.5
#: Of a set's views every so many tell what is held, others the next time.
_EVERY = 2
#: Of what the slope says is enough, how much is taken; the least share of a step.
_MORE, _LEAST = 1.3, 0.25
#: Pixels that views show less than this share of the middle one of take smaller steps.
_RARE = 0.3
#: Pixels of a side of the atlas's blocks that keep their own energy, each with those around it.
_BLOCK = 16


@dataclass(frozen=True, slots=True)
class Reach:
    """How far charts may be changed.

    Attributes:
        steps: at most.
        again: how much of the last step is gone once more.
        left: of the energy of fine detail.
        most: how far a disc's colour may go from what was painted.
        tint: and how far from becoming lighter or darker alone.
    """

    steps: int
    again: float
    left: float
    most: float
    tint: float


#: What nothing holds stays near what was painted: eyes and outlines, which the plain scene has too, stay sharp.
FREE = Reach(18, 0.6, 0.95, 0.22, 0.3)
HELD = Reach(54, 0.8, 0.94, 0.4, 0.12)


@dataclass(frozen=True, slots=True)
class Held:
    """What views shall keep of a style and of the scene.

    Attributes:
        slope: tells both losses, and how they change.
        most: mean of views, of the style loss plus `hold` times the content loss.
        hold: how much that counts.
    """

    slope: Slope
    most: float
    hold: float

    @classmethod
    def of(cls, slope: Slope, drawn: Sequence[F32], plain: Sequence[F32]) -> Held:
        """As much as pictures have that a stylizer draws of views: either loss counts by how much there is of it.

        Args:
            slope: of the style.
            drawn, plain: of views, float32 [height, width, 3] each.
        """
        losses = [slope.slope(made, view, 0.0)[:2] for made, view in zip(drawn, plain, strict=True)]
        style, content = np.mean(losses, axis=0)
        return cls(slope, float((1 + CONTENT) * style), float(CONTENT * style / max(content, 1e-12)))


def agreeing(pattern: Pattern, scene: Scene, colours: F32, held: Held | None = None) -> F32:
    """Colours [discs, 3] by which a scene's views agree more than by these, with about the same fine detail.

    Args:
        pattern: what changes are painted on, so that discs beside each other change alike.
        scene: its surfaces and background.
        colours: float32 [discs, 3] to begin with.
        held: what views keep of a style, and of the scene.
    """
    atlas = _Atlas(pattern)
    begun, reach = colours, HELD if held else FREE
    sets: list[_Views] = []
    change = np.zeros((atlas.shape[0] * atlas.shape[1], 3), np.float32)
    for step in range(reach.steps):
        if step < SETS:
            sets.append(_views(scene, atlas, step, begun))
        looks = sets[step % SETS]
        found = _slopes(looks, scene, colours, held, step // SETS % _EVERY)
        asked = (1 - FURTHER * min(step, FIRST)) ** 2 * looks.plain
        if (found.apart <= asked).all():
            break
        wanted = looks.energy * max(reach.left, 1 - TAKEN * (1 + step))
        down = _down(found, atlas, looks.rate, wanted, np.float32(reach.again) * change, held)
        if down is None:
            break
        moved = atlas.colours(down)
        share = _needed(found, asked, moved)
        change, moved = share * down, share * moved
        colours = _within(reach, begun, colours + moved)
    return colours


def _within(reach: Reach, begun: F32, colours: F32) -> F32:
    """Colours [discs, 3] that are not too far from what was painted."""
    change = np.clip(colours - begun, -reach.most, reach.most)
    lighter = change.mean(axis=1, keepdims=True)
    change = lighter + np.clip(change - lighter, -reach.tint, reach.tint)
    return np.clip(begun + change, 0, 1).astype(np.float32)


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
        slopes: halves of those of these differences' sum and of the energy, float32 [discs, 3 + 3], and that of
            what is held, [discs, 3], where something is.
        loss: what is held; 0 where nothing is.
    """

    energy: float
    apart: NDArray[np.float64]
    slopes: F32
    loss: float


def _slopes(looks: _Views, scene: Scene, colours: F32, held: Held | None, turn: int) -> _Slopes:
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
    if held is None:
        return _Slopes(energy, apart, found, 0.0)
    loss, slope = _losses(looks, scene, drawn, held, turn)
    return _Slopes(energy, apart, np.concatenate([found, slope], axis=1), loss)


def _losses(looks: _Views, scene: Scene, drawn: list[F32], held: Held, turn: int) -> tuple[float, F32]:
    """What is held, mean of some views, and by how much each disc's colour changes it, [discs, 3]."""
    found, losses = np.zeros_like(scene.colours), []
    for view, picture in list(zip(looks.views, drawn, strict=True))[turn::_EVERY]:
        plain = np.clip(view.render(scene.colours, scene.background), 0, 1)
        style, content, slope = held.slope.slope(np.clip(picture, 0, 1), plain, held.hold)
        losses.append(style + held.hold * content)
        view.give_back(np.where(view.seen[..., None], slope, np.float32(0)).reshape(-1, 3), found)
    return float(np.mean(losses)), found / np.float32(len(losses))


def _needed(found: _Slopes, asked: NDArray[np.float64], moved: F32) -> np.float32:
    """How much of a change of discs' colours [discs, 3] makes views differ by no more than asked: at most all of it.

    By the slope alone, which promises more than there is: so a little more is taken, and another step may follow.
    """
    lost = -2 * float(np.vdot(found.slopes[:, :3], moved)) / max(float(found.apart.sum()), 1e-12)
    wanted = 1 - float((asked / np.maximum(found.apart, 1e-12)).min())
    return np.float32(np.clip(_MORE * wanted / max(lost, 1e-12), _LEAST, 1))


def _down(found: _Slopes, atlas: _Atlas, rate: F32, wanted: float, before: F32, held: Held | None) -> F32 | None:
    """The atlas's change [pixels, 3] towards views that agree and have the wanted energy; None: they have no detail.

    What is gone once more of the change before is part of it.
    """
    slopes = atlas.painted(found.slopes)
    apart, fine, lost = slopes[:, :3], slopes[:, 3:6], slopes[:, 6:]
    length = (fine * rate * fine).sum(axis=1)
    if float(length.sum()) <= 1e-12:
        return None

    def straight(slope: F32) -> F32:
        """As much of the detail's slope as keeps its energy when another one is gone down."""
        return _by_blocks((fine * rate * slope).sum(axis=1), length, atlas.shape)

    # What the last steps changed of the energy by going straight on is put right, too.
    kept = straight(apart) + np.float32((wanted - found.energy) / (2 * float(length.sum())))
    down = -rate * (apart - kept * fine) + before
    if held is None:
        return down
    nearer = -rate * (lost - straight(lost) * fine)
    return down + _pull(held.most - found.loss - float(np.vdot(lost, down)), lost, nearer, down) * nearer


def _pull(missing: float, lost: F32, nearer: F32, down: F32) -> np.float32:
    """How much of a change [pixels, 3] takes what is held to where it shall be, by its slope."""
    by = float(np.vdot(lost, nearer))
    if missing >= 0 or by >= 0:
        return np.float32(0)
    longest = _PULL * float(np.linalg.norm(down)) / max(float(np.linalg.norm(nearer)), 1e-12)
    return np.float32(min(missing / by, longest))


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
