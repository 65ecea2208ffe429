"""Pictures mixed so that their detail stays about as strong as it was.

Strokes of two pictures that differ cancel out in their mean: of n independent ones it has 1/n of the energy. Each
band of detail is made as strong again, place by place, as blending of textures keeps their variance (Heitz and Neyret,
HPG 2018). What is wanted must be the energy of what is mixed, moved along as it is: where a new frame has strokes and
an earlier one had none, a gain would make strokes of the earlier one's noise.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from .flow import opencv

F32 = NDArray[np.float32]
#: Deviations of the Gaussians that part bands, in pixels; each from what is left of the one before. The first is so
#: small that the finest strokes, which warps blur most, have a band of their own.
SCALES = (0.7, 1.4, 2.8)
#: Deviation of the window over which a band's energy is taken, in deviations of its Gaussian.
_WINDOW = 2
#: By how much detail is made weaker or stronger at most: what is nearly gone would come back as grain.
_LEAST, _MOST = 0.7, 2.0
#: Below a step of 8 bits, so that even places are left as they are.
_NOTHING = np.float32(1e-6)


def energies(picture: F32) -> list[F32]:
    """Of each band's detail, finest first: mean squares around each place, [height, width] each.

    Args:
        picture: float32 [height, width, 3].

    Raises:
        MissingExtra: OpenCV is not installed.
    """
    return [_energy(band, scale) for scale, band in zip(SCALES, bands(picture), strict=False)]


def bands(picture: F32) -> Iterator[F32]:
    """Detail by bands, finest first, and last what is coarser; they sum to the picture [height, width, channels]."""
    for scale in SCALES:
        coarser = _blurred(picture, scale)
        yield picture - coarser
        picture = coarser
    yield picture


def mixed(one: F32, near: F32, far: F32, *, sure: F32, coarse: F32, fine: F32, wanted: Sequence[F32]) -> F32:
    """A picture mixed with others, with as much detail as is wanted: float32 [height, width, 3], not clipped.

    Args:
        one: float32 [height, width, 3].
        near, far: the others; what is coarse comes from ``near``.
        sure: [height, width] in [0, 1], how much of the others' detail comes from ``far``.
        coarse, fine: [height, width] in [0, 1], how much of the others is taken: of what is coarse, and of detail.
        wanted: each band's energy at each place, as `energies` tells it.
    """
    parts = zip(bands(one), bands(near), bands(far), strict=True)
    found = np.zeros_like(one)
    for scale, energy in zip(SCALES, wanted, strict=True):
        own, close, distant = next(parts)
        part = own + fine[..., None] * (close + sure[..., None] * (distant - close) - own)
        gain = np.sqrt((energy + _NOTHING) / (_energy(part, scale) + _NOTHING))
        # Windows reach across the border of what is taken: beyond it the picture is what it is.
        gain = 1 + np.minimum(1, 2 * fine) * (np.clip(gain, _LEAST, _MOST) - 1)
        found += gain[..., None] * part
    own, close, _ = next(parts)
    return (found + own + coarse[..., None] * (close - own)).astype(np.float32)


def _energy(band: NDArray[np.floating], scale: float) -> F32:
    return _blurred(np.square(band).mean(axis=2).astype(np.float32), _WINDOW * scale)


def _blurred(picture: F32, deviation: float) -> F32:
    cv2 = opencv()
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), deviation, borderType=cv2.BORDER_REFLECT_101), np.float32)
