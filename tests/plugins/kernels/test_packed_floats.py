"""Packed rows of float32: the same bits come back, whatever they are, by every set of instructions and tier."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fairlead_kernels as fk
from fairlead_kernels import reference_packed_floats as reference
from fairlead_kernels import vector_tiers as vt
from fairlead_kernels.packed_floats import RowPacking, packable, stride
from tests.plugins.kernels.cases import examples

DIM, COUNT = 100, 300
native_only = pytest.mark.skipif(not fk.available_isas(), reason="no compiled kernels")


def drawn(count: int, dim: int, seed: int) -> np.ndarray:
    """Rows like embeddings; some have zeros of both signs, denormals, infinity, NaN, exponents far apart."""
    random = np.random.default_rng(seed)
    rows = random.normal(0, 0.05, (count, dim)).astype(np.float32)
    kind = random.integers(0, 8, count)
    rows[kind == 1, ::3] = 0
    rows[kind == 1, 1::3] = -0.0
    rows[kind == 2] *= np.float32(1e-38)
    rows[kind == 3, ::5] = 1e-42
    rows[kind == 4, 0] = 1e30
    rows[kind == 7, dim // 3] = 1e-33
    rows[kind == 7, dim - 1] = -1e-36
    rows[kind == 5, dim - 1] = np.inf
    rows[kind == 5, 0] = np.nan
    rows[kind == 6] = 0
    return rows


def bits(rows: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(rows).view(np.uint32)


@examples(40, seeded=False)
@given(st.integers(1, 70), st.integers(0, 1 << 30), st.integers(0, 40))
def test_the_reference_gives_every_bit_back(dim: int, seed: int, spread: int) -> None:
    random = np.random.default_rng(seed)
    exponents = random.integers(100, 101 + spread, (20, dim)).astype(np.uint32)
    exponents[random.random((20, dim)) < 0.1] = 0
    exponents[:10, random.integers(0, dim, 2)] = 17
    given_bits = random.integers(0, 1 << 23, (20, dim), np.uint32) | exponents << 23
    rows = (given_bits | random.integers(0, 2, (20, dim), np.uint32) << 31).view(np.float32)
    there = packable(rows)
    packed = reference.pack(rows)
    assert packed.shape == (20, stride(dim))
    np.testing.assert_array_equal(bits(reference.unpack(packed, dim))[there], bits(rows)[there])
    assert there.all() or spread > reference.WIDEST
    zeros = np.zeros((2, stride(dim)), np.uint8)
    np.testing.assert_array_equal(bits(reference.unpack(zeros, dim)), 0)


@native_only
@examples(40, seeded=False)
@given(st.integers(36, 420), st.integers(0, 1 << 30))
def test_all_instructions_give_every_bit_back(dim: int, seed: int) -> None:
    if not RowPacking.saves(dim):
        return
    rows = drawn(30, dim, seed)
    for isa in fk.available_isas():
        fk.select(isa)
        packing = RowPacking(dim)
        packed = packing.pack(7, rows.view(np.uint8))
        np.testing.assert_array_equal(packed, reference.pack(rows))
        assert packing.spilled == np.count_nonzero(~packable(rows))
        np.testing.assert_array_equal(packing.unpack(7, packed), rows.view(np.uint8))
        noise = np.random.default_rng(seed).integers(0, 256, packed.shape, np.uint8)
        noise[:, 3 * dim + (dim + 1) // 2 + (dim + 7) // 8] = 77  # none is marked as spilled
        np.testing.assert_array_equal(
            packing.unpack(0, noise).view(np.uint32), bits(reference.unpack(noise, dim)), "bytes that nobody wrote"
        )


@pytest.fixture(params=["dram", "io_uring", "pread", "direct"])
def inner(request: pytest.FixtureRequest, tmp_path: Path) -> vt.Tier:
    size = COUNT * stride(DIM) + 5
    if request.param == "dram":
        return vt.memory_tier("dram:", vt.tier_memory(size))
    path = tmp_path / "region"
    path.write_bytes(bytes(size))
    try:
        return vt.file_tier("file:x", path, direct=request.param == "direct", uring=request.param == "io_uring")
    except vt.TierLost as error:
        pytest.skip(f"no O_DIRECT here: {error}")


@native_only
def test_rows_read_through_a_tier_are_those_written(inner: vt.Tier) -> None:
    packing, random = RowPacking(DIM), np.random.default_rng(3)
    tier: Any = packing.tier(inner)
    row = packing.row_bytes
    assert (tier.size, tier.direct, tier.kind, tier.url) == (COUNT * row, False, inner.kind, inner.url)
    expected = np.zeros((COUNT, DIM), np.float32)
    for seed in range(30):
        count = int(random.integers(1, 90))
        first = int(random.integers(0, COUNT - count + 1))
        expected[first : first + count] = drawn(count, DIM, seed)
        tier.write(first * row, expected[first : first + count].reshape(-1).view(np.uint8))
        assert packing.spilled == np.count_nonzero(~packable(expected))
        starts = random.integers(0, COUNT, 20)
        lengths = np.minimum(random.integers(1, 7, 20), COUNT - starts)
        got = vt.read_batch(tier, starts * row, lengths * row)
        wanted = [expected[start : start + length] for start, length in zip(starts, lengths, strict=True)]
        np.testing.assert_array_equal(got.view(np.uint32), bits(np.concatenate(wanted)).reshape(-1))
    before = tier.counters
    np.testing.assert_array_equal(vt.read_batch(tier, [0], COUNT * row), bits(expected).view(np.uint8).reshape(-1))
    assert np.subtract(tier.counters, before).tolist() == [1, 1, COUNT * packing.stride]


@native_only
def test_many_batches_are_in_flight(inner: vt.Tier) -> None:
    packing = RowPacking(DIM)
    tier: Any = packing.tier(inner)
    offsets = np.random.default_rng(7).integers(0, COUNT - 2, 240).astype(np.uint64) * packing.row_bytes
    latencies = np.empty(60)
    assert tier.measure(offsets, 2 * packing.row_bytes, 4, 5, latencies) > 0
    assert tier.counters == (60, 240, 480 * packing.stride)


@native_only
def test_what_is_refused(inner: vt.Tier) -> None:
    packing = RowPacking(DIM)
    tier = packing.tier(inner)
    for offset, length in ((0, 3), (4, 400), (400, 401)):
        with pytest.raises(ValueError, match="packed rows of 400 bytes are read and written whole"):
            vt.read_batch(tier, [offset], length)
    with pytest.raises(ValueError, match="whole"):
        tier.write(0, np.zeros(5, np.uint8))
    with pytest.raises(IndexError, match="leave the region"):
        vt.read_batch(tier, [COUNT * 400], 400)
    with pytest.raises(IndexError, match="leave the region"):
        tier.write((COUNT - 1) * 400, np.zeros(800, np.uint8))
    with pytest.raises(ValueError, match="take less packed"):
        RowPacking(5)


@native_only
def test_a_bad_block_fails_its_batch_alone(tmp_path: Path) -> None:
    packing = RowPacking(DIM)
    path = tmp_path / "region"
    path.write_bytes(bytes(COUNT * packing.stride))
    tier = packing.tier(vt.file_tier("file:x", path, broken=[(5 * packing.stride, 5 * packing.stride + 1)]))
    rows = drawn(3, DIM, 1)
    tier.write(0, rows.reshape(-1).view(np.uint8))
    for _ in range(2):
        with pytest.raises(vt.TierLost, match="cannot be read"):
            vt.read_batch(tier, [0, 5 * 400], 400)
        np.testing.assert_array_equal(vt.read_batch(tier, [0], 1200), rows.reshape(-1).view(np.uint8))
