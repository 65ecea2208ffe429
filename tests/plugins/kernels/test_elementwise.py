"""RMSNorm, LayerNorm, rotary embedding and softmax against float64, at every length of tail."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fairlead_kernels as fk
from tests.plugins.kernels.cases import each_backend, examples, floats

seeds = st.integers(0, 2**32 - 1)


@each_backend
@examples(40)
@given(rows=st.integers(1, 4), width=st.integers(1, 70), seed=seeds)
def test_rmsnorm(choice: str, rows: int, width: int, seed: int) -> None:
    fk.select(choice)
    rng = np.random.default_rng(seed)
    x, weight = floats(rng, rows, width), floats(rng, width)
    wide = x.astype(np.float64)
    expected = wide / np.sqrt((wide**2).mean(axis=1, keepdims=True) + 1e-5) * weight
    np.testing.assert_allclose(fk.rmsnorm(x, weight), expected, rtol=2e-6, atol=1e-7)


@each_backend
@examples(40)
@given(rows=st.integers(1, 4), width=st.integers(1, 70), seed=seeds, shift=st.sampled_from([0.0, 3.0, -20.0]))
def test_layernorm(choice: str, rows: int, width: int, seed: int, shift: float) -> None:
    fk.select(choice)
    rng = np.random.default_rng(seed)
    x, weight, bias = floats(rng, rows, width) + np.float32(shift), floats(rng, width), floats(rng, width)
    wide = x.astype(np.float64)
    centred = wide - wide.mean(axis=1, keepdims=True)
    expected = centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + 1e-5) * weight + bias
    # The mean is rounded to float32, relative to the shift.
    np.testing.assert_allclose(fk.layernorm(x, weight, bias), expected, rtol=1e-5, atol=1e-5 * (1 + abs(shift)))


@each_backend
def test_layernorm_of_a_constant_is_the_bias(choice: str) -> None:
    fk.select(choice)
    bias = np.arange(33, dtype=np.float32)
    found = fk.layernorm(np.full(33, 5, np.float32), np.ones(33, np.float32), bias)
    np.testing.assert_allclose(found, bias, atol=1e-3)


@each_backend
def test_rmsnorm_of_zeros_is_zero(choice: str) -> None:
    fk.select(choice)
    assert not fk.rmsnorm(np.zeros(33, np.float32), np.ones(33, np.float32)).any()


@each_backend
@examples(40)
@given(rows=st.integers(1, 3), width=st.integers(1, 70), seed=seeds, spread=st.sampled_from([0.0, 1.0, 30.0, 1e4]))
def test_softmax(choice: str, rows: int, width: int, seed: int, spread: float) -> None:
    fk.select(choice)
    x = np.float32(spread) * floats(np.random.default_rng(seed), rows, width)
    # The shift rounds to float32 on every backend; what follows must not add to it.
    wide = np.exp((x - x.max(axis=1, keepdims=True)).astype(np.float64))
    np.testing.assert_allclose(fk.softmax(x), wide / wide.sum(axis=1, keepdims=True), rtol=3e-6, atol=1e-36)


@each_backend
def test_softmax_masks_and_keeps_nan(choice: str) -> None:
    fk.select(choice)
    masked = np.array([[0.0, -np.inf, 0.0]] * 2, np.float32)
    np.testing.assert_array_equal(fk.softmax(masked), [[0.5, 0.0, 0.5]] * 2)
    assert np.isnan(fk.softmax(np.array([1.0, np.nan, 2.0], np.float32))).all()


@each_backend
@examples(40)
@given(tokens=st.integers(1, 4), heads=st.integers(1, 3), half=st.integers(1, 40), seed=seeds)
def test_rope_rotates_pairs(choice: str, tokens: int, heads: int, half: int, seed: int) -> None:
    fk.select(choice)
    rng = np.random.default_rng(seed)
    x = floats(rng, tokens, heads, 2 * half)
    positions = rng.integers(0, 4000, tokens).astype(np.int32)
    frequency = fk.rope_inverse_frequency(2 * half, 10000.0)
    turn = np.exp(1j * (positions.astype(np.float32)[:, None] * frequency).astype(np.float64))
    turned = (x[..., :half] + 1j * x[..., half:]) * turn[:, None, :]
    expected = np.concatenate((turned.real, turned.imag), axis=-1)
    np.testing.assert_allclose(fk.rope(x, positions), expected, rtol=1e-5, atol=2e-6)


def test_rope_takes_scaled_frequencies() -> None:
    x = floats(np.random.default_rng(0), 1, 2, 8)
    at_eight = fk.rope(x, np.array([8], np.int32))
    halved = fk.rope(x, np.array([16], np.int32), inverse_frequency=fk.rope_inverse_frequency(8) / np.float32(2))
    np.testing.assert_array_equal(at_eight, halved)


@each_backend
def test_bad_arguments_are_refused(choice: str) -> None:
    fk.select(choice)
    with pytest.raises(ValueError, match=r"weight: must be float32 \[8\], got float32 \[7\]"):
        fk.rmsnorm(np.zeros(8, np.float32), np.zeros(7, np.float32))
    with pytest.raises(ValueError, match="n above 0"):
        fk.softmax(np.zeros((2, 0), np.float32))
    with pytest.raises(ValueError, match="head_dim must be even"):
        fk.rope(np.zeros((1, 1, 3), np.float32), np.zeros(1, np.int32))
    with pytest.raises(ValueError, match=r"positions: must be int32 \[2\]"):
        fk.rope(np.zeros((2, 1, 4), np.float32), np.zeros(1, np.int32))
