"""A decoded picture, and how large one may be."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Limits:
    """What is refused before it is decoded.

    Attributes:
        pixels: width times height. The default takes 8K video frames and photographs of 64 megapixels; a decoded
            picture takes 12 bytes for each pixel.
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
