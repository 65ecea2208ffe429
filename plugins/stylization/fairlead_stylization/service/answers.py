"""Answers: one picture, or a zip of several and a report."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ..pictures import Canvas, Stored, floats
from ..stylizer import Band

ZIP = "application/zip"


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


def encoded(content: Stored, bands: Iterable[Band], format: str, quality: int) -> bytes:
    """A result's file, with the content's alpha."""
    canvas = Canvas((content.height, content.width), format, content.source)
    for rows, band in bands:
        canvas.lay(rows, band, None if content.alpha is None else floats(content.alpha[rows]))
    return canvas.encoded(quality=quality)


def packed(files: Iterable[bytes], format: str, report: dict[str, Any]) -> bytes:
    """A zip of results' files, by their numbers, and ``report.json``."""
    ending = "jpg" if format == "JPEG" else format.lower()
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        for place, file in enumerate(files, 1):
            archive.writestr(f"{place:02d}.{ending}", file)
        archive.writestr("report.json", json.dumps(report, indent=2))
    return held.getvalue()
