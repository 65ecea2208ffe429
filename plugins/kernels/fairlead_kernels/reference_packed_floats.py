"""Rows of float32 without loss in less space, in NumPy: the layout of `fairlead/vectors/packed_floats.hpp`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

U8 = NDArray[np.uint8]

#: Stands in place of the largest exponent where the row does not lie here.
SPILLED = 255
#: How far below the largest exponent a code goes; the codes of one that lies further, and of a field of 0.
WIDEST, FAR, ZERO = 29, 30, 31


def stride(dim: int) -> int:
    """Return the bytes of a packed row of `dim` floats, a multiple of 16."""
    return (_planes(dim) + 1 + 2 + dim // 128 + 15) // 16 * 16


def packable(rows: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return which rows [n, dim] can be packed: finite ones, few of whose exponents are far below the largest."""
    exponents = _exponents(rows)
    top = exponents.max(axis=1, initial=0)
    room = stride(rows.shape[1]) - _planes(rows.shape[1]) - 1
    return (top < 255) & (_far(exponents, top).sum(axis=1) <= room)


def pack(rows: NDArray[np.float32]) -> U8:
    """Return rows [n, dim] packed, uint8 [n, stride]; those that cannot be are marked as spilled, and zeros."""
    count, dim = rows.shape
    bits, exponents = np.ascontiguousarray(rows, np.float32).view(np.uint32), _exponents(rows)
    top = exponents.max(axis=1, initial=0)
    codes = np.where(exponents == 0, ZERO, np.minimum(top[:, None] - exponents, FAR)).astype(np.uint8)
    nibbles = np.zeros((count, (dim + 1) // 2 * 2), np.uint8)
    nibbles[:, :dim] = codes & 15
    planes = [
        (bits & 0xFFFF).astype("<u2").view(np.uint8).reshape(count, 2 * dim),
        ((bits >> 24 & 128) | (bits >> 16 & 127)).astype(np.uint8),
        nibbles[:, ::2] | nibbles[:, 1::2] << 4,
        np.packbits(codes >> 4 & 1, axis=1, bitorder="little"),
        top[:, None].astype(np.uint8),
    ]
    joined, end = np.concatenate(planes, axis=1), _planes(dim)
    out = np.zeros((count, stride(dim)), np.uint8)
    there = packable(rows)
    out[there, : end + 1] = joined[there]
    out[~there, end] = SPILLED
    for i in np.flatnonzero(there):
        far = exponents[i, codes[i] == FAR]
        out[i, end + 1 : end + 1 + len(far)] = far
    return out


def unpack(packed: U8, dim: int) -> NDArray[np.float32]:
    """Return the rows, float32 [n, dim]; those that are spilled have zeros."""
    count, at, end = len(packed), 3 * dim, _planes(dim)
    half = at + (dim + 1) // 2
    low = np.ascontiguousarray(packed[:, : 2 * dim]).view("<u2").astype(np.uint32)
    high = packed[:, 2 * dim : at].astype(np.uint32)
    nibbles = packed[:, at:half]
    codes = np.stack([nibbles & 15, nibbles >> 4], axis=2).reshape(count, -1)[:, :dim]
    codes = codes | np.unpackbits(packed[:, half:end], axis=1, bitorder="little", count=dim) << 4
    top = packed[:, end].astype(np.uint32)[:, None]
    exponents = np.where(codes >= FAR, 0, (top - codes) & 255).astype(np.uint32)
    for i in range(count):
        far = np.flatnonzero(codes[i] == FAR)[: packed.shape[1] - end - 1]
        exponents[i, far] = packed[i, end + 1 : end + 1 + len(far)]
    bits = (high & 128) << 24 | exponents << 23 | (high & 127) << 16 | low
    return np.where(top == SPILLED, np.uint32(0), bits).astype(np.uint32).view(np.float32)


def _planes(dim: int) -> int:
    """Bytes before the largest exponent."""
    return 3 * dim + (dim + 1) // 2 + (dim + 7) // 8


def _exponents(rows: NDArray[np.float32]) -> NDArray[np.int32]:
    return (np.ascontiguousarray(rows, np.float32).view(np.uint32) >> 23 & 255).astype(np.int32)


def _far(exponents: NDArray[np.int32], top: NDArray[np.int32]) -> NDArray[np.bool_]:
    return (exponents != 0) & (exponents + WIDEST < top[:, None])
