"""Masks: where a picture is stylized, and how much."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import BadPicture
from .picture import F32, Limits, Picture, Stored, floats
from .reading import read_stored

#: By how much the ratio of a mask's sides may differ from its picture's: rounding of a resized one, not another crop.
_RATIO = 0.02
_LUMINANCE = np.array([0.2126, 0.7152, 0.0722], np.float32)
#: That are in floats at once.
_ROWS = 256


def read_mask(source: Path | str | bytes, picture: Picture | Stored, *, limits: Limits | None = None) -> F32:
    """Return a mask for a picture: float32 [height, width] in [0, 1], 1 where it is stylized.

    A mask of another size is resized if it has the picture's shape.

    Raises:
        BadPicture: it cannot be read, or has another shape.
    """
    name = "mask" if isinstance(source, bytes) else None
    read = read_stored(source, limits=limits, name=name, colours=False)
    grey = np.empty((read.height, read.width), np.float32)
    for first in range(0, read.height, _ROWS):
        rows = slice(first, first + _ROWS)
        grey[rows] = floats(read.pixels[rows]) @ _LUMINANCE
    return fitted(grey, picture.height, picture.width, read.source)


def fitted(mask: F32, height: int, width: int, name: str = "mask") -> F32:
    """Return a mask [any, any] as [height, width]; raises BadPicture where its shape is another one."""
    if mask.ndim != 2 or not mask.size or not np.isfinite(mask).all():
        raise BadPicture(f"{name}: shape {mask.shape}; accepted: finite values [height, width]")
    if mask.shape == (height, width):
        return np.clip(mask, 0, 1).astype(np.float32)
    across, down = width / mask.shape[1], height / mask.shape[0]
    if abs(across / down - 1) > _RATIO:
        raise BadPicture(
            f"{name}: {mask.shape[1]}x{mask.shape[0]} pixels; accepted: {width}x{height}, or another size of that shape"
        )
    image = Image.fromarray(mask.astype(np.float32)).resize((width, height), Image.Resampling.BILINEAR)
    return np.clip(np.asarray(image, np.float32), 0, 1)
