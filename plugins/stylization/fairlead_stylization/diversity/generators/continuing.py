"""Holes filled with what goes on from around them: lines, edges and textures, made of pieces of the same picture.

Coarse to fine, as Wexler et al. (PAMI 2007): each patch that touches a hole looks for the known patch nearest to it,
what those say about a place is averaged, and so on. What the hole begins with leads the coarsest size. In the end each
place is copied from where its nearest patches say, so that steps of colours are those of one patch (Poisson's way).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from ...pictures import floats
from ...stylizer import Content
from .filling import curvature, membrane
from .patches import F32, HALF, PATCH, Bools, Ints, Level, grown, nearest
from .resizing import Enlarged, reduced, reduced_hole, reduced_size

#: Unknown pixels, and pixels around them, that patches are looked for in; larger ones are looked at in a smaller size.
UNKNOWN, AROUND = 24_000, 512 * 512
#: Pixels around a hole that are looked at, at least, and of its longer side.
MARGIN, BESIDE = 64, 0.75
#: Rounds at the coarsest size, how many fewer at each finer one, and at least.
ROUNDS, FEWER, LEAST = 12, 2, 4
#: Pixels to what is known at the coarsest size, at most.
NARROW = 2.5
#: How much more a patch is believed than one that is a pixel deeper in the hole.
TRUST = 1.8
#: How much sharper patches' shares become over a size's rounds.
SHARPER = 3.0
#: Pixels over which patches are mixed in rounds, and in what is given.
MIXED, COPIED = 9.0, 1.0
#: Side of the square over which roughness is averaged.
ROUGH_SIDE = 15
#: How much copied colours count beside their steps from place to place, and steps of conjugate gradients.
TIED, SOLVED = 0.003, 80
#: Pixels that are voted about at once.
CHUNK = 32_768
#: Places along a side that a seed draws how much to avoid.
AVOIDED = 6


class Field:
    """Where the patches of a level are copied from.

    Args:
        level: of the picture.
        found: [n, 2], the middles of what its places show.
        costs: [n], squared distances: what fits better is believed more.
        sharp: how much more.
    """

    def __init__(self, level: Level, found: Ints, costs: F32, sharp: float = 1.0) -> None:
        usual = max(1e-6, float(np.percentile(costs, 75)) / sharp)
        deep = TRUST ** -level.depth[level.places[:, 0], level.places[:, 1]]
        trust = deep * np.exp(-np.minimum(costs / (2 * usual), 40)) + 1e-30
        self.level, self._offsets = level, np.append(found - level.places, [[0, 0]], axis=0)
        self._trust = np.append(trust, 0).astype(np.float32)

    def voted(self, planes: NDArray[np.generic], pixels: Ints, mixed: float, reach: int = HALF) -> F32:
        """What patches say about pixels [n, 2] of planes [h, w, c], which may be larger than the level: [n, c].

        Args:
            planes: floats, or colours in bytes.
            pixels: in the hole, or beside it.
            mixed: standard deviation in the level's pixels of how much patches beside a pixel count.
            reach: of patches beside a pixel that count.
        """
        parts = [
            self._voted(planes, pixels[first : first + CHUNK], mixed, reach) for first in range(0, len(pixels), CHUNK)
        ]
        return np.concatenate(parts) if parts else np.zeros((0, planes.shape[2]), np.float32)

    def _voted(self, planes: NDArray[np.generic], pixels: Ints, mixed: float, reach: int) -> F32:
        size, most = np.array(self.level.hole.shape), np.array(planes.shape[:2]) - 1
        scale = (most + 1) / size
        cells = ((pixels + 0.5) / scale).astype(np.int64).clip(HALF, size - 1 - HALF)
        offsets = np.rint(self._offsets * scale).astype(np.int64)
        total, shares = np.zeros((len(pixels), planes.shape[2]), np.float32), np.zeros((len(pixels), 1), np.float32)
        for step in np.ndindex(2 * reach + 1, 2 * reach + 1):
            beside = np.array(step) - reach
            which = self.level.number(cells + beside)
            share = self._trust[which][:, None] * np.float32(np.exp(-(beside @ beside) / (2 * mixed**2)))
            y, x = (pixels + offsets[which]).clip(0, most).T
            total += share * floats(planes[y, x])
            shares += share
        return total / np.maximum(shares, 1e-37)

    def finer(self, level: Level, rng: np.random.Generator) -> Ints:
        """Where a level of twice the size begins to look, [n, 2]; anywhere where nothing is known of it."""
        size = np.array(self.level.hole.shape)
        cells = (level.places // 2).clip(HALF, size - 1 - HALF)
        found = level.places + 2 * self._offsets[self.level.number(cells)]
        return np.where(level.usable(found)[:, None], found, anywhere(level, rng))


def anywhere(level: Level, rng: np.random.Generator) -> Ints:
    """Random known patches for all places, [n, 2]."""
    found: Ints = level.sources[rng.integers(0, len(level.sources), len(level.places))]
    return found


class Continued:
    """A hole's filling.

    Args:
        picture: [h, w, 3].
        hole: [h, w], above 0 where nothing is known.
        begun: [1, 3, any, any], the whole picture with something in its hole, which leads what is there.
        seed: the same one fills in the same way again.
        disliked: by how much of itself the squared distance to places that the seed draws grows at most: others are
            copied for each seed.
        tone: [1, 3, any, any], of the whole picture; what is added to the hole's colours.
    """

    def __init__(
        self,
        picture: Content,
        hole: F32,
        begun: torch.Tensor,
        seed: int | Sequence[int] = 0,
        disliked: float = 0.0,
        tone: torch.Tensor | None = None,
    ) -> None:
        self._rows, self._columns = (_around(hole.max(axis=axis) > 0, hole) for axis in (1, 0))
        self._picture, self._hole = (part[self._rows, self._columns] for part in (picture, hole))
        size = reduced_size(self._hole.shape, _most(self._hole))
        small = reduced(self._picture, size[0] * size[1])
        unknown = reduced_hole(self._hole, size[0] * size[1]) > 0
        part = functional.interpolate(_part(begun, hole.shape, self._rows, self._columns), size=small.shape[2:])
        whole = torch.where(torch.from_numpy(unknown), part, small)[0].permute(1, 2, 0).numpy()
        rng = np.random.default_rng(seed)
        levels = _levels(whole, unknown, disliked, rng)
        self._field = _field(levels, rng) if levels else None
        self._seam = None if self._field is None else _seam(self._field)
        if tone is not None and self._seam is not None:
            added = _part(tone, hole.shape, self._rows, self._columns)
            self._seam = self._seam + functional.interpolate(added, size=small.shape[2:], mode="bilinear")

    def fill(self, rows: slice, made: torch.Tensor) -> torch.Tensor:
        """Rows of the picture [1, 3, n, w] with a hole filled otherwise to rows with it filled by this."""
        first, last = max(rows.start, self._rows.start), min(rows.stop, self._rows.stop)
        if self._field is None or self._seam is None or first >= last:
            return made
        inner = slice(first - self._rows.start, last - self._rows.start)
        pixels = np.argwhere(self._hole[inner] > 0)
        seam = Enlarged(self._seam, self._hole.shape).rows(inner)[0].permute(1, 2, 0).numpy()
        values = seam[pixels[:, 0], pixels[:, 1]]
        values += self._field.voted(self._picture, pixels + np.array((inner.start, 0)), COPIED, HALF - 1)
        result = made.clone()
        result[0, :, pixels[:, 0] + first - rows.start, pixels[:, 1] + self._columns.start] = torch.from_numpy(values.T)
        return result.clamp(0, 1)


def _around(any_unknown: NDArray[np.bool_], hole: F32) -> slice:
    """The part of a side that is looked at."""
    at = np.flatnonzero(any_unknown)
    margin = max(MARGIN, int(BESIDE * (at[-1] + 1 - at[0])))
    return slice(max(0, int(at[0]) - margin), min(len(any_unknown), int(at[-1]) + 1 + margin))


def _most(hole: F32) -> int:
    return max(1, min(AROUND, int(hole.size * min(1.0, UNKNOWN / np.count_nonzero(hole)))))


def _part(begun: torch.Tensor, size: tuple[int, ...], rows: slice, columns: slice) -> torch.Tensor:
    spans = []
    for own, whole, span in zip(begun.shape[2:], size, (rows, columns), strict=True):
        first = span.start * own // whole
        spans.append(slice(first, max(first + 1, -(-span.stop * own // whole))))
    return begun[:, :, spans[0], spans[1]]


def _levels(picture: F32, hole: Bools, disliked: float, rng: np.random.Generator) -> list[Level]:
    """From fine to coarse, as long as there are patches; none where even the finest has none."""
    planes, found = np.concatenate([picture, _roughness(picture, hole)], axis=2), []
    drawn = torch.from_numpy(disliked * rng.random((1, 1, AVOIDED, AVOIDED)).astype(np.float32))
    while min(hole.shape) >= PATCH:
        avoided = functional.interpolate(drawn, size=hole.shape, mode="bilinear")[0, 0].numpy()
        level = Level(planes, hole, avoided)
        if not len(level.sources):
            break
        found.append(level)
        if level.depth.max() <= NARROW:
            break
        planes, hole = _halved(planes), _halved(hole[..., None].astype(np.float32))[..., 0] > 0
    return found


def _field(levels: list[Level], rng: np.random.Generator) -> Field:
    level = levels[-1]
    found, rounds = anywhere(level, rng), ROUNDS
    while True:
        for turn in range(rounds):
            found, costs = nearest(level, found, rng)
            made = Field(level, found, costs, 1 + SHARPER * turn / rounds)
            level.fill(made.voted(level.planes, np.argwhere(level.hole), MIXED))
        levels.pop()
        if not levels:
            return made
        level, rounds = levels[-1], max(LEAST, rounds - FEWER)
        found = made.finer(level, rng)
        begun = Field(level, found, np.ones(len(found), np.float32))
        level.fill(begun.voted(level.planes, np.argwhere(level.hole), MIXED))


def _seam(made: Field) -> torch.Tensor:
    """What is added to copied colours so that they go over into each other and into what is known, [1, 3, h, w].

    Steps between neighbours are those within patches (Perez et al., SIGGRAPH 2003, as far as `TIED` allows).
    """
    level, colours = made.level, made.level.planes[..., :3]
    forward = [np.diff(colours, axis=axis, append=np.take(colours, [-1], axis)) for axis in (0, 1)]
    near = grown(level.hole, 1)
    voted = np.concatenate([colours, *forward], axis=2)
    voted[near] = made.voted(voted, np.argwhere(near), COPIED, HALF - 1)
    whole = np.where(level.hole[..., None], voted[..., :3], colours)
    wanted = np.zeros_like(whole)
    for axis, step in enumerate((voted[..., 3:6], voted[..., 6:])):
        missing = step - np.diff(whole, axis=axis, append=np.take(whole, [-1], axis))
        missing *= near[..., None]
        np.moveaxis(missing, axis, 0)[-1] = 0
        wanted -= np.diff(missing, axis=axis, prepend=np.zeros_like(np.take(missing, [0], axis)))
    return _solved(torch.from_numpy(wanted).permute(2, 0, 1)[None], torch.from_numpy(level.hole.astype(np.float32)))


def _solved(wanted: torch.Tensor, hole: torch.Tensor) -> torch.Tensor:
    """What has a given curvature in a hole and is nothing outside, by conjugate gradients."""
    left = wanted * hole
    made, step, size = torch.zeros_like(left), left.clone(), left.square().sum()
    for _ in range(SOLVED):
        if float(size) < 1e-9:
            break
        bent = (TIED * step - curvature(step)) * hole
        length = size / (step * bent).sum()
        made, left = made + length * step, left - length * bent
        before, size = size, left.square().sum()
        step = left + size / before * step
    return made


def _halved(planes: F32) -> F32:
    whole = torch.from_numpy(np.ascontiguousarray(planes)).permute(2, 0, 1)[None]
    even = functional.pad(whole, (0, planes.shape[1] % 2, 0, planes.shape[0] % 2), mode="replicate")
    return functional.avg_pool2d(even, 2)[0].permute(1, 2, 0).numpy()


def _roughness(picture: F32, hole: Bools) -> F32:
    """Mean steps of light along both axes around each place, [h, w, 2]; a hole's as a membrane between known ones."""
    light = picture.mean(axis=2)
    steps = [np.abs(np.diff(light, axis=axis, append=np.take(light, [-1], axis))) for axis in (1, 0)]
    mask = torch.from_numpy(grown(hole, 1).astype(np.float32))[None, None]
    known = membrane(torch.from_numpy(np.stack([*steps, light]))[None], mask)[:, :2]
    side = ROUGH_SIDE // 2
    mean = functional.avg_pool2d(known, ROUGH_SIDE, 1, side, count_include_pad=False)
    return mean[0].permute(1, 2, 0).numpy()
