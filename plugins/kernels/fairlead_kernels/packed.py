"""Packed weights of 4 or 8 bits: groups of 32 columns share one float16 scale, laid out for integer dot products.

A row holds all its values and then all its scales. The groups stand in superblocks of 16 lanes (the last has its
groups rounded up to a multiple of 4; a lane without a group is zero, and so is its scale). Vector v (0..7) of a
superblock has in lane g the four weights 4v..4v+3 of group g. A weight is stored as an unsigned u that stands for
(u - 2^(bits - 1)) * scale. With 8 bits a vector is 4 bytes a lane; with 4 bits vectors 2c and 2c + 1 share the
lower and upper halves of chunk c (0..3). Two bytes a lane of scales follow in group order, then zeros up to a
multiple of 16 bytes: 2048 columns are 1152 bytes with 4 bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels.checks import array_of
from fairlead_kernels.quantized import GROUP, Q8Matrix

BITS = (4, 8)
LANES = 16
U8 = NDArray[np.uint8]
F16 = NDArray[np.float16]
F32 = NDArray[np.float32]


def padded_groups(columns: int) -> int:
    """Return the lanes of a row: its groups rounded up to a multiple of 4."""
    return -(-columns // (4 * GROUP)) * 4


def packed_row_bytes(columns: int, bits: int) -> int:
    """Return the bytes of one packed row.

    Raises:
        ValueError: columns are not a positive multiple of 32, or bits are neither 4 nor 8.
    """
    _check_shape(columns, bits)
    lanes = padded_groups(columns)
    return -(-(lanes * GROUP * bits // 8 + 2 * lanes) // 16) * 16


def _check_shape(columns: int, bits: int) -> None:
    if bits not in BITS:
        raise ValueError(f"bits: must be 4 or 8, got {bits}")
    if columns <= 0 or columns % GROUP:
        raise ValueError(f"columns: must be a positive multiple of {GROUP}, got {columns}")


@dataclass(frozen=True, eq=False, slots=True)
class PackedMatrix:
    """A matrix of 4 or 8 bit weights in the layout that this module's first lines describe.

    Attributes:
        data: uint8 [rows, packed_row_bytes(columns, bits)]. Rows may lie apart (a column range of a bundle array)
            but each is contiguous. Read-only arrays (a memory map) are fine.
        columns: weights in a row, a multiple of 32.
        bits: 4 or 8.

    Raises:
        ValueError: the array has the wrong type, shape or memory layout.
    """

    data: U8
    columns: int
    bits: int

    def __post_init__(self) -> None:
        width = packed_row_bytes(self.columns, self.bits)
        value: Any = self.data
        if not isinstance(value, np.ndarray):
            raise ValueError(f"data: must be a NumPy array of uint8, got {type(value).__name__}")
        data = cast(NDArray[Any], value)
        if data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != width:
            raise ValueError(f"data: must be uint8 [any, {width}], got {data.dtype} {list(data.shape)}")
        if len(data) and (data.strides[1] != 1 or (len(data) > 1 and data.strides[0] < width)):
            raise ValueError(f"data: rows must be contiguous and not overlap, got strides {list(data.strides)}")

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.data.shape[0], self.columns

    @property
    def nbytes(self) -> int:
        """Bytes of the rows, padding included; what lies between strided rows does not count."""
        return self.data.shape[0] * self.data.shape[1]

    def values(self) -> NDArray[np.int8]:
        """Return the integers int8 [rows, columns] before scaling."""
        offset = 1 << (self.bits - 1)
        return (_unpacked(self.data, self.columns, self.bits).astype(np.int16) - offset).astype(np.int8)

    def scales(self) -> F16:
        """Return the scales float16 [rows, columns / 32]."""
        lanes = padded_groups(self.columns)
        start = lanes * GROUP * self.bits // 8
        scale = np.ascontiguousarray(self.data[:, start : start + 2 * lanes]).view(np.float16)
        return np.ascontiguousarray(scale[:, : self.columns // GROUP])

    def dequantize(self) -> F32:
        """Return the float32 [rows, columns] that this matrix stands for; every value is exact."""
        rows, columns = self.shape
        groups = self.values().reshape(rows, columns // GROUP, GROUP).astype(np.float32)
        return (groups * self.scales().astype(np.float32)[:, :, None]).reshape(rows, columns)

    def take(self, rows: NDArray[np.integer[Any]] | slice) -> PackedMatrix:
        """Return the chosen rows as a matrix of their own (a view where NumPy gives one)."""
        return PackedMatrix(self.data[rows], self.columns, self.bits)


def _superblocks(lanes: int) -> list[tuple[int, int]]:
    """First lane and number of lanes of each superblock."""
    return [(start, min(LANES, lanes - start)) for start in range(0, lanes, LANES)]


def _unpacked(data: U8, columns: int, bits: int) -> U8:
    """The unsigned weights [rows, columns] of packed rows."""
    rows, lanes = data.shape[0], padded_groups(columns)
    out = np.empty((rows, lanes, 8, 4), np.uint8)
    for start, count in _superblocks(lanes):
        begin = start * GROUP * bits // 8
        block = data[:, begin : begin + count * GROUP * bits // 8]
        if bits == 4:
            chunk = block.reshape(rows, 4, 1, count, 4)
            block = np.concatenate((chunk & 15, chunk >> 4), axis=2)
        out[:, start : start + count] = block.reshape(rows, 8, count, 4).transpose(0, 2, 1, 3)
    return out.reshape(rows, lanes * GROUP)[:, :columns]


def assemble(unsigned: U8, scale: F16, bits: int) -> PackedMatrix:
    """Lay out unsigned weights uint8 [rows, columns] (below 2^bits) and float16 scales [rows, columns / 32].

    Raises:
        ValueError: wrong types or shapes, or a weight that does not fit the bits.
    """
    array_of("unsigned", unsigned, np.uint8, (None, None))
    rows, columns = unsigned.shape
    width = packed_row_bytes(columns, bits)
    array_of("scale", scale, np.float16, (rows, columns // GROUP))
    if bits == 4 and unsigned.size and int(unsigned.max()) > 15:
        raise ValueError(f"unsigned: must be below 16 for 4 bits, got {int(unsigned.max())}")
    groups, lanes = columns // GROUP, padded_groups(columns)
    out = np.zeros((rows, width), np.uint8)
    lane = np.zeros((rows, lanes, 8, 4), np.uint8)
    lane[:, :groups] = unsigned.reshape(rows, groups, 8, 4)
    for start, count in _superblocks(lanes):
        block = lane[:, start : start + count].transpose(0, 2, 1, 3)
        if bits == 4:
            block = block[:, 0::2] | block[:, 1::2] << 4
        begin = start * GROUP * bits // 8
        out[:, begin : begin + count * GROUP * bits // 8] = block.reshape(rows, count * GROUP * bits // 8)
    begin = lanes * GROUP * bits // 8
    out[:, begin : begin + 2 * groups] = scale.view(np.uint8).reshape(rows, 2 * groups)
    return PackedMatrix(out, columns, bits)


def pack_q8(matrix: Q8Matrix) -> PackedMatrix:
    """Repack a Q8 matrix with 8 bits; every weight keeps its exact value."""
    unsigned = np.bitwise_xor(matrix.q.view(np.uint8), 128, dtype=np.uint8)
    return assemble(unsigned, matrix.scale, 8)


def pack_q4_0(blocks: U8) -> PackedMatrix:
    """Repack GGUF Q4_0 blocks uint8 [rows, 18 columns / 32] with 4 bits; every weight keeps its exact value.

    Raises:
        ValueError: wrong type or shape, or a scale that is not finite.
    """
    block, scale = _gguf_blocks(blocks, 18)
    rows, groups = scale.shape
    unsigned: U8 = np.concatenate((block[:, :, 2:] & 15, block[:, :, 2:] >> 4), axis=2, dtype=np.uint8)
    return assemble(unsigned.reshape(rows, groups * GROUP), scale, 4)


def pack_q8_0(blocks: U8) -> PackedMatrix:
    """Repack GGUF Q8_0 blocks uint8 [rows, 34 columns / 32] with 8 bits; every weight keeps its exact value.

    Raises:
        ValueError: wrong type or shape, or a scale that is not finite.
    """
    block, scale = _gguf_blocks(blocks, 34)
    rows, groups = scale.shape
    unsigned = np.bitwise_xor(block[:, :, 2:], 128, dtype=np.uint8)
    return assemble(unsigned.reshape(rows, groups * GROUP), scale, 8)


def _gguf_blocks(blocks: U8, size: int) -> tuple[U8, F16]:
    array_of("blocks", blocks, np.uint8, (None, None))
    rows, width = blocks.shape
    if width <= 0 or width % size:
        raise ValueError(f"blocks: rows must be a positive multiple of {size} bytes, got {width}")
    block = blocks.reshape(rows, width // size, size)
    scale = np.ascontiguousarray(block[:, :, :2]).view(np.float16).reshape(rows, width // size)
    if not np.isfinite(scale).all():
        at = int(np.flatnonzero(~np.isfinite(scale))[0])
        raise ValueError(f"blocks: the scale of block {at} is not finite")
    return block, np.ascontiguousarray(scale)
