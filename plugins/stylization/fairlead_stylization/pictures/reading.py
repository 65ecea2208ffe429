"""Decode a picture of any common kind to float32 RGB; what it costs is bounded before anything is decoded.

Greyscale, palettes, CMYK, 16 bit, alpha, embedded orientation, colour profiles and animation are converted, and the
picture says so; a file that is corrupt, truncated, too large or no picture raises `BadPicture`.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ..errors import BadPicture
from .folders import unread_kind
from .picture import F32, U8, Limits, Picture, Stored
from .profiles import in_srgb, is_deep

#: What Pillow may try: formats whose decoders are widely used. PSD, EPS and others can start programs or hide bombs.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
ACCEPTED = "PNG, JPEG, WebP, GIF, BMP, TIFF, PPM"
#: Rows of deep pictures that are converted at once: on the way they take three times what they come to.
_ROWS = 256
_ORIENTATION = 0x0112


def read_picture(
    source: Path | str | bytes, *, limits: Limits | None = None, name: str | None = None, colours: bool = True
) -> Picture:
    """Decode a file, or the bytes of one, to floats; arguments and errors as of `read_stored`."""
    return read_stored(source, limits=limits, name=name, colours=colours).picture()


def read_stored(
    source: Path | str | bytes, *, limits: Limits | None = None, name: str | None = None, colours: bool = True
) -> Stored:
    """Decode a file, or the bytes of one.

    Args:
        source: path, or the file's content.
        limits: what is refused.
        name: for messages, where ``source`` is bytes.
        colours: its numbers are colours, and become sRGB by its profile; False: they are a mask's, and stay.

    Raises:
        BadPicture: it is missing, too large, corrupt, or no picture.
    """
    limits = limits or Limits()
    told = name or (str(source) if not isinstance(source, bytes) else "picture")
    content = source if isinstance(source, bytes) else _content(Path(source), limits)
    if len(content) > limits.file_bytes:
        raise BadPicture(f"{told}: {len(content)} bytes; accepted: at most {limits.file_bytes}")
    with _opened(content, told) as image:
        _require_size(image, told, limits)
        try:
            return _converted(image, told, colours)
        except BadPicture:
            raise
        except Exception as error:  # Pillow's decoders raise what they like for damaged files
            raise BadPicture(f"{told}: cannot be decoded ({error}); accepted: a whole {image.format} file") from error


def pixels_of(content: bytes, limits: Limits) -> int:
    """Width times height as a file's header states it; 0 where it would be refused."""
    try:
        with _opened(content, "picture") as image:
            _require_size(image, "picture", limits)
            return image.width * image.height
    except BadPicture:
        return 0


def _content(path: Path, limits: Limits) -> bytes:
    try:
        with path.open("rb") as file:
            # One byte more than is accepted tells that there is too much, without reading a file of any size.
            return file.read(limits.file_bytes + 1)
    except OSError as error:
        raise BadPicture(f"{path}: {error.strerror or error}; accepted: a file that can be read") from error


def _opened(content: bytes, told: str) -> Image.Image:
    if not content:
        raise BadPicture(f"{told}: empty; accepted: {ACCEPTED}")
    try:
        return Image.open(io.BytesIO(content), formats=FORMATS)
    except UnidentifiedImageError as error:
        kind = unread_kind(content)
        raise BadPicture(f"{told}: {kind or 'no picture'}; accepted: {ACCEPTED}") from error
    except Exception as error:  # a header that states a bomb's size, or none that can be read
        raise BadPicture(f"{told}: cannot be opened ({error}); accepted: {ACCEPTED}") from error


def _require_size(image: Image.Image, told: str, limits: Limits) -> None:
    width, height = image.size
    if width < 1 or height < 1:
        raise BadPicture(f"{told}: {width}x{height} pixels; accepted: at least 1x1")
    if width * height > limits.pixels:
        change = f" ({limits.set_by})" if limits.set_by else ""
        raise BadPicture(f"{told}: {width}x{height} pixels; accepted: at most {limits.pixels} in all{change}")


def _converted(image: Image.Image, told: str, colours: bool) -> Stored:
    said = list(_said(image))
    if _turned(image):
        said.append("turned as its orientation says")
    # What cannot be decoded fails here, not as a damaged profile.
    image.load()
    if colours:
        image, by_profile = in_srgb(image)
        said += [by_profile] if by_profile else []
    if image.mode == "CMYK":
        said.append("CMYK to RGB without a colour profile")
    return Stored(*_pixels(image, told), told, tuple(said))


def _turned(image: Image.Image) -> bool:
    """Turn a picture as its orientation says, in place: nothing is copied where nothing is turned."""
    size, orientation = image.size, image.getexif().get(_ORIENTATION)
    ImageOps.exif_transpose(image, in_place=True)
    return image.size != size or image.getexif().get(_ORIENTATION) != orientation


def _pixels(image: Image.Image, told: str) -> tuple[U8 | F32, U8 | None]:
    """Colours [height, width, 3] and alpha [height, width], None where it is opaque."""
    if image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info:
        with_alpha = np.asarray(image.convert("RGBA"))
        alpha, pixels = np.ascontiguousarray(with_alpha[..., 3]), np.ascontiguousarray(with_alpha[..., :3])
        return pixels, None if bool((alpha == 255).all()) else alpha
    if is_deep(image):
        return _deep(image, told), None
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB")), None


def _said(image: Image.Image) -> Iterator[str]:
    if getattr(image, "n_frames", 1) > 1:
        yield f"the first of {image.n_frames} frames"  # type: ignore[attr-defined]
    if image.mode in ("1", "L", "LA") or is_deep(image):
        yield "grey to colour"
    if image.mode.startswith("I"):
        yield "16 bit to float"


def _deep(image: Image.Image, told: str) -> F32:
    """Grey values of 16 or 32 bits, or floats: [height, width, 3] in [0, 1], each number once in memory."""
    values = np.asarray(image)
    if not np.isfinite(values).all():
        raise BadPicture(f"{told}: pixels that are not finite; accepted: finite values")
    top = 65535.0 if image.mode.startswith("I") else max(1.0, float(values.max()))
    grey = np.empty(values.shape, np.float32)
    for first in range(0, len(values), _ROWS):
        rows = slice(first, first + _ROWS)
        grey[rows] = np.clip(values[rows].astype(np.float64) / top, 0, 1)
    return np.broadcast_to(grey[..., None], (*grey.shape, 3))
