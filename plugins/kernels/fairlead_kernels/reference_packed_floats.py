"""Rows of float32 without loss in less space, in NumPy: the layout of `fairlead/vectors/packed_floats.hpp`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

U8 = NDArray[np.uint8]

#: Stands in place of the largest exponent where the row does not lie here; the code of an exponent field of 0; how far
#: exponents may lie below the largest.
SPILLED, ZERO, WIDEST = 255, 31, 30


def stride(dim: int) -> int:
    """Return the bytes of a packed row of `dim` floats, a multiple of 16."""
    planes = 3 * dim + (dim + 1) // 2 + (dim + 7) // 8
    return (planes + 1 + 15) // 16 * 16


def packable(rows: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return which rows [n, dim] can be packed: their exponents lie near each other, and all are finite."""
    exponents = _exponents(rows)
    top = exponents.max(axis=1, initial=0)
    least = np.where(exponents == 0, 255, exponents).min(axis=1, initial=255)
    return (top < 255) & (least + WIDEST >= top)


def pack(rows: NDArray[np.float32]) -> U8:
    """Return rows [n, dim] packed, uint8 [n, stride]; those that cannot be are marked as spilled, and zeros."""
    count, dim = rows.shape
    bits, exponents = np.ascontiguousarray(rows, np.float32).view(np.uint32), _exponents(rows)
    top = exponents.max(axis=1, initial=0)
    codes = np.where(exponents == 0, ZERO, top[:, None] - exponents).astype(np.uint8)
    nibbles = np.zeros((count, (dim + 1) // 2 * 2), np.uint8)
    nibbles[:, :dim] = codes & 15
    planes = [
        (bits & 0xFFFF).astype("<u2").view(np.uint8).reshape(count, 2 * dim),
        ((bits >> 24 & 128) | (bits >> 16 & 127)).astype(np.uint8),
        nibbles[:, ::2] | nibbles[:, 1::2] << 4,
        np.packbits(codes >> 4 & 1, axis=1, bitorder="little"),
        top[:, None].astype(np.uint8),
    ]
    joined = np.concatenate(planes, axis=1)
    out = np.zeros((count, stride(dim)), np.uint8)
    there = packable(rows)
    out[there, : joined.shape[1]] = joined[there]
    out[~there, joined.shape[1] - 1] = SPILLED
    return out


def unpack(packed: U8, dim: int) -> NDArray[np.float32]:
    """Return the rows, float32 [n, dim]; those that are spilled have zeros."""
    count, (at, half) = len(packed), (3 * dim, (dim + 1) // 2)
    low = np.ascontiguousarray(packed[:, : 2 * dim]).view("<u2").astype(np.uint32)
    high = packed[:, 2 * dim : at].astype(np.uint32)
    nibbles = packed[:, at : at + half]
    codes = np.stack([nibbles & 15, nibbles >> 4], axis=2).reshape(count, -1)[:, :dim]
    end = at + half + (dim + 7) // 8
    codes = codes | np.unpackbits(packed[:, at + half : end], axis=1, bitorder="little", count=dim) << 4
    top = packed[:, end].astype(np.uint32)[:, None]
    exponents = np.where(codes == ZERO, 0, (top - codes) & 255).astype(np.uint32)
    bits = (high & 128) << 24 | exponents << 23 | (high & 127) << 16 | low
    return np.where(top == SPILLED, np.uint32(0), bits).astype(np.uint32).view(np.float32)


def _exponents(rows: NDArray[np.float32]) -> NDArray[np.int32]:
    return (np.ascontiguousarray(rows, np.float32).view(np.uint32) >> 23 & 255).astype(np.int32)
