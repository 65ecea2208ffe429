"""Holes filled and grey pictures coloured, once or in several ways, in pictures of any size."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from ...errors import BadPicture, BadSetting
from ...networks.running import WEIGHTS, read_refiner
from ...pictures import floats
from ...settings import DIVERSE_PIXELS
from ...stylizer import Band, Content, whole
from ..features import Features
from ..objectives import Objective, Spread, Towards
from ..report import diversity
from ..request import SMOOTH, TEXTURED, Search, require_finish
from ..search import Found, Generate, search
from .colorization import Colorization
from .colours import to_rgb, to_ycbcr, within
from .continuing import Continued
from .inpainting import Inpainting
from .resizing import Enlarged, reduced, reduced_hole, spans
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
#: By how much of itself a patch's squared distance grows at most in places that one of several results avoids.
DISLIKED = 1.0
#: How much of what is found to be changed in a hole's colours shows over its texture where nothing leads the search:
#: more is stains.
PLAIN_TONE = 0.25
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
            BadPicture: no hole where one is needed, or one of another size.
            BadSetting: one that leaves nothing known, or nothing unknown.
        """
        return self._task(_tensor(picture), self._known(picture, hole), hints)

    def one(
        self, picture: Content, hole: F32 | None = None, hints: bool = False, finish: str = TEXTURED, seed: int = 0
    ) -> F32:
        """The completed picture, [h, w, 3]; arguments and errors as of `bands`."""
        return whole(picture.shape, self.bands(picture, hole, hints, finish, seed))

    def bands(
        self, picture: Content, hole: F32 | None = None, hints: bool = False, finish: str = TEXTURED, seed: int = 0
    ) -> Iterator[Band]:
        """The same in bands from top to bottom: its floats are never there as a whole.

        Args:
            picture: as of `task`; bytes are taken too.
            hole, hints: as of `task`.
            finish: of holes: textured, with pieces of the same picture, or smooth, as the network gives it.
            seed: of a textured hole: the same one fills it in the same way again.

        Raises:
            BadPicture, BadSetting: as of `task`, and for another finish.
        """
        hole = self._known(picture, hole)
        require_finish(finish)
        task = self._small(picture, hole, hints, self._most)
        with torch.no_grad():
            made = task.generate(task.begun)
        return self._in_full(made, picture, hole, self._continued(made, picture, hole, finish, (seed,)))

    def several(
        self,
        picture: Content,
        hole: F32 | None = None,
        hints: bool = False,
        wanted: Search | None = None,
        stopped: Callable[[], bool] = lambda: False,
        progress: Callable[[int], None] = lambda step: None,
        finish: str = TEXTURED,
    ) -> tuple[list[F32], dict[str, Any]]:
        """Different results [h, w, 3] and what they are like; arguments and errors as of `bands`.

        They are looked for in a picture of 256 x 256 pixels at most.
        """
        made, report = self.several_bands(
            picture, hole, hints, wanted, finish=finish, stopped=stopped, progress=progress
        )
        return [whole(picture.shape, one) for one in made], report

    def several_bands(
        self,
        picture: Content,
        hole: F32 | None = None,
        hints: bool = False,
        wanted: Search | None = None,
        *,
        towards: Content | None = None,
        looked_at: int = DIVERSE_PIXELS,
        finish: str = TEXTURED,
        stopped: Callable[[], bool] = lambda: False,
        progress: Callable[[int], None] = lambda step: None,
    ) -> tuple[Iterator[Iterator[Band]], dict[str, Any]]:
        """The same, drawn one after the other and each in bands from top to bottom.

        Args:
            picture, hole, hints, wanted: as of `several`.
            towards: [any, any, 3]; results shall come nearer to it.
            looked_at: pixels of the picture in which they are looked for, and of ``towards``, at most.
            finish: as of `bands`; textured holes begin with what is found, and each avoids other places.
            stopped: nobody waits any more.
            progress: is told the steps that are done.
        """
        wanted = wanted or Search(bound=BOUND, cell=CELLS[self.kind], stretch=STRETCH)
        hole = self._known(picture, hole)
        require_finish(finish)
        looked = self._small(picture, hole, hints, looked_at)
        reference = None if towards is None else reduced(towards, looked_at)
        found, report = self.searched(looked, wanted, stopped, progress, reference)
        if hole is not None:
            report["finish"] = finish
        shown = PLAIN_TONE if towards is None else 1.0
        return self._drawn(found.inputs - looked.begun, picture, hole, hints, finish, wanted.seed, shown), report

    def _drawn(
        self,
        changes: torch.Tensor,
        picture: Content,
        hole: F32 | None,
        hints: bool,
        finish: str,
        seed: int,
        shown: float,
    ) -> Iterator[Iterator[Band]]:
        task = self._small(picture, hole, hints, self._most)
        with torch.no_grad():
            plain = task.generate(task.begun)
        for place, change in enumerate(changes):
            with torch.no_grad():
                made = task.generate(task.changed(change[None]))
            tone = shown * (made - plain)
            continued = self._continued(made, picture, hole, finish, (seed, place), DISLIKED, tone)
            yield self._in_full(made, picture, hole, continued)

    def _continued(
        self,
        made: torch.Tensor,
        picture: Content,
        hole: F32 | None,
        finish: str,
        seed: tuple[int, ...],
        disliked: float = 0.0,
        tone: torch.Tensor | None = None,
    ) -> Continued | None:
        return None if hole is None or finish == SMOOTH else Continued(picture, hole, made, seed, disliked, tone)

    def searched(
        self,
        task: Task,
        wanted: Search,
        stopped: Callable[[], bool] = lambda: False,
        progress: Callable[[int], None] = lambda step: None,
        towards: torch.Tensor | None = None,
    ) -> tuple[Found, dict[str, Any]]:
        """What a search finds for a task, and a report of it; ``towards`` [1, 3, any, any] leads it."""
        features = self.features
        with torch.no_grad():
            plain = task.generate(task.begun)
        objective = _objective(features, plain, wanted, towards)
        found = search(
            task.generate, task.begun, objective, wanted, fixed=task.fixed, stopped=stopped, progress=progress
        )
        report: dict[str, Any] = {"kind": self.kind, "seed": wanted.seed, "bound": wanted.bound, "steps": wanted.steps}
        report["objective"] = list(found.objective)
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

    def _known(self, picture: Content, hole: F32 | None) -> F32 | None:
        """A hole as it is taken here: of 0 and 1, and only where there has to be one."""
        if self.kind == "inpainting":
            return _hole(picture, hole)
        if hole is not None:
            raise BadPicture("hole: with colorization; accepted: with inpainting")
        return None

    def _task(self, pictures: torch.Tensor, hole: F32 | None, hints: bool) -> Task:
        if isinstance(self._network, Inpainting):
            assert hole is not None
            return _hole_task(self._network, pictures, hole)
        assert isinstance(self._network, Colorization)
        return _colour_task(self._network, pictures, hints)

    def _small(self, picture: Content, hole: F32 | None, hints: bool, most: int) -> Task:
        return self._task(reduced(picture, most), None if hole is None else reduced_hole(hole, most), hints)

    def _in_full(
        self, made: torch.Tensor, picture: Content, hole: F32 | None, continued: Continued | None
    ) -> Iterator[Band]:
        """A result in the picture's own size: what is known of it, or its luminance, as it was."""
        grown = Enlarged(made, picture.shape[:2])
        grey = hole is not None and is_grey(picture)
        for rows in spans(*picture.shape[:2]):
            with torch.no_grad():
                own, band = _tensor(floats(picture[rows])), grown.rows(rows).clamp(0, 1)
                band = band if continued is None else continued.fill(rows, band)
                finished = _coloured(band, own) if hole is None else _filled(band, own, hole[rows], grey)
            yield rows, _pixels(finished)


