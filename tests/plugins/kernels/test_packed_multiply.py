"""Products of packed weights: the reference's integers, and bits that depend on nothing but row and vector."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fairlead_kernels as fk
from fairlead_kernels import reference_packed
from tests.plugins.kernels.cases import bundled, closeness, each_backend, each_isa, examples, floats, packed

each_width = pytest.mark.parametrize("bits", [4, 8])
shapes = {"rows": st.integers(1, 23), "groups": st.integers(1, 37), "seed": st.integers(0, 2**32 - 1)}


def rounded(x: np.ndarray) -> np.ndarray:
    """What the activations are after their rounding to int8."""
    q, scale = reference_packed.quantize_activations(x)
    return (q * scale[:, :, None]).reshape(x.shape)


@each_backend
@each_width
@examples(25)
@given(**shapes, batch=st.integers(0, 11))
def test_gemm_is_the_product_of_the_rounded_activations(
    choice: str, bits: int, rows: int, groups: int, seed: int, batch: int
) -> None:
    fk.select(choice)
    rng = np.random.default_rng(seed)
    m, x = packed(rng, rows, 32 * groups, bits), floats(rng, batch, 32 * groups)
    out = fk.gemm_packed(m, x)
    assert out.shape == (batch, rows)
    for b in range(batch):
        exact = m.dequantize().astype(np.float64) @ rounded(x)[b].astype(np.float64)
        assert np.all(np.abs(out[b] - exact) <= closeness(m.dequantize(), x[b]))


@examples(25)
@given(groups=st.integers(1, 20), seed=st.integers(0, 2**32 - 1))
def test_rounding_activations_errs_by_half_a_step(groups: int, seed: int) -> None:
    x = floats(np.random.default_rng(seed), 3, 32 * groups)
    step = np.repeat(np.abs(x).reshape(3, groups, 32).max(axis=2) / 127, 32, axis=1)
    assert np.all(np.abs(rounded(x) - x) <= step * 0.5001)


@each_isa
@each_width
@examples(25)
@given(**shapes, batch=st.integers(1, 21))
def test_a_batch_computes_the_same_bits_as_its_rows(
    isa: str, bits: int, rows: int, groups: int, seed: int, batch: int
) -> None:
    fk.select(isa)
    rng = np.random.default_rng(seed)
    m, x = packed(rng, rows, 32 * groups, bits), floats(rng, batch, 32 * groups)
    np.testing.assert_array_equal(fk.gemm_packed(m, x), np.stack([fk.gemv_packed(m, one) for one in x]))


@each_isa
@each_width
def test_neither_neighbours_nor_strides_nor_threads_change_a_bit(isa: str, bits: int) -> None:
    fk.select(isa)
    rng = np.random.default_rng(5)
    m, x = packed(rng, 2011, 352, bits), floats(rng, 5, 352)
    whole = fk.gemv_packed(m, x[0]), fk.gemm_packed(m, x)
    for row in (0, 3, 1007, 2010):
        one = m.take(slice(row, row + 1))
        np.testing.assert_array_equal(fk.gemv_packed(one, x[0]), whole[0][row : row + 1])
    view = bundled(packed(rng, 2011, 64, 4), m)[1]
    for threads in (1, 2, 5):
        fk.set_threads(threads)
        np.testing.assert_array_equal(fk.gemv_packed(view, x[0]), whole[0])
        np.testing.assert_array_equal(fk.gemm_packed(view, x), whole[1])


@each_backend
@each_width
def test_extreme_weights_and_activations_do_not_overflow(choice: str, bits: int) -> None:
    """The largest products of one sign and of the other, which saturating instructions would clip."""
    fk.select(choice)
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    for weight in (low, high):
        unsigned = np.full((5, 96), weight - low, np.uint8)
        m = fk.packed.assemble(unsigned, np.ones((5, 3), np.float16), bits)
        for sign in (1, -1):
            x = np.full(96, 127 * sign, np.float32)
            np.testing.assert_array_equal(fk.gemv_packed(m, x), np.full(5, 96 * 127.0 * sign * weight, np.float32))


@each_backend
@each_width
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_reach_the_result(choice: str, bits: int, bad: float) -> None:
    fk.select(choice)
    m, x = packed(np.random.default_rng(0), 6, 64, bits), np.zeros((2, 64), np.float32)
    x[0, 33] = bad
    out = fk.gemm_packed(m, x)
    assert np.isnan(out[0]).all()
    assert not out[1].any()


@each_backend
def test_tiny_and_huge_activations(choice: str) -> None:
    fk.select(choice)
    m = fk.pack(np.ones((3, 32), np.float32), 8)
    assert not fk.gemv_packed(m, np.full(32, 1e-38, np.float32)).any()
    np.testing.assert_allclose(fk.gemv_packed(m, np.full(32, 1e-29, np.float32)), 32e-29, rtol=1e-2)
    np.testing.assert_allclose(fk.gemv_packed(m, np.full(32, 1e36, np.float32)), 32e36, rtol=1e-2)


@each_backend
@each_width
@examples(25)
@given(**shapes, count=st.integers(0, 40))
def test_sum_of_rows(choice: str, bits: int, rows: int, groups: int, seed: int, count: int) -> None:
    fk.select(choice)
    rng = np.random.default_rng(seed)
    m, weight = packed(rng, rows, 32 * groups, bits), floats(rng, count)
    chosen = rng.integers(0, rows, count).astype(np.int32)
    y = fk.sum_rows_packed(m, chosen, weight)
    assert y.shape == (32 * groups,)
    taken = m.dequantize()[chosen].astype(np.float64)
    limit = 2e-6 * (np.abs(weight).astype(np.float64) @ np.abs(taken)) + 1e-30
    assert np.all(np.abs(y - weight.astype(np.float64) @ taken) <= limit)


@each_isa
@each_width
def test_sums_do_not_depend_on_threads(isa: str, bits: int) -> None:
    fk.select(isa)
    rng = np.random.default_rng(7)
    m, weight = packed(rng, 700, 2048 + 96, bits), floats(rng, 500)
    rows = rng.integers(0, 700, 500).astype(np.int32)
    one = fk.sum_rows_packed(m, rows, weight)
    for threads in (2, 3, 7):
        fk.set_threads(threads)
        np.testing.assert_array_equal(fk.sum_rows_packed(m, rows, weight), one)


@each_backend
@each_width
@examples(20)
@given(**shapes)
def test_dequantizing_is_exact(choice: str, bits: int, rows: int, groups: int, seed: int) -> None:
    fk.select(choice)
    m = packed(np.random.default_rng(seed), rows, 32 * groups, bits)
    np.testing.assert_array_equal(fk.dequantize_packed(m), m.dequantize())


@each_backend
def test_wrong_arguments_are_refused(choice: str) -> None:
    fk.select(choice)
    m = packed(np.random.default_rng(0), 4, 64, 4)
    with pytest.raises(ValueError, match=r"x: must be float32 \[64\], got float32 \[32\]"):
        fk.gemv_packed(m, np.zeros(32, np.float32))
    with pytest.raises(ValueError, match=r"x: must be float32 \[any, 64\], got float64 \[2, 64\]"):
        fk.gemm_packed(m, np.zeros((2, 64)))  # type: ignore[arg-type]
    with pytest.raises(IndexError, match=r"rows\[1\]: 4 is outside 0..3"):
        fk.sum_rows_packed(m, np.array([0, 4], np.int32), np.ones(2, np.float32))
    with pytest.raises(IndexError, match=r"rows\[0\]: -1 is outside 0..3"):
        fk.sum_rows_packed(m, np.array([-1], np.int32), np.ones(1, np.float32))
    with pytest.raises(ValueError, match=r"weight: must be float32 \[2\], got float32 \[3\]"):
        fk.sum_rows_packed(m, np.array([0, 1], np.int32), np.ones(3, np.float32))
