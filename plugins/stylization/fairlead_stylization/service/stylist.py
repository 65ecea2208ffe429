"""What answers requests: pictures in, stylized ones out, in threads, with codes of styles that are asked for again."""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..networks.kept import LARGEST_PIXELS, give_freed_memory_back
from ..pictures import Limits, Stored, pixels_of, read_mask, read_stored
from ..stylizer import Band, Content, Style, StyleCode, Stylizer, finished
from .answers import ZIP, Answer, encoded, packed
from .errors import Refused
from .fields import FORMATS
from .form import Asked

F32 = NDArray[np.float32]
CODES_KEPT = 64
#: A content, a style, what is asked, a picture to come nearer to, and whether nobody waits any more: results in bands,
#: and a report.
Varied = Callable[
    [Content, NDArray[Any], Asked, NDArray[Any] | None, Callable[[], bool]],
    tuple[Iterable[Iterator[Band]], dict[str, Any]],
]


@dataclass(frozen=True, slots=True)
class _Known:
    """A style that was asked for before: its code, and what was converted to read it."""

    code: StyleCode
    conversions: tuple[str, ...]


class Stylist:
    """Answers requests with one stylizer.

    Args:
        stylizer: any; it is called from several threads.
        limits: of pictures.
        varied: looks for different results.
    """

    def __init__(self, stylizer: Stylizer, limits: Limits, varied: Varied) -> None:
        self.stylizer = stylizer
        self._limits, self._varied = limits, varied
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._lock = Lock()

    def answer(self, asked: Asked, stopped: Callable[[], bool] = lambda: False) -> Answer:
        """Answer a request; ``stopped`` says that nobody waits any more. Raises BadPicture, BadSetting or Refused."""
        try:
            return self._answered(asked, stopped)
        finally:
            # What searches and large pictures took is of no use to the next small one.
            if asked.searched or self.pixels(asked) > LARGEST_PIXELS:
                give_freed_memory_back()

    def _answered(self, asked: Asked, stopped: Callable[[], bool]) -> Answer:
        began = time.monotonic()
        content = self._read(asked.content, "content")
        mask = None if asked.mask is None else read_mask(asked.mask, content, limits=self._limits)
        if asked.searched:
            looks = [self._read(style, f"style {place}") for place, style in enumerate(asked.styles, 1)]
            said = [look.conversions for look in looks]
            body, kind = self._several(content, looks, mask, asked, stopped), ZIP
        else:
            known = [self._style(style, f"style {place}") for place, style in enumerate(asked.styles, 1)]
            said = [style.conversions for style in known]
            styles = [Style(style.code, weight) for style, weight in zip(known, asked.weights, strict=True)]
            made = self.stylizer.bands(content.pixels, styles, asked.strength, mask, asked.keep_colours)
            body = encoded(content, made, asked.format, asked.quality)
            kind = FORMATS[asked.format]
        told = [f"content: {text}" for text in content.conversions]
        told += [f"style {place}: {text}" for place, texts in enumerate(said, 1) for text in texts]
        return Answer(body, kind, tuple(told), content.height * content.width, time.monotonic() - began)

    def pixels(self, asked: Asked) -> int:
        """Of the largest picture of a request, by their headers; what cannot be read is told when it is answered."""
        others = [file for file in (asked.mask, asked.towards) if file is not None]
        return max(pixels_of(file, self._limits) for file in (asked.content, *asked.styles, *others))

    def _read(self, encoded: bytes, name: str) -> Stored:
        return read_stored(encoded, limits=self._limits, name=name)

    def _style(self, encoded: bytes, name: str) -> _Known:
        """A style by its file; one that was asked for before is not even decoded."""
        digest = hashlib.sha256(encoded).hexdigest()
        with self._lock:
            if digest in self._known:
                self._known.move_to_end(digest)
                return self._known[digest]
        look = self._read(encoded, name)
        known = _Known(self.stylizer.encode_style(look.pixels), look.conversions)
        with self._lock:
            self._known[digest] = known
            if len(self._known) > CODES_KEPT:
                self._known.popitem(last=False)
        return known

    def _several(
        self, content: Stored, looks: list[Stored], mask: F32 | None, asked: Asked, stopped: Callable[[], bool]
    ) -> bytes:
        if len(looks) > 1:
            named = "diverse" if asked.diverse > 1 else "towards or text"
            raise Refused(400, "bad_setting", f"style: {len(looks)} files with {named}; accepted: one")
        towards = None if asked.towards is None else self._read(asked.towards, "towards").pixels
        made, report = self._varied(content.pixels, looks[0].pixels, asked, towards, stopped)
        masked = ((finished(content.pixels, band, mask) for band in bands) for bands in made)
        files = (encoded(content, bands, asked.format, asked.quality) for bands in masked)
        return packed(files, asked.format, report)
