"""Quantization of vectors: the bound that its docstring states, and packing in planes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from fairlead_elastic_serving.kernels.quantization import dequantize, pack, quantize, unpack

BITS = st.sampled_from([2, 4, 8])
VECTORS = arrays.arrays(np.float32, (3, 16), elements=st.floats(-6e4, 6e4, width=32))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(VECTORS, BITS)
def test_no_element_differs_by_more_than_the_bound(vectors: np.ndarray, bits: int) -> None:
    packed, scale, zero = quantize(vectors, bits)
    step = scale.astype(np.float64)[:, None]
    # A scale below float16's normal numbers is off by up to half of the smallest of them, once a level.
    bound = step / 2 + (2**bits - 1) * np.maximum(step * 2**-11, 2**-25) + np.abs(zero.astype(float))[:, None] * 2**-11
    wrong = np.abs(dequantize(packed, scale, zero, bits).astype(np.float64) - vectors)
    assert (wrong <= bound * (1 + 1e-5) + 2**-24).all()


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_an_element_is_off_by_half_a_step_on_ordinary_vectors(bits: int) -> None:
    vectors = np.random.default_rng(1).normal(0, 1, (50, 128)).astype(np.float32)
    packed, scale, zero = quantize(vectors, bits)
    span = vectors.max(axis=-1) - vectors.min(axis=-1)
    wrong = np.abs(dequantize(packed, scale, zero, bits) - vectors).max(axis=-1)
    assert (wrong <= 0.66 * span / (2**bits - 1)).all()
    assert packed.shape == (50, 128 * bits // 8)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data(), BITS)
def test_unpacking_gives_what_was_packed(data: st.DataObject, bits: int) -> None:
    codes = data.draw(arrays.arrays(np.uint8, (2, 16), elements=st.integers(0, 2**bits - 1)))
    assert (unpack(pack(codes, bits), bits) == codes).all()


def test_equal_elements_need_no_scale() -> None:
    packed, scale, zero = quantize(np.full((1, 8), -3.5, np.float32), 4)
    assert scale[0] == 0 and zero[0] == -3.5
    assert (dequantize(packed, scale, zero, 4) == -3.5).all()


def test_what_is_not_finite_is_refused() -> None:
    vectors = np.zeros((2, 8), np.float32)
    vectors[1, 3] = np.nan
    with pytest.raises(ValueError, match="element 11 is not finite"):
        quantize(vectors, 8)


def test_other_bits_are_refused() -> None:
    with pytest.raises(ValueError, match="bits 3: accepted: 2, 4, 8"):
        quantize(np.zeros((1, 8), np.float32), 3)
