"""The sparse feed-forward: equal to the dense one, whatever is active, and safe with any neuron list."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fairlead_kernels as fk
from tests.plugins.kernels.cases import F32, each_backend, each_isa, examples, floats, matrix

ACTIVATIONS = ("drelu", "relu", "swiglu", "geglu")
Weights = fk.Q8Matrix | fk.PackedMatrix
Layer = tuple[fk.Q8Matrix, fk.Q8Matrix, fk.Q8Matrix]


def dense(layer: tuple[Weights, Weights, Weights], x: F32, activation: str) -> np.ndarray:
    """The formula in float64, with every neuron."""
    gate, up, down = (m.dequantize().astype(np.float64) for m in layer)
    g, u = gate @ x.astype(np.float64), up @ x.astype(np.float64)
    if activation in ("drelu", "relu"):
        g = np.maximum(g, 0)
    elif activation == "swiglu":
        g = g / (1 + np.exp(-g))
    else:
        g = 0.5 * g * (1 + np.tanh(np.sqrt(2 / np.pi) * (g + 0.044715 * g**3)))
    return (g * (np.maximum(u, 0) if activation == "drelu" else u)) @ down


def random_layer(rng: np.random.Generator, neurons: int, hidden: int, out: int) -> Layer:
    return matrix(rng, neurons, hidden), matrix(rng, neurons, hidden), matrix(rng, neurons, out)


@each_backend
@pytest.mark.parametrize("activation", ACTIVATIONS)
@examples(20)
@given(neurons=st.integers(1, 70), hidden=st.integers(1, 4), out=st.integers(1, 6), seed=st.integers(0, 2**32 - 1))
def test_equals_the_dense_formula(choice: str, activation: str, neurons: int, hidden: int, out: int, seed: int) -> None:
    fk.select(choice)
    rng = np.random.default_rng(seed)
    layer, x = random_layer(rng, neurons, 32 * hidden, 32 * out), 3 * floats(rng, 32 * hidden)
    y, active = fk.sparse_ffn_q8(*layer, x, activation)
    assert 0 <= active <= neurons
    np.testing.assert_allclose(y, dense(layer, x, activation), rtol=2e-5, atol=2e-5)


@each_isa
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_skipping_changes_no_bit(isa: str, activation: str) -> None:
    """Naming only the active neurons gives the bits that naming all gives, and so does every order of slots."""
    fk.select(isa)
    rng = np.random.default_rng(11)
    layer, x = random_layer(rng, 101, 64, 96), floats(rng, 64)
    y, active = fk.sparse_ffn_q8(*layer, x, activation)
    gate = layer[0].dequantize() @ x
    firing = np.flatnonzero(gate > 0 if activation in ("drelu", "relu") else gate != 0).astype(np.int32)
    assert len(firing) == active
    np.testing.assert_array_equal(fk.sparse_ffn_q8(*layer, x, activation, neurons=firing)[0], y)
    slot_of = rng.permutation(101).astype(np.int32)
    moved = tuple(m.take(np.argsort(slot_of)) for m in layer)
    np.testing.assert_array_equal(fk.sparse_ffn_q8(*moved, x, activation, neurons=slot_of)[0], y)


@each_backend
def test_nothing_active_gives_zeros(choice: str) -> None:
    fk.select(choice)
    rng = np.random.default_rng(2)
    _, up, down = random_layer(rng, 40, 64, 32)
    off = fk.quantize_q8(-np.ones((40, 64), np.float32))
    y, active = fk.sparse_ffn_q8(off, up, down, np.ones(64, np.float32))
    assert active == 0
    np.testing.assert_array_equal(y, np.zeros(32, np.float32))


@each_backend
def test_one_active_neuron_is_its_row(choice: str) -> None:
    fk.select(choice)
    rng = np.random.default_rng(4)
    _, up, down = random_layer(rng, 40, 64, 32)
    values = -np.ones((40, 64), np.float32)
    values[37] = 1
    x = np.ones(64, np.float32)
    y, active = fk.sparse_ffn_q8(fk.quantize_q8(values), up, down, x, "relu")
    assert active == 1
    expected = 64 * (up.dequantize()[37] @ x) * down.dequantize()[37]
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)


@each_backend
def test_an_empty_list_computes_nothing(choice: str) -> None:
    fk.select(choice)
    rng = np.random.default_rng(4)
    y, active = fk.sparse_ffn_q8(*random_layer(rng, 9, 32, 32), floats(rng, 32), neurons=np.empty(0, np.int32))
    assert active == 0
    assert not y.any()


@each_backend
def test_threshold_drops_the_weak(choice: str) -> None:
    fk.select(choice)
    rng = np.random.default_rng(6)
    layer, x = random_layer(rng, 200, 64, 64), floats(rng, 64)
    exact, all_active = fk.sparse_ffn_q8(*layer, x, "swiglu")
    close, some_active = fk.sparse_ffn_q8(*layer, x, "swiglu", threshold=0.1)
    g = layer[0].dequantize() @ x
    assert some_active == np.count_nonzero(np.abs(g / (1 + np.exp(-g))) > 0.1) < all_active
    assert not np.array_equal(exact, close)
    assert fk.sparse_ffn_q8(*layer, x, "swiglu", threshold=1e9)[1] == 0


@each_backend
def test_bad_arguments_are_refused(choice: str) -> None:
    fk.select(choice)
    rng = np.random.default_rng(0)
    layer, x = random_layer(rng, 8, 32, 32), floats(rng, 32)
    with pytest.raises(IndexError, match=r"neurons\[1\]: 8 is outside 0..7"):
        fk.sparse_ffn_q8(*layer, x, neurons=np.array([0, 8], np.int32))
    with pytest.raises(IndexError, match=r"neurons\[0\]: -1 is outside 0..7"):
        fk.sparse_ffn_q8(*layer, x, neurons=np.array([-1], np.int32))
    with pytest.raises(ValueError, match="neurons: must name each neuron at most once"):
        fk.sparse_ffn_q8(*layer, x, neurons=np.array([3, 3], np.int32))
    with pytest.raises(ValueError, match=r"neurons: must be int32 \[any\], got int64 \[1\]"):
        fk.sparse_ffn_q8(*layer, x, neurons=np.array([3]))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="activation: must be one of drelu, relu, swiglu, geglu, got 'tanh'"):
        fk.sparse_ffn_q8(*layer, x, "tanh")
    with pytest.raises(ValueError, match="threshold: must be finite and at least 0, got nan"):
        fk.sparse_ffn_q8(*layer, x, threshold=float("nan"))
    with pytest.raises(ValueError, match=r"up: must be \[8, 32\], got \[7, 32\]"):
        fk.sparse_ffn_q8(layer[0], layer[1].take(slice(7)), layer[2], x)