def is_grey(picture: Content) -> bool:
    """Whether a picture [h, w, 3] has no colours."""
    parts = (floats(picture[rows]) for rows in spans(*picture.shape[:2]))
    return all((part.max(axis=2) - part.min(axis=2)).max() <= _GREY for part in parts)


def _objective(features: Features, plain: torch.Tensor, wanted: Search, towards: torch.Tensor | None) -> Objective:
    """Far from each other, or near a picture and, of several, far from each other too."""
    if towards is None:
        return Spread(features, plain, keep=KEEP)
    near = Towards(features, towards)
    if wanted.count == 1:
        return near
    apart = Spread(features, plain)
    return lambda results: near(results) + apart(results)


def _filled(made: torch.Tensor, own: torch.Tensor, hole: F32, grey: bool) -> torch.Tensor:
    """What is known as it was; a grey picture's hole stays grey."""
    made = to_ycbcr(made)[:, :1].expand(-1, 3, -1, -1) if grey else made
    return torch.where(torch.from_numpy(hole) > 0, made, own)


def _coloured(made: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
    """Colours as they were made, the luminance as it was."""
    luminance = to_ycbcr(own)[:, :1]
    return within(to_rgb(torch.cat([luminance, to_ycbcr(made)[:, 1:]], dim=1)), luminance)


def _hole_task(network: Inpainting, pictures: torch.Tensor, hole: F32) -> Task:
    unknown = torch.from_numpy(hole)
    with torch.no_grad():
        begun = network.start(pictures, unknown)
        # Changes of what is unknown do not reach them: found once, they cost a search neither time nor memory.
        fills = network.fills(begun, unknown)
    return Task(begun, lambda several: network.finish(several, unknown, fills), 1 - _free(unknown))


def _free(unknown: torch.Tensor) -> torch.Tensor:
    """How much changes count at each place of a hole [h, w]: little at a wide one's edge, which would show."""
    near = functional.avg_pool2d(functional.pad(unknown[None, None], (FADE,) * 4, value=1.0), 2 * FADE + 1, 1)
    most = functional.max_pool2d(near * unknown, 2 * FADE + 1, 1, FADE).clamp(min=1e-6)
    return (2 * near / most - 1).clamp(0, 1)[0, 0] * unknown


def _colour_task(network: Colorization, pictures: torch.Tensor, hints: bool) -> Task:
    luminance = to_ycbcr(pictures)[:, :1]
    begun = pictures if hints else luminance.expand(-1, 3, -1, -1)
    return Task(begun.contiguous(), lambda several: network(several, luminance))


def _hole(picture: Content, hole: F32 | None) -> F32:
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
