"""What answers requests for holes filled, grey pictures coloured and small ones enlarged (torch)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from itertools import takewhile
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..diversity.request import REACH, STEPS, Search
from ..errors import BadPicture, BadSetting, MissingExtra
from ..networks.kept import LARGEST_PIXELS, give_freed_memory_back
from ..pictures import Limits, Stored, pixels_of, read_mask, read_stored
from ..settings import DIVERSE_PIXELS
from .answers import ZIP, Answer, encoded, packed
from .fields import FORMATS
from .generation import COLORIZATION, INPAINTING, SUPER_RESOLUTION, Generation

F32 = NDArray[np.float32]
#: Lighter places of a mask are a hole.
_HALF = 0.5


class Generator:
    """Answers requests; each network is loaded when it is first asked for.

    Args:
        limits: of pictures, of enlarged ones too.
        weights: files by what they do; those that ship serve for inpainting and colorization that are not named.
        most_pixels: of a picture that is searched as it is.
        steps: of a search; None: the usual ones.
    """

    def __init__(
        self,
        limits: Limits,
        weights: Mapping[str, Path] | None = None,
        most_pixels: int = DIVERSE_PIXELS,
        steps: int | None = None,
    ) -> None:
        self._limits, self._weights, self._most = limits, dict(weights or {}), most_pixels
        self._steps = steps or STEPS
        self._networks: dict[str, Any] = {}
        self._lock = Lock()

    def pixels(self, asked: Generation) -> int:
        """Of the largest picture of a request, its result among them, by headers.

        Raises:
            BadCheckpoint, BadSetting, MissingExtra: an enlarging network cannot be had.
        """
        others = [file for file in (asked.mask, asked.towards) if file is not None]
        factor = self._network(asked.what).factor if asked.what == SUPER_RESOLUTION else 1
        own = pixels_of(asked.content, self._limits) * factor**2
        return max(own, *(pixels_of(file, self._limits) for file in others)) if others else own

    def answer(self, asked: Generation, stopped: Callable[[], bool] = lambda: False) -> Answer:
        """Answer a request; ``stopped`` says that nobody waits any more.

        Raises:
            BadCheckpoint: a network's weights cannot be used.
            BadPicture, BadSetting: of what is asked.
            MissingExtra: without torch.
        """
        began, network = time.monotonic(), self._network(asked.what)
        try:
            content = read_stored(asked.content, limits=self._limits, name="content")
            if asked.what == SUPER_RESOLUTION:
                said, body = (), self._enlarged(network, content, asked)
            else:
                said, body = tuple(_said(content, asked)), self._completed(network, content, asked, stopped)
            told = tuple(f"content: {text}" for text in (*content.conversions, *said))
            kind = ZIP if asked.searched else FORMATS[asked.format]
            return Answer(body, kind, told, content.height * content.width, time.monotonic() - began)
        finally:
            if asked.searched or self.pixels(asked) > LARGEST_PIXELS:
                give_freed_memory_back()

    def _completed(self, completer: Any, content: Stored, asked: Generation, stopped: Callable[[], bool]) -> bytes:
        hole = None if asked.mask is None else _hole(asked.mask, content, self._limits)
        if not asked.searched:
            made = completer.bands(content.pixels, hole, asked.hints, asked.finish, asked.seed)
            return encoded(content, made, asked.format, asked.quality)
        from ..diversity.generators.completing import CELLS, STRETCH

        towards, reach = None, STRETCH
        if asked.towards is not None:
            towards, reach = read_stored(asked.towards, limits=self._limits, name="towards").pixels, REACH
        wanted = Search(asked.diverse, asked.bound, self._steps, CELLS[completer.kind], asked.seed, reach)
        made, report = completer.several_bands(
            content.pixels,
            hole,
            asked.hints,
            wanted,
            towards=towards,
            looked_at=self._most,
            finish=asked.finish,
            stopped=stopped,
        )
        going = takewhile(lambda _: not stopped(), made)
        return packed((encoded(content, one, asked.format, asked.quality) for one in going), asked.format, report)

    def _enlarged(self, network: Any, content: Stored, asked: Generation) -> bytes:
        height, width = content.height * network.factor, content.width * network.factor
        if height * width > self._limits.pixels:
            change = f" ({self._limits.set_by})" if self._limits.set_by else ""
            raise BadPicture(
                f"content: {content.width}x{content.height} pixels, {network.factor} times as wide and high; "
                f"accepted: at most {self._limits.pixels} in all then{change}"
            )
        # Only the size and the alpha of what is drawn are looked at.
        shape, alpha = np.broadcast_to(np.uint8(0), (height, width, 3)), content.alpha
        if alpha is not None:
            alpha = np.asarray(Image.fromarray(alpha).resize((width, height), Image.Resampling.BICUBIC))
        return encoded(Stored(shape, alpha, content.source), network.bands(content.pixels), asked.format, asked.quality)

    def _network(self, what: str) -> Any:
        with self._lock:
            if what not in self._networks:
                self._networks[what] = self._loaded(what)
            return self._networks[what]

    def _loaded(self, what: str) -> Any:
        path = self._weights.get(what)
        if what == SUPER_RESOLUTION and path is None:
            raise BadSetting(
                f"what {what!r}; accepted: {INPAINTING}, {COLORIZATION}, where no network that enlarges is set "
                "(`super_resolution` in the workload's config)"
            )
        try:
            from ..diversity.generators.completing import Completer
            from ..diversity.generators.super_resolution import load_super_resolution
        except ImportError as error:
            raise MissingExtra(what, "torch") from error
        if what == SUPER_RESOLUTION:
            assert path is not None
            return load_super_resolution(path)
        return Completer(what, path)  # type: ignore[arg-type]


def _hole(mask: bytes, content: Stored, limits: Limits) -> F32:
    """Where nothing is known, [height, width] of 0 and 1."""
    hole = (read_mask(mask, content, limits=limits) > _HALF).astype(np.float32)
    if hole.min() == hole.max():
        told = "nothing is white, so that nothing is missing" if not hole.max() else "all is white: nothing is known"
        raise BadSetting(f"mask: {told}; accepted: white where nothing is known, dark elsewhere")
    return hole


def _said(content: Stored, asked: Generation) -> Iterator[str]:
    """What a user may not expect."""
    from ..diversity.generators.completing import is_grey

    grey = is_grey(content.pixels)
    if grey and asked.hints:
        raise BadPicture("content: grey, with hints; accepted: a picture with colours, or no hints")
    if asked.what == INPAINTING and grey:
        yield "grey, and so is what fills its hole"
    if asked.what == COLORIZATION and not grey and not asked.hints:
        yield "its colours are not looked at (hints: they are)"
