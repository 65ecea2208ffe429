"""Encode a picture; files appear whole or not at all."""

from __future__ import annotations

import io
import os
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import BadPicture
from .picture import F32, U8, Picture

#: Format by the file's ending.
ENDINGS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
    ".bmp": "BMP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
}
_WITHOUT_ALPHA = ("JPEG", "BMP")
#: zlib's levels: what is sent is needed at once, files are kept. Higher ones take longer than a picture's network.
SENT, KEPT = 1, 3
#: Of a picture that are rounded at once.
_ROWS = 256


def encode_picture(picture: Picture, format: str = "PNG", *, quality: int = 92, level: int = SENT) -> bytes:
    """Return the bytes of a file; alpha is laid over white where the format has none.

    Args:
        picture: to encode.
        format: one of `ENDINGS`.
        quality: of JPEG and WebP, 1 to 100.
        level: of PNG's compression, 0 to 9.

    Raises:
        BadPicture: a format that is not written here, or pixels that are not finite.
    """
    canvas = Canvas((picture.height, picture.width), format, picture.source)
    for first in range(0, picture.height, _ROWS):
        rows = slice(first, first + _ROWS)
        canvas.lay(rows, picture.pixels[rows], None if picture.alpha is None else picture.alpha[rows])
    return canvas.encoded(quality=quality, level=level)


class Canvas:
    """A picture that is laid down row by row, as bytes, and then encoded.

    Args:
        size: height and width.
        format: one of `ENDINGS`.
        source: for messages.

    Raises:
        BadPicture: a format that is not written here.
    """

    def __init__(self, size: tuple[int, int], format: str = "PNG", source: str = "picture") -> None:
        if format not in ENDINGS.values():
            raise BadPicture(f"format {format!r}; accepted: {', '.join(sorted(set(ENDINGS.values())))}")
        self._size, self._format, self._source = size, format, source
        self._bytes: U8 | None = None

    def lay(self, rows: slice, pixels: F32, alpha: F32 | None = None) -> None:
        """Lay rows [n, width, 3] in [0, 1], with their alpha [n, width] in all calls or in none.

        Alpha is laid over white where the format has none. Raises BadPicture for pixels that are not finite.
        """
        if not np.isfinite(pixels).all():
            raise BadPicture(f"{self._source}: pixels that are not finite; accepted: values from 0 to 1")
        pixels = np.clip(pixels, 0, 1)
        if alpha is not None and self._format in _WITHOUT_ALPHA:
            pixels, alpha = pixels * alpha[..., None] + (1 - alpha[..., None]), None
        if self._bytes is None:
            self._bytes = np.empty((*self._size, 3 if alpha is None else 4), np.uint8)
        self._bytes[rows, :, :3] = _bytes(pixels)
        if alpha is not None:
            self._bytes[rows, :, 3] = _bytes(alpha)

    def encoded(self, *, quality: int = 92, level: int = SENT) -> bytes:
        """The bytes of the file; arguments as of `encode_picture`."""
        if self._bytes is None:
            raise BadPicture(f"{self._source}: no pixels; accepted: at least 1x1")
        out = io.BytesIO()
        options = {"quality": quality} if self._format in ("JPEG", "WEBP") else {}
        options |= {"compress_level": level} if self._format == "PNG" else {}
        Image.fromarray(self._bytes).save(out, self._format, **options)
        return out.getvalue()


def write_picture(picture: Picture, path: Path | str, *, quality: int = 92) -> Path:
    """Write a file in the format that its ending names.

    Raises:
        BadPicture: an ending that is not known, or a folder that cannot be written to.
    """
    path = Path(path)
    format = ENDINGS.get(path.suffix.lower())
    if format is None:
        raise BadPicture(f"{path}: ending {path.suffix!r}; accepted: {', '.join(ENDINGS)}")
    return write_file(path, encode_picture(picture, format, quality=quality, level=KEPT))


def write_file(path: Path, content: bytes) -> Path:
    """Write a file whole or not at all, in a folder that is made if it is not there.

    Raises:
        BadPicture: a path that cannot be written to.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _replace(path, content)
    except OSError as error:
        raise BadPicture(f"{path}: {error.strerror or error}; accepted: a path that can be written") from error
    return path


def _replace(path: Path, content: bytes) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        # mkstemp's mode is for secrets; a picture gets what the process gives to its files.
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _bytes(values: np.ndarray) -> np.ndarray:
    return np.floor(values * 255 + 0.5).astype(np.uint8)
