"""Patches that touch a hole, and the known patches nearest to them, in NumPy.

Where there are few patches all are compared, else neighbours' finds and random places are tried (PatchMatch, Barnes et
al., SIGGRAPH 2009), for all patches at once. How rough a place is counts too (Newson et al., IPOL 2017): else smooth
patches always fit best.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

F32 = NDArray[np.float32]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

#: Of a patch's side in pixels, and from its middle to its edge.
PATCH, HALF = 7, 3
#: Pairs of patches, and known ones, up to which all are compared.
PAIRS, KNOWN = 12_000_000, 20_000
#: How much a step of light between neighbours counts beside a patch's colours.
ROUGH = 4.0
#: A neighbour's find is taken unless it is more than so much worse: whole pieces stay together.
TOGETHER = 0.92
#: Patches that are compared at once.
CHUNK = 8192
#: Neighbours' distances that are tried, and a random step's share of the one before it.
_NEAR, _SHRINK = (4, 1), 3
_STEPS = ((0, 1), (0, -1), (1, 0), (-1, 0))
_DEEPEST = 64


class Level:
    """A picture in one size.

    Args:
        planes: [h, w, 5], colours in [0, 1] and how rough places are; what is in the hole may change later.
        hole: [h, w], where nothing is known.
        disliked: [h, w], by how much of itself the squared distance to a known patch grows.

    Attributes:
        places: [n, 2], middles (row, column) of patches that touch the hole.
        sources: [m, 2], those of patches that do not.
        depth: [h, w], pixels to what is known, 0 there.
    """

    def __init__(self, planes: F32, hole: Bools, disliked: F32) -> None:
        self.hole, self.disliked, self.depth = hole, disliked, _depth(hole)
        self._colours, self._rough = planes[..., :3].copy(), PATCH * ROUGH * planes[..., 3:]
        touched, whole = grown(hole, HALF), np.zeros_like(hole)
        whole[HALF : hole.shape[0] - HALF, HALF : hole.shape[1] - HALF] = True
        self._usable = whole & ~touched
        self.places, self.sources = np.argwhere(whole & touched), np.argwhere(self._usable)
        self._index = np.full([side + 2 * HALF for side in hole.shape], len(self.places))
        self._index[self.places[:, 0] + HALF, self.places[:, 1] + HALF] = np.arange(len(self.places))

    @property
    def planes(self) -> F32:
        """Colours and roughness as they are now, [h, w, 5]."""
        return np.concatenate([self._colours, self._rough / (PATCH * ROUGH)], axis=2)

    def fill(self, values: F32) -> None:
        """Say what is in the hole: [pixels, 5], in the order of its rows."""
        self._colours[self.hole], self._rough[self.hole] = values[:, :3], PATCH * ROUGH * values[:, 3:]

    def number(self, places: Ints) -> Ints:
        """Which of `places` each of [n, 2] is; their count for others. At most a patch's half outside is allowed."""
        found: Ints = self._index[places[:, 0] + HALF, places[:, 1] + HALF]
        return found

    def usable(self, places: Ints) -> Bools:
        """Which of places [n, 2], anywhere, are the middle of a known patch."""
        most = np.array(self.hole.shape) - 1
        within = ((places >= 0) & (places <= most)).all(axis=1)
        y, x = places.clip(0, most).T
        return within & self._usable[y, x]

    def patches(self, places: Ints) -> F32:
        """Colours around places and how rough these are, [n, 7 * 7 * 3 + 2]: what is compared."""
        strides, (height, width) = self._colours.strides, self.hole.shape
        windows = np.lib.stride_tricks.as_strided(
            self._colours,
            (height - 2 * HALF, width - 2 * HALF, PATCH, PATCH * 3),
            (*strides[:2], strides[0], strides[2]),
            writeable=False,
        )
        y, x = places.T
        return np.concatenate([windows[y - HALF, x - HALF].reshape(len(y), -1), self._rough[y, x]], axis=1)

    def dislike(self, places: Ints) -> F32:
        """How much known patches are avoided, [n]."""
        found: F32 = self.disliked[places[:, 0], places[:, 1]]
        return found


