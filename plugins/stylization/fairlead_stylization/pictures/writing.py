"""Encode a picture; files appear whole or not at all."""

from __future__ import annotations

import io
import os
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import BadPicture
from .picture import Picture

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
    if format not in ENDINGS.values():
        raise BadPicture(f"format {format!r}; accepted: {', '.join(sorted(set(ENDINGS.values())))}")
    if not np.isfinite(picture.pixels).all():
        raise BadPicture(f"{picture.source}: pixels that are not finite; accepted: values from 0 to 1")
    out = io.BytesIO()
    options = {"quality": quality} if format in ("JPEG", "WEBP") else {}
    options |= {"compress_level": level} if format == "PNG" else {}
    _image(picture, format).save(out, format, **options)
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


def _image(picture: Picture, format: str) -> Image.Image:
    pixels, alpha = np.clip(picture.pixels, 0, 1), picture.alpha
    if alpha is not None and format in _WITHOUT_ALPHA:
        pixels, alpha = pixels * alpha[..., None] + (1 - alpha[..., None]), None
    if alpha is None:
        return Image.fromarray(_bytes(pixels))
    return Image.fromarray(_bytes(np.concatenate([pixels, alpha[..., None]], axis=2)))


def _bytes(values: np.ndarray) -> np.ndarray:
    return np.floor(values * 255 + 0.5).astype(np.uint8)
