"""Quantization of single vectors of keys and values, in NumPy: what the device kernels are tested against.

Each vector (one token of one head) has a scale and a zero point of its own: asymmetric, per token and per head
(LeanKV). Codes are packed in planes: with 4 bits, byte j of a vector of d elements holds element j in its low half
and element j + d/2 in its high half; with 2 bits, elements j, j + d/4, j + d/2, j + 3d/4 from the lowest bits on. A
kernel that loads a run of bytes so gets runs of elements and never has to interleave.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

F16 = NDArray[np.float16]
F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]

LARGEST = np.float32(65504)
"""Greater magnitudes are cut off: scale and zero point are float16."""


def quantize(vectors: F32, bits: int) -> tuple[U8, F16, F16]:
    """Round vectors to unsigned codes of ``bits`` bits.

    An element differs afterwards by at most scale/2 + (2^bits - 1) * scale * 2^-11 + |zero| * 2^-11 + 2^-24: the half
    step, and what float16 takes from scale and zero point.

    Args:
        vectors: float32 [..., head_dim]; head_dim a multiple of 8 / bits.
        bits: 2, 4 or 8.

    Returns:
        packed codes uint8 [..., head_dim * bits / 8], scales float16 [...], zero points float16 [...].

    Raises:
        ValueError: other bits, or an element that is not finite.
    """
    if bits not in (2, 4, 8):
        raise ValueError(f"bits {bits}: accepted: 2, 4, 8")
    if not np.isfinite(vectors).all():
        raise ValueError(f"vectors: element {int(np.flatnonzero(~np.isfinite(vectors))[0])} is not finite")
    cut = np.clip(vectors.astype(np.float32), -LARGEST, LARGEST)
    low, high = cut.min(axis=-1), cut.max(axis=-1)
    scale = ((high - low) / np.float32(2**bits - 1)).astype(np.float16)
    zero = low.astype(np.float16)
    step = np.where(scale == 0, np.float16(1), scale).astype(np.float32)[..., None]
    codes = np.floor((cut - zero.astype(np.float32)[..., None]) / step + np.float32(0.5))
    codes = np.clip(codes, 0, 2**bits - 1) * (scale != 0)[..., None]
    return pack(codes.astype(np.uint8), bits), scale, zero


def dequantize(packed: U8, scale: F16, zero: F16, bits: int) -> F32:
    """Return the vectors float32 [..., head_dim] that codes, scales and zero points stand for."""
    codes = unpack(packed, bits).astype(np.float32)
    return codes * scale.astype(np.float32)[..., None] + zero.astype(np.float32)[..., None]


def pack(codes: U8, bits: int) -> U8:
    """Pack codes uint8 [..., d] below 2^bits in planes: uint8 [..., d * bits / 8]."""
    planes = 8 // bits
    split = codes.reshape(*codes.shape[:-1], planes, codes.shape[-1] // planes)
    packed = np.zeros((*codes.shape[:-1], codes.shape[-1] // planes), np.uint8)
    for plane in range(planes):
        packed |= split[..., plane, :] << np.uint8(plane * bits)
    return packed


def unpack(packed: U8, bits: int) -> U8:
    """Return the codes uint8 [..., d] of packed ones."""
    mask = np.uint8(2**bits - 1)
    return np.concatenate([packed >> np.uint8(plane * bits) & mask for plane in range(8 // bits)], axis=-1)
