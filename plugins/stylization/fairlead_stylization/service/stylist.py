"""What answers requests: pictures in, stylized ones out, in threads, with codes of styles that are asked for again."""

from __future__ import annotations

import hashlib
import io
import json
import time
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..pictures import Limits, Picture, encode_picture, read_mask, read_picture
from ..stylizer import Style, StyleCode, Stylizer
from .errors import Refused
from .form import FORMATS, Asked

F32 = NDArray[np.float32]
CODES_KEPT = 64
#: A content, a style, and what is asked, with a picture to come nearer to: [count, height, width, 3], and a report.
Varied = Callable[[F32, F32, Asked, F32 | None], tuple[F32, dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class Answer:
    """Bytes for a client.

    Attributes:
        body, media_type: one picture, or a zip of several and ``report.json``.
        said: conversions, as header values.
        pixels: of the content.
        spent_s: what it took.
    """

    body: bytes
    media_type: str
    said: tuple[str, ...]
    pixels: int
    spent_s: float


class Stylist:
    """Answers requests with one stylizer.

    Args:
        stylizer: any; it is called from several threads.
        limits: of pictures.
        diverse_pixels: of a picture of which several results are asked.
        varied: looks for different results.
    """

    def __init__(self, stylizer: Stylizer, limits: Limits, diverse_pixels: int, varied: Varied) -> None:
        self.stylizer = stylizer
        self._limits, self._diverse_pixels, self._varied = limits, diverse_pixels, varied
        self._codes: OrderedDict[str, StyleCode] = OrderedDict()
        self._lock = Lock()

    def answer(self, asked: Asked) -> Answer:
        """Answer a request; raises BadPicture, BadSetting or Refused."""
        began = time.monotonic()
        content = self._read(asked.content, "content")
        looks = [self._read(style, f"style {place}") for place, style in enumerate(asked.styles, 1)]
        said = tuple(f"{picture.source}: {text}" for picture in (content, *looks) for text in picture.conversions)
        mask = None if asked.mask is None else read_mask(asked.mask, content, limits=self._limits)
        pixels = content.height * content.width
        if asked.searched:
            body, kind = self._several(content, looks, mask, asked), "application/zip"
        else:
            pairs = zip(asked.styles, looks, asked.weights, strict=True)
            styles = [Style(self._code(encoded, look), weight) for encoded, look, weight in pairs]
            made = self.stylizer.stylize(content.pixels, styles, asked.strength, mask, asked.keep_colours)
            body = encode_picture(content.with_pixels(made), asked.format, quality=asked.quality)
            kind = FORMATS[asked.format]
        return Answer(body, kind, said, pixels, time.monotonic() - began)

    def _read(self, encoded: bytes, name: str) -> Picture:
        return read_picture(encoded, limits=self._limits, name=name)

    def _code(self, encoded: bytes, look: Picture) -> StyleCode:
        digest = hashlib.sha256(encoded).hexdigest()
        with self._lock:
            if digest in self._codes:
                self._codes.move_to_end(digest)
                return self._codes[digest]
        code = self.stylizer.encode_style(look.pixels)
        with self._lock:
            self._codes[digest] = code
            if len(self._codes) > CODES_KEPT:
                self._codes.popitem(last=False)
        return code

    def _several(self, content: Picture, looks: list[Picture], mask: F32 | None, asked: Asked) -> bytes:
        if len(looks) > 1:
            named = "diverse" if asked.diverse > 1 else "towards or text"
            raise Refused(400, "bad_setting", f"style: {len(looks)} files with {named}; accepted: one")
        size = f"{content.width}x{content.height}"
        if content.height * content.width > self._diverse_pixels:
            most = f"{self._diverse_pixels} pixels with diverse (diverse_pixels)"
            raise Refused(413, "too_large", f"content: {size}; accepted: at most {most}")
        towards = None if asked.towards is None else self._read(asked.towards, "towards").pixels
        made, report = self._varied(content.pixels, looks[0].pixels, asked, towards)
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            for place, pixels in enumerate(made, 1):
                if mask is not None:
                    pixels = content.pixels + mask[..., None] * (pixels - content.pixels)
                picture = content.with_pixels(pixels.astype(np.float32))
                ending = "jpg" if asked.format == "JPEG" else asked.format.lower()
                archive.writestr(f"{place:02d}.{ending}", encode_picture(picture, asked.format, quality=asked.quality))
            archive.writestr("report.json", json.dumps(report, indent=2))
        return packed.getvalue()
