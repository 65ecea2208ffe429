"""A decoded picture, and how large one may be."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Limits:
    """What is refused before it is decoded.

    Attributes:
        pixels: width times height. The default takes 8K video frames and photographs of 64 megapixels; a decoded
            picture takes 12 bytes for each pixel, one that is stored as its file has it 3.
        file_bytes: of the encoded picture.
        set_by: what a user would change to have larger pictures accepted; "": nothing that is told.
    """

    pixels: int = 64_000_000
    file_bytes: int = 128 * 1024 * 1024
    set_by: str = ""

    def __post_init__(self) -> None:
        if self.pixels < 1 or self.file_bytes < 1:
            raise ValueError(f"{self}: accepted: 1 and above")


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture as the stylizers take it.

    Attributes:
        pixels: float32 [height, width, 3], sRGB in [0, 1].
        alpha: float32 [height, width] in [0, 1]; None: opaque.
        source: where it came from, for messages.
        conversions: what was done to it that a user may not expect, in words.
    """

    pixels: F32
    alpha: F32 | None = None
    source: str = "picture"
    conversions: tuple[str, ...] = ()

    @property
    def height(self) -> int:
        """In pixels."""
        return self.pixels.shape[0]

    @property
    def width(self) -> int:
        """In pixels."""
        return self.pixels.shape[1]

    def with_pixels(self, pixels: F32) -> Picture:
        """Return the picture with other colours of the same size: its alpha stays."""
        if pixels.shape != self.pixels.shape:
            raise ValueError(f"pixels {pixels.shape}: accepted: {self.pixels.shape}")
        return Picture(pixels, self.alpha, self.source, self.conversions)


@dataclass(frozen=True, slots=True)
class Stored:
    """A decoded picture as its file has it: a quarter of what its floats take.

    Attributes:
        pixels: sRGB [height, width, 3], uint8; float32 in [0, 1] of files of more than 8 bits.
        alpha: uint8 [height, width]; None: opaque.
        source, conversions: as of a `Picture`.
    """

    pixels: U8 | F32
    alpha: U8 | None = None
    source: str = "picture"
    conversions: tuple[str, ...] = ()

    @property
    def height(self) -> int:
        """In pixels."""
        return self.pixels.shape[0]

    @property
    def width(self) -> int:
        """In pixels."""
        return self.pixels.shape[1]

    def picture(self) -> Picture:
        """The picture in floats."""
        alpha = None if self.alpha is None else floats(self.alpha)
        return Picture(floats(self.pixels), alpha, self.source, self.conversions)


def floats(values: U8 | F32) -> F32:
    """Numbers of a picture, or of a part of one, as float32, contiguous; bytes become [0, 1]."""
    if values.dtype == np.uint8:
        return values / np.float32(255)
    return np.ascontiguousarray(values, np.float32)
