"""Different results of the shipped network, by the search for smooth perturbations (torch)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import takewhile
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..diversity.request import REACH, STEPS, Search
from ..errors import BadSetting, MissingExtra
from ..pictures import floats
from ..settings import DIVERSE_PIXELS
from ..stylizer import Band, Content, Style, StyleCode, Stylizer, finished, style_pixels
from .form import Asked

F32 = NDArray[np.float32]
#: A picture [height, width, 3] in floats or bytes.
Look = NDArray[Any]
#: Pixels between two values of a change, in the picture that is searched. A fine lattice leaves more to find: of what
#: one of 16 pixels can reach, a few steps find nearly all, and chance most.
CELL = 6
#: Of the values to the bound, where results have to differ. Further out they differ by more, but by less of what a
#: change of that norm can do. Those that are led somewhere go as far as the bound lets them (`REACH`).
STRETCH = 1.0
#: How much their style loss counts beside the plain result's, where nothing leads them away: they then differ by where
#: things are and how they look, not by how much of the style they have. Statistics that stay the plain result's, as
#: they are kept where a style is not what is wanted, cost more style loss for the same difference: those that may be
#: left without leaving the style are kept, too.
KEEP = 0.1
#: Of a search for results that differ; more of them find hardly more on this lattice. Others take the usual `STEPS`.
APART_STEPS = 10


class Searcher:
    """Looks for different results of a network; it is loaded when it is first asked for.

    Args:
        weights: safetensors of the network. Results are looked at as a refiner does, where one's weights lie beside.
        stylizer: with the same weights: draws the results, larger ones in tiles, and refines them.
        clip: folder of a CLIP, for texts.
        most_pixels: of a picture that is searched as it is.
        steps: of a search; None: as many as its kind takes.
    """

    def __init__(
        self,
        weights: Path,
        stylizer: Stylizer,
        clip: Path | None = None,
        most_pixels: int = DIVERSE_PIXELS,
        steps: int | None = None,
    ) -> None:
        self._weights, self._stylizer, self._clip, self._most = weights, stylizer, clip, most_pixels
        self._steps = steps
        self._student: Any = None
        self._refiner: Any = None
        self._space: Any = None
        self._lock = Lock()

    def __call__(
        self,
        content: Content,
        style: Look,
        asked: Asked,
        towards: Look | None = None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> tuple[Iterable[Iterator[Band]], dict[str, Any]]:
        """Results, made one after the other and each in bands from top to bottom, and what they are like.

        Changes of large pictures are looked for in small ones: they have no details that would be lost.

        Raises:
            BadCheckpoint: the network's weights or the CLIP cannot be used.
            BadSetting: a text, and no CLIP to read it.
            MissingExtra: without torch, or for a text without transformers.
        """
        with self._lock:
            student = self._loaded()
            space = self._space_for(asked.text)
        small = smaller(content, self._most)
        usual, stretch = (APART_STEPS, STRETCH) if towards is None and space is None else (STEPS, REACH)
        wanted = Search(asked.diverse, asked.bound, self._steps or usual, CELL, asked.seed, stretch)
        found, report = _search((student, self._refiner), small, style, asked, towards, space, stopped, wanted)
        changes = (found.inputs - _tensor(small)).permute(0, 2, 3, 1).numpy()
        code = self._stylizer.encode_style(style)
        made = (self._drawn(content, code, change, asked) for change in changes)
        return takewhile(lambda _: not stopped(), made), report

    def _drawn(self, content: Content, code: StyleCode, change: F32, asked: Asked) -> Iterator[Band]:
        changed = _Changed(content, enlarged(change, content.shape[:2]))
        for band in self._stylizer.bands(changed, [Style(code)], asked.strength):
            # What is kept are the content's colours, not those of its change.
            yield finished(content, band, keep_colours=asked.keep_colours)

    def _space_for(self, text: str) -> Any:
        if not text:
            return None
        if self._clip is None:
            raise BadSetting(f"text {text!r}; accepted: none, where no CLIP's folder is set (`clip`, or --clip)")
        if self._space is None:
            from ..diversity.text import ClipSpace

            self._space = ClipSpace(self._clip)
        return self._space

    def _loaded(self) -> Any:
        if self._student is None:
            try:
                import torch  # noqa: F401
            except ImportError as error:
                raise MissingExtra("Looking for different results", "torch") from error
            from ..networks.running import read_refiner, read_student

            refiner = self._weights.with_name(f"{self._weights.stem}-refiner.safetensors")
            if refiner.is_file():
                self._refiner = read_refiner(refiner, self._weights.stem).requires_grad_(False)
            self._student = read_student(self._weights).requires_grad_(False)
        return self._student


def _search(
    networks: tuple[Any, Any],
    content: F32,
    style: Look,
    asked: Asked,
    towards: Look | None,
    space: Any,
    stopped: Callable[[], bool],
    wanted: Search,
) -> tuple[Any, dict[str, Any]]:
    """What was found in a picture, and a report of it."""
    import torch

    from ..diversity.generators.stylization import StyleTransfer
    from ..diversity.report import diversity
    from ..diversity.search import search

    picture, look = _tensor(content), _tensor(style_pixels(floats(style)))
    student, refiner = networks
    transfer = StyleTransfer(student, look, asked.strength, refiner)
    with torch.no_grad():
        plain = transfer(picture)
    objective = _objective(transfer, plain, asked, towards, space)
    found = search(transfer, picture, objective, wanted, stopped=stopped)
    report = {"seed": asked.seed, "bound": asked.bound, "steps": wanted.steps, "objective": list(found.objective)}
    report["change"] = float((found.inputs - picture).square().mean().sqrt())
    report["searched"] = f"{content.shape[1]}x{content.shape[0]}"
    if len(found.results) > 1:
        report["diversity"] = diversity(found.results, transfer.features, look).as_json()
    return found, report


class _Changed:
    """A content [height, width, 3] with a change, of which parts are made when they are looked at."""

    def __init__(self, content: Content, change: F32) -> None:
        self._content, self._change = content, change
        self.shape = change.shape

    def __getitem__(self, at: Any) -> F32:
        return np.clip(floats(self._content[at]) + self._change[at], 0, 1)


def smaller(picture: Content, most: int) -> F32:
    """A picture of at most so many pixels in floats, its proportions kept."""
    factor = np.sqrt(most / (picture.shape[0] * picture.shape[1]))
    if factor >= 1:
        return floats(picture[:])
    height, width = (max(1, int(length * factor)) for length in picture.shape[:2])
    held = picture[:]
    image = Image.fromarray(held if held.dtype == np.uint8 else (held.clip(0, 1) * 255 + 0.5).astype(np.uint8))
    return np.asarray(image.resize((width, height), Image.Resampling.LANCZOS), np.float32) / 255


def enlarged(change: F32, size: Sequence[int]) -> F32:
    """A smooth change [h, w, 3] of a small picture for one of that height and width."""
    grown = np.empty((*size, change.shape[2]), np.float32)
    for channel in range(change.shape[2]):
        image = Image.fromarray(np.ascontiguousarray(change[..., channel]))
        grown[..., channel] = image.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return grown


def _objective(transfer: Any, plain: Any, asked: Asked, towards: Look | None, space: Any) -> Any:
    """What is wanted: near a picture, along a text's direction, and, of several, far from each other."""
    from ..diversity.objectives import Along, Spread, Towards

    parts: list[Any] = []
    features = transfer.features
    if towards is not None:
        parts.append(Towards(features, _tensor(style_pixels(floats(towards)))))
    if space is not None:
        parts.append(Along(space, plain, space.direction(asked.text, asked.text_from)))
    if not parts:
        return Spread(features, plain, keep=KEEP, loss=transfer.style_loss)
    if asked.diverse > 1:
        parts.append(Spread(features, plain))
    return parts[0] if len(parts) == 1 else lambda results: sum(part(results) for part in parts)


def _tensor(picture: F32) -> Any:
    import torch

    return torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)[None]))
