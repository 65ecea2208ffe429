"""Quantization: the same bits everywhere, a bounded error, and one clear error for what cannot be."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import fairlead_kernels as fk
from tests.plugins.kernels.cases import each_backend, each_isa, examples, floats

magnitudes = st.floats(-1e6, 1e6, width=32, allow_subnormal=True)
matrices = st.tuples(st.integers(0, 5), st.integers(0, 4)).flatmap(
    lambda shape: hnp.arrays(np.float32, (shape[0], 32 * shape[1]), elements=magnitudes)
)


@each_isa
@examples(60)
@given(values=matrices)
def test_native_bits_equal_the_reference(isa: str, values: np.ndarray) -> None:
    fk.select("numpy")
    expected = fk.quantize_q8(values)
    fk.select(isa)
    got = fk.quantize_q8(values)
    np.testing.assert_array_equal(got.q, expected.q)
    np.testing.assert_array_equal(got.scale, expected.scale)


@examples(60)
@given(values=matrices)
def test_error_is_at_most_half_a_step(values: np.ndarray) -> None:
    packed = fk.quantize_q8(values)
    step = np.repeat(packed.scale.astype(np.float64), 32, axis=1)
    # The largest of a group may be clipped by half a step more, and below 2^-25 the scale rounds to nothing.
    assert np.all(np.abs(packed.dequantize() - values.astype(np.float64)) <= step * 0.501 + 127 * 2.0**-25)


@each_backend
def test_tiny_values_are_not_clipped(choice: str) -> None:
    fk.select(choice)
    values = np.full((1, 32), 1e-5, np.float32)
    np.testing.assert_allclose(fk.quantize_q8(values).dequantize(), values, rtol=0.01)


@each_backend
def test_zeros_stay_zero(choice: str) -> None:
    fk.select(choice)
    assert not fk.quantize_q8(np.zeros((3, 64), np.float32)).dequantize().any()


def test_size_is_34_bytes_for_32_weights() -> None:
    assert fk.quantize_q8(np.ones((3, 64), np.float32)).nbytes == 3 * 2 * 34


@each_backend
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e7])
def test_unrepresentable_values_are_refused(choice: str, bad: float) -> None:
    fk.select(choice)
    values = floats(np.random.default_rng(0), 2, 64)
    values[1, 40] = bad
    with pytest.raises(ValueError, match=r"^matrix: (value 104 is not finite|group 3 has a magnitude above)"):
        fk.quantize_q8(values)


def test_columns_must_fill_groups() -> None:
    with pytest.raises(ValueError, match="matrix: columns must be a multiple of 32, got 48"):
        fk.quantize_q8(np.zeros((2, 48), np.float32))


def test_type_and_layout_are_checked() -> None:
    with pytest.raises(ValueError, match=r"matrix: must be float32 \[any, any\], got float64 \[2, 32\]"):
        fk.quantize_q8(np.zeros((2, 32)))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="matrix: must be C-contiguous"):
        fk.quantize_q8(np.zeros((32, 32), np.float32).T)
    with pytest.raises(ValueError, match="scale: must be float16"):
        fk.Q8Matrix(np.zeros((2, 32), np.int8), np.zeros((2, 2), np.float16))


def test_a_read_only_matrix_is_fine() -> None:
    packed = fk.quantize_q8(floats(np.random.default_rng(1), 4, 32))
    packed.q.flags.writeable = False
    packed.scale.flags.writeable = False
    x = floats(np.random.default_rng(2), 32)
    np.testing.assert_allclose(fk.gemv_q8(packed, x), packed.dequantize() @ x, rtol=1e-4, atol=1e-5)
