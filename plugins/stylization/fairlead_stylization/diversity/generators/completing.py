"""Holes filled and grey pictures coloured, once or in several ways, in pictures of any size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from ...errors import BadPicture, BadSetting
from ...networks.running import WEIGHTS, read_refiner
from ...settings import DIVERSE_PIXELS
from ..features import Features
from ..objectives import Spread
from ..report import diversity
from ..request import Search
from ..search import Found, Generate, search
from .colorization import Colorization
from .colours import to_rgb, to_ycbcr, within
from .inpainting import Inpainting
from .shipped import load_generator, shipped_generator
from .training import Kind

F32 = NDArray[np.float32]
#: Of a picture that goes through a network as it is; it was trained on small ones, and sees about 500 pixels around.
MOST_PIXELS = 512 * 512
#: Of a search: pixels between values of a change, how far they reach, and how much the features' statistics count.
#: Colours change from thing to thing: closer values make rainbows.
CELLS: dict[Kind, int] = {"inpainting": 16, "colorization": 64}
STRETCH, KEEP = 1.0, 4.0
#: Pixels from a hole's edge to where changes count in full: without, the edge shows.
FADE = 8
#: Of the absolute value of a change of what a hole or the colours begin with.
BOUND = 0.1
#: Of the widest channel to the narrowest: less is grey.
_GREY = 2 / 255


@dataclass(frozen=True, slots=True)
class Task:
    """A picture to be completed, as a search takes it.

    Attributes:
        begun: [1, 3, h, w], what the network begins with.
        generate: of what begins so, several at once, to finished pictures.
        fixed: [h, w], 1 where a search must not change anything, less where it may a little; None: nowhere.
    """

    begun: torch.Tensor
    generate: Generate
    fixed: torch.Tensor | None = None

    def changed(self, changes: torch.Tensor) -> torch.Tensor:
        """Beginnings [n, 3, h, w] with changes of any size, [n, 3, any, any]."""
        size = self.begun.shape[2:]
        fitting = functional.interpolate(changes, size=size, mode="bilinear", align_corners=False)
        free = 1.0 if self.fixed is None else 1 - self.fixed
        return (self.begun + fitting * free).clamp(0, 1)


class Completer:
    """Inpainting or colorization by a small network; the weights that ship unless others are given.

    Args:
        kind: inpainting or colorization.
        weights: a file of one's own.
        most_pixels: of a picture that goes through the network as it is; larger ones go through smaller, and what is
            known of them, or their luminance, stays as it is.
        features: how pictures look to a search; None: as the shipped refiner's network sees them.

    Raises:
        BadSetting: another kind.
        BadCheckpoint: weights that are not such a network's.
    """

    def __init__(
        self,
        kind: Kind,
        weights: Path | None = None,
        most_pixels: int = MOST_PIXELS,
        features: Features | None = None,
    ) -> None:
        self.kind, self._most, self._features = kind, most_pixels, features
        self._network = shipped_generator(kind) if weights is None else load_generator(weights, kind)

    def task(self, picture: F32, hole: F32 | None = None, hints: bool = False) -> Task:
        """What is to be completed, in the size that it is given.

        Args:
            picture: [h, w, 3] in [0, 1].
            hole: [h, w], 1 where nothing is known; for inpainting, and only for it.
            hints: colours of the picture say what it shall have; without, they are not looked at.

        Raises:
            BadPicture: no hole where one is needed, one of another size, or one that leaves nothing known.
        """
        pictures = _tensor(picture)
        if isinstance(self._network, Inpainting):
            return _hole_task(self._network, pictures, _hole(picture, hole))
        if hole is not None:
            raise BadPicture("hole: with colorization; accepted: with inpainting")
        assert isinstance(self._network, Colorization)
        return _colour_task(self._network, pictures, hints)

    @torch.no_grad()
    def one(self, picture: F32, hole: F32 | None = None, hints: bool = False) -> F32:
        """The completed picture, [h, w, 3]; arguments and errors as of `task`."""
        task = self._small(picture, hole, hints, self._most)
        return self._in_full(task.generate(task.begun), picture, hole)

    def several(
        self,
        picture: F32,
        hole: F32 | None = None,
        hints: bool = False,
        wanted: Search | None = None,
        stopped: Callable[[], bool] = lambda: False,
        progress: Callable[[int], None] = lambda step: None,
    ) -> tuple[list[F32], dict[str, Any]]:
        """Different results [h, w, 3] and what they are like; arguments and errors as of `task`.

        They are looked for in a picture of 256 x 256 pixels at most.
        """
        wanted = wanted or Search(bound=BOUND, cell=CELLS[self.kind], stretch=STRETCH)
        found, report = self.searched(self._small(picture, hole, hints, DIVERSE_PIXELS), wanted, stopped, progress)
        task = self._small(picture, hole, hints, self._most)
        looked = self._small(picture, hole, hints, DIVERSE_PIXELS).begun
        with torch.no_grad():
            begun = [task.changed(one[None] - looked) for one in found.inputs]
            return [self._in_full(task.generate(one), picture, hole) for one in begun], report

    def searched(
        self,
        task: Task,
        wanted: Search,
        stopped: Callable[[], bool] = lambda: False,
        progress: Callable[[int], None] = lambda step: None,
    ) -> tuple[Found, dict[str, Any]]:
        """What a search finds for a task, and a report of it."""
        features = self.features
        with torch.no_grad():
            plain = task.generate(task.begun)
        objective = Spread(features, plain, keep=KEEP)
        found = search(
            task.generate, task.begun, objective, wanted, fixed=task.fixed, stopped=stopped, progress=progress
        )
        report: dict[str, Any] = {"kind": self.kind, "seed": wanted.seed, "bound": wanted.bound, "steps": wanted.steps}
        report["change"] = float((found.inputs - task.begun).square().mean().sqrt())
        report["searched"] = f"{task.begun.shape[3]}x{task.begun.shape[2]}"
        if len(found.results) > 1:
            report["diversity"] = diversity(found.results, features).as_json()
        return found, report

    @property
    def features(self) -> Features:
        """How pictures look to a search."""
        if self._features is None:
            refiner = read_refiner(WEIGHTS / "edge-refiner.safetensors", "edge").requires_grad_(False)
            self._features = lambda pictures: refiner.features(_fourfold(pictures))
        return self._features

    def _small(self, picture: F32, hole: F32 | None, hints: bool, most: int) -> Task:
        factor = (most / (picture.shape[0] * picture.shape[1])) ** 0.5
        if factor >= 1:
            return self.task(picture, hole, hints)
        size = [max(1, int(side * factor)) for side in picture.shape[:2]]
        small = _pixels(functional.interpolate(_tensor(picture), size=size, mode="area"))
        if hole is None:
            return self.task(small, None, hints)
        # A place that is unknown in part is unknown.
        unknown = functional.interpolate(torch.from_numpy(_hole(picture, hole))[None, None], size=size, mode="area")
        return self.task(small, (unknown[0, 0] > 0).float().numpy(), hints)

    def _in_full(self, made: torch.Tensor, picture: F32, hole: F32 | None) -> F32:
        """A result in the picture's own size: what is known of it, or its luminance, as it was."""
        pictures, size = _tensor(picture), picture.shape[:2]
        grown = functional.interpolate(made, size=size, mode="bicubic", align_corners=False).clamp(0, 1)
        if hole is not None:
            # A grey picture's hole stays grey.
            grown = to_ycbcr(grown)[:, :1].expand(-1, 3, -1, -1) if is_grey(picture) else grown
            return _pixels(torch.where(torch.from_numpy(hole) > 0, grown, pictures))
        luminance = to_ycbcr(pictures)[:, :1]
        return _pixels(within(to_rgb(torch.cat([luminance, to_ycbcr(grown)[:, 1:]], dim=1)), luminance))