def nearest(level: Level, found: Ints, rng: np.random.Generator) -> tuple[Ints, F32]:
    """Known patches near to all `places`: their middles [n, 2], and squared distances [n].

    Args:
        level: with something in its hole.
        found: [n, 2], where to begin.
        rng: of random trials.
    """
    few = len(level.sources) <= KNOWN and len(level.places) * len(level.sources) <= PAIRS
    return _compared(level) if few else _tried(level, found, rng)


def _compared(level: Level) -> tuple[Ints, F32]:
    known, best, costs = level.patches(level.sources), [], []
    own, more = (known**2).sum(axis=1), 1 + level.dislike(level.sources)
    step = max(1, CHUNK * 256 // len(known))
    for first in range(0, len(level.places), step):
        wanted = level.patches(level.places[first : first + step])
        apart = (own - 2 * wanted @ known.T + (wanted**2).sum(axis=1)[:, None]) * more
        best.append(apart.argmin(axis=1))
        costs.append(apart.min(axis=1))
    return level.sources[np.concatenate(best)], np.concatenate(costs).clip(min=0)


def _tried(level: Level, found: Ints, rng: np.random.Generator) -> tuple[Ints, F32]:
    trial, reach = _Trial(level, found), max(level.hole.shape)
    for near in _NEAR:
        for step in _STEPS:
            trial.take(trial.neighbours(near * np.array(step)), TOGETHER)
    while reach >= 1:
        trial.take(trial.found + rng.integers(-reach, reach + 1, trial.found.shape))
        reach //= _SHRINK
    return trial.found, trial.costs


class _Trial:
    """What is found so far, [n, 2], and squared distances, [n]."""

    def __init__(self, level: Level, found: Ints) -> None:
        self._level, self.found = level, found.copy()
        self.costs = self._distances(np.arange(len(found)), found)

    def neighbours(self, step: Ints) -> Ints:
        """Where places' patches would be if they went on from their neighbours' at a step, outside where none is."""
        most = np.array(self._level.hole.shape) - 1 + HALF
        which = self._level.number((self._level.places - step).clip(-HALF, most))
        none = which == len(self.found)
        return np.where(none[:, None], -1, self.found[np.where(none, 0, which)] + step)

    def take(self, places: Ints, favour: float = 1.0) -> None:
        """Take those of places [n, 2] that are known and nearer."""
        tried = np.flatnonzero(self._level.usable(places) & (places != self.found).any(axis=1))
        costs = self._distances(tried, places[tried])
        better = costs * favour < self.costs[tried]
        self.found[tried[better]], self.costs[tried[better]] = places[tried[better]], costs[better]

    def _distances(self, which: Ints, places: Ints) -> F32:
        found = np.empty(len(which), np.float32)
        for first in range(0, len(which), CHUNK):
            part = slice(first, first + CHUNK)
            apart = self._level.patches(places[part]) - self._level.patches(self._level.places[which[part]])
            found[part] = np.einsum("nd,nd->n", apart, apart)
        return found * (1 + self._level.dislike(places))


def grown(hole: Bools, by: int) -> Bools:
    """A hole [h, w] and all within so many pixels of it, along both axes."""
    return functional.max_pool2d(_floats(hole), 2 * by + 1, 1, by)[0, 0].numpy() > 0


def _depth(hole: Bools) -> F32:
    left = _floats(hole)
    depth = left.clone()
    for _ in range(_DEEPEST):
        left = -functional.max_pool2d(-left, 3, 1, 1)
        if not left.any():
            break
        depth += left
    return depth[0, 0].numpy()


def _floats(hole: Bools) -> torch.Tensor:
    return torch.from_numpy(hole.astype(np.float32))[None, None]
