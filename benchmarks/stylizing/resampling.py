"""What warped RMSE is left where views agree perfectly.

A warp mixes four pixels, which blurs fine detail by as much as the place lies between them. So two pictures of one
surface, neither of which has anything wrong, differ after the warp, the more the finer their detail is.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
#: Pixels at a picture's edge that are left out: what moves in there comes from the other side.
EDGE = 8


def left_by_warping(picture: F32, seen: NDArray[np.bool_], offsets: NDArray[np.float64]) -> float:
    """Root mean square over offsets of what a warp makes wrong of a picture that was moved without loss.

    Args:
        picture: float32 [height, width, channels]; taken as band-limited, so that it can be moved by parts of a pixel
            without loss, by its Fourier transform.
        seen: [height, width], the pixels that count.
        offsets: [n, 2] in [0, 1): how far it is moved down and across, in pixels.
    """
    inside = seen.copy()
    inside[:EDGE] = inside[-EDGE:] = False
    inside[:, :EDGE] = inside[:, -EDGE:] = False
    wrong = [np.square(mixed(picture, down, across) - moved(picture, down, across))[inside] for down, across in offsets]
    return float(np.sqrt(np.mean(wrong)))


def moved(picture: F32, down: float, across: float) -> NDArray[np.float64]:
    """The picture's values so many pixels further, by its Fourier transform; it goes on at the other side."""
    height, width = picture.shape[:2]
    phase = np.fft.fftfreq(height)[:, None, None] * down + np.fft.fftfreq(width)[None, :, None] * across
    turned = np.fft.fft2(picture, axes=(0, 1)) * np.exp(2j * np.pi * phase)
    return np.fft.ifft2(turned, axes=(0, 1)).real


def mixed(picture: F32, down: float, across: float) -> NDArray[np.float64]:
    """The same by mixing four pixels, as a warp does."""
    found = np.zeros(picture.shape)
    for y, rows in ((0, 1 - down), (1, down)):
        for x, columns in ((0, 1 - across), (1, across)):
            found += rows * columns * np.roll(picture, (-y, -x), axis=(0, 1))
    return found