def is_grey(picture: F32) -> bool:
    """Whether a picture [h, w, 3] has no colours."""
    return bool((picture.max(axis=2) - picture.min(axis=2)).max() <= _GREY)


def _hole_task(network: Inpainting, pictures: torch.Tensor, hole: F32) -> Task:
    unknown = torch.from_numpy(hole)
    with torch.no_grad():
        begun = network.start(pictures, unknown)
    return Task(begun, lambda several: network.finish(several, unknown), 1 - _free(unknown))


def _free(unknown: torch.Tensor) -> torch.Tensor:
    """How much changes count at each place of a hole [h, w]: little at a wide one's edge, which would show."""
    near = functional.avg_pool2d(functional.pad(unknown[None, None], (FADE,) * 4, value=1.0), 2 * FADE + 1, 1)
    most = functional.max_pool2d(near * unknown, 2 * FADE + 1, 1, FADE).clamp(min=1e-6)
    return (2 * near / most - 1).clamp(0, 1)[0, 0] * unknown


def _colour_task(network: Colorization, pictures: torch.Tensor, hints: bool) -> Task:
    luminance = to_ycbcr(pictures)[:, :1]
    begun = pictures if hints else luminance.expand(-1, 3, -1, -1)
    return Task(begun.contiguous(), lambda several: network(several, luminance))


def _hole(picture: F32, hole: F32 | None) -> F32:
    if hole is None:
        raise BadPicture("hole: none; accepted: one, of the picture's size, for inpainting")
    if hole.shape != picture.shape[:2]:
        raise BadPicture(f"hole: {hole.shape[::-1]} pixels; accepted: {picture.shape[1::-1]}, as the picture has")
    share = float((hole > 0).mean())
    if share in (0, 1):
        told = "nothing is unknown" if share == 0 else "nothing is known"
        raise BadSetting(f"hole: {told}; accepted: some pixels above 0, some of 0")
    return (hole > 0).astype(np.float32)


def _fourfold(pictures: torch.Tensor) -> torch.Tensor:
    """Pictures whose sides are multiples of 4, as a refiner takes them."""
    height, width = pictures.shape[2:]
    return functional.pad(pictures, (0, -width % 4, 0, -height % 4), mode="replicate")


def _tensor(picture: F32) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)[None], np.float32))


def _pixels(pictures: torch.Tensor) -> F32:
    return np.ascontiguousarray(pictures[0].permute(1, 2, 0).numpy())
