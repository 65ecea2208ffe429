"""Matrix products against float64, for every ISA, shape and batch."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fairlead_kernels as fk
from tests.plugins.kernels.cases import closeness, each_backend, each_isa, examples, floats, matrix

shapes = {"rows": st.integers(1, 23), "groups": st.integers(1, 9), "seed": st.integers(0, 2**32 - 1)}


@each_backend
@examples(40)
@given(**shapes, batch=st.integers(0, 11))
def test_gemm_equals_the_exact_product(choice: str, rows: int, groups: int, seed: int, batch: int) -> None:
    fk.select(choice)
    rng = np.random.default_rng(seed)
    m, x = matrix(rng, rows, 32 * groups), floats(rng, batch, 32 * groups)
    out = fk.gemm_q8(m, x)
    assert out.shape == (batch, rows)
    assert out.dtype == np.float32
    for b in range(batch):
        exact = m.dequantize().astype(np.float64) @ x[b].astype(np.float64)
        assert np.all(np.abs(out[b] - exact) <= closeness(m.dequantize(), x[b]))


@each_isa
@examples(30)
@given(**shapes, batch=st.integers(1, 11))
def test_a_batch_computes_the_same_bits_as_its_rows(isa: str, rows: int, groups: int, seed: int, batch: int) -> None:
    fk.select(isa)
    rng = np.random.default_rng(seed)
    m, x = matrix(rng, rows, 32 * groups), floats(rng, batch, 32 * groups)
    np.testing.assert_array_equal(fk.gemm_q8(m, x), np.stack([fk.gemv_q8(m, one) for one in x]))


@each_isa
def test_a_row_does_not_depend_on_its_neighbours(isa: str) -> None:
    fk.select(isa)
    rng = np.random.default_rng(5)
    m, x = matrix(rng, 11, 96), floats(rng, 96)
    whole = fk.gemv_q8(m, x)
    for row in range(11):
        np.testing.assert_array_equal(fk.gemv_q8(m.take(slice(row, row + 1)), x), whole[row : row + 1])


@each_backend
def test_extreme_values_count_in_full(choice: str) -> None:
    fk.select(choice)
    m = fk.Q8Matrix(np.full((5, 64), -128, np.int8), np.full((5, 2), 65504, np.float16))
    np.testing.assert_array_equal(fk.gemv_q8(m, np.ones(64, np.float32)), np.full(5, -128 * 65504 * 64.0, np.float32))


@each_backend
def test_subnormal_scales_are_exact(choice: str) -> None:
    fk.select(choice)
    scale = np.frombuffer(np.array([1, 1023], np.uint16).tobytes(), np.float16).reshape(1, 2)
    m = fk.Q8Matrix(np.full((1, 64), 3, np.int8), scale)
    expected = np.float32(3 * 32 * (1 + 1023) * 2.0**-24)
    np.testing.assert_array_equal(fk.gemv_q8(m, np.ones(64, np.float32)), [expected])


@each_backend
def test_nan_reaches_the_result(choice: str) -> None:
    fk.select(choice)
    m, x = matrix(np.random.default_rng(0), 6, 64), np.zeros(64, np.float32)
    x[33] = np.nan
    assert np.isnan(fk.gemv_q8(m, x)).all()


def test_float32_twins_multiply() -> None:
    rng = np.random.default_rng(9)
    m, x = floats(rng, 5, 7), floats(rng, 3, 7)
    np.testing.assert_allclose(fk.gemm_f32(m, x)[2], fk.gemv_f32(m, x[2]), rtol=1e-5, atol=1e-6)


@each_backend
def test_wrong_sizes_are_refused(choice: str) -> None:
    fk.select(choice)
    m = matrix(np.random.default_rng(0), 4, 64)
    with pytest.raises(ValueError, match=r"x: must be float32 \[64\], got float32 \[32\]"):
        fk.gemv_q8(m, np.zeros(32, np.float32))
    with pytest.raises(ValueError, match=r"x: must be float32 \[any, 64\], got float64 \[2, 64\]"):
        fk.gemm_q8(m, np.zeros((2, 64)))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="matrix: must be a Q8Matrix, got ndarray"):
        fk.gemv_q8(np.zeros((4, 64), np.float32), np.zeros(64, np.float32))  # type: ignore[arg-type]
