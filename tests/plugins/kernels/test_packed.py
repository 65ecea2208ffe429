"""Packed weights: the layout, exact repacking, and one clear error for what cannot be."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fairlead_kernels as fk
from tests.plugins.kernels.cases import each_backend, examples, floats, matrix

shapes = {"rows": st.integers(0, 7), "groups": st.integers(1, 37), "seed": st.integers(0, 2**32 - 1)}


def q4_blocks(rng: np.random.Generator, rows: int, groups: int) -> np.ndarray:
    """Random GGUF Q4_0 blocks with finite scales of both signs."""
    blocks = rng.integers(0, 256, (rows, groups, 18), np.uint8)
    blocks[:, :, :2] = floats(rng, rows, groups).astype(np.float16)[..., None].view(np.uint8)
    return blocks.reshape(rows, groups * 18)


def q4_values(blocks: np.ndarray) -> np.ndarray:
    """What Q4_0 blocks stand for, block by block as GGUF defines them."""
    rows = blocks.shape[0]
    groups = blocks.shape[1] // 18
    block = blocks.reshape(rows, groups, 18)
    scale = np.ascontiguousarray(block[:, :, :2]).view(np.float16).astype(np.float32)
    low, high = (block[:, :, 2:] & 15).astype(np.float32) - 8, (block[:, :, 2:] >> 4).astype(np.float32) - 8
    return (np.concatenate((low, high), axis=2) * scale).reshape(rows, groups * 32)


@examples(40)
@given(**shapes)
def test_q4_0_blocks_keep_every_value(rows: int, groups: int, seed: int) -> None:
    blocks = q4_blocks(np.random.default_rng(seed), rows, groups)
    packed = fk.pack_q4_0(blocks)
    assert packed.shape == (rows, 32 * groups)
    np.testing.assert_array_equal(packed.dequantize(), q4_values(blocks))


@examples(40)
@given(**shapes)
def test_q8_keeps_every_value(rows: int, groups: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    m = fk.Q8Matrix(rng.integers(-128, 128, (rows, 32 * groups), np.int8), floats(rng, rows, groups).astype(np.float16))
    packed = fk.pack_q8(m)
    np.testing.assert_array_equal(packed.values(), m.q)
    np.testing.assert_array_equal(packed.dequantize(), m.dequantize())
    block = np.concatenate(
        (m.scale[..., None].view(np.uint8), m.q.reshape(rows, groups, 32).view(np.uint8)), axis=2
    ).reshape(rows, groups * 34)
    np.testing.assert_array_equal(fk.pack_q8_0(block).data, packed.data)


def test_the_layout_is_the_documented_one() -> None:
    """Weight 4v + j of group g lies in byte 4 (16 c + g) + j of chunk c = v // 2, upper half for odd v."""
    rng = np.random.default_rng(0)
    blocks = q4_blocks(rng, 3, 16 + 6)
    packed = fk.pack_q4_0(blocks)
    values = packed.values()
    for g, lanes, start in ((5, 16, 0), (3, 8, 16)):
        for v in range(8):
            for j in range(4):
                at = start * 16 + v // 2 * 4 * lanes + 4 * g + j
                nibble = packed.data[:, at] >> 4 if v % 2 else packed.data[:, at] & 15
                np.testing.assert_array_equal(nibble.astype(np.int8) - 8, values[:, 32 * (start + g) + 4 * v + j])


@pytest.mark.parametrize(
    ("columns", "bits", "size"), [(2048, 4, 1152), (2048, 8, 2176), (32, 4, 80), (32, 8, 144), (640, 4, 368)]
)
def test_row_bytes(columns: int, bits: int, size: int) -> None:
    assert fk.packed_row_bytes(columns, bits) == size


@each_backend
@examples(40)
@given(**shapes)
def test_packing_4_bits_is_within_half_a_step(choice: str, rows: int, groups: int, seed: int) -> None:
    fk.select(choice)
    values = floats(np.random.default_rng(seed), rows, 32 * groups)
    packed = fk.pack(values, 4)
    step = np.repeat(np.abs(packed.scales().astype(np.float64)), 32, axis=1)
    # Values near the opposite end of the largest are clipped at 7: up to one step more.
    assert np.all(np.abs(packed.dequantize() - values) <= step * 1.01 + 1e-7)
    inner = np.abs(values) <= 7 * step
    assert np.all(np.abs(packed.dequantize() - values)[inner] <= (step * 0.501 + 1e-7)[inner])


@each_backend
def test_packing_8_bits_is_quantize_q8(choice: str) -> None:
    fk.select(choice)
    values = floats(np.random.default_rng(1), 5, 96)
    np.testing.assert_array_equal(fk.pack(values, 8).data, fk.pack_q8(fk.quantize_q8(values)).data)


def test_zeros_stay_zero() -> None:
    for bits in (4, 8):
        assert not fk.pack(np.zeros((3, 64), np.float32), bits).dequantize().any()


def test_rows_of_bundles_are_views() -> None:
    rng = np.random.default_rng(2)
    parts = [fk.pack(floats(rng, 9, 96), 4) for _ in range(3)]
    bundles = np.concatenate([part.data for part in parts], axis=1)
    width = fk.packed_row_bytes(96, 4)
    for i, part in enumerate(parts):
        seen = fk.PackedMatrix(bundles[:, i * width : (i + 1) * width], 96, 4)
        assert np.shares_memory(seen.data, bundles)
        np.testing.assert_array_equal(seen.dequantize(), part.dequantize())
        np.testing.assert_array_equal(seen.take(np.array([7, 2])).dequantize(), part.dequantize()[[7, 2]])
        assert seen.nbytes == part.nbytes == 9 * width


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e7])
def test_unrepresentable_values_are_refused(bits: int, bad: float) -> None:
    values = floats(np.random.default_rng(0), 2, 64)
    values[1, 40] = bad
    with pytest.raises(ValueError, match=r"^matrix: (value 104 is not finite|group 3 has a magnitude above)"):
        fk.pack(values, bits)


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="bits: must be 4 or 8, got 5"):
        fk.pack(np.zeros((2, 64), np.float32), 5)
    with pytest.raises(ValueError, match="columns: must be a positive multiple of 32, got 48"):
        fk.pack(np.zeros((2, 48), np.float32), 4)
    with pytest.raises(ValueError, match=r"data: must be uint8 \[any, 80\], got uint8 \[2, 72\]"):
        fk.PackedMatrix(np.zeros((2, 72), np.uint8), 32, 4)
    with pytest.raises(ValueError, match=r"data: rows must be contiguous and not overlap, got strides \[1, 2\]"):
        fk.PackedMatrix(np.zeros((80, 2), np.uint8).T, 32, 4)
    overlapping = np.lib.stride_tricks.as_strided(np.zeros(200, np.uint8), (3, 80), (16, 1))
    with pytest.raises(ValueError, match="data: rows must be contiguous and not overlap"):
        fk.PackedMatrix(overlapping, 32, 4)
    with pytest.raises(ValueError, match="blocks: rows must be a positive multiple of 18 bytes, got 20"):
        fk.pack_q4_0(np.zeros((2, 20), np.uint8))
    blocks = np.zeros((2, 36), np.uint8)
    blocks[1, 18:20] = 0xFF
    with pytest.raises(ValueError, match="blocks: the scale of block 3 is not finite"):
        fk.pack_q4_0(blocks)
    with pytest.raises(ValueError, match="matrix: must be a PackedMatrix, got Q8Matrix"):
        fk.gemv_packed(matrix(np.random.default_rng(0), 4, 64), np.zeros(64, np.float32))  # type: ignore[arg-type]
