"""The feed-forward over packed weights: the reference's result, and the same bits sparse, dense, bundled or batched."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fairlead_kernels as fk
from fairlead_kernels import reference_packed
from tests.plugins.kernels.cases import F32, bundled, each_backend, each_isa, examples, floats, packed
from tests.plugins.kernels.test_feed_forward import ACTIVATIONS, dense

each_activation = pytest.mark.parametrize("activation", ACTIVATIONS)
Layer = tuple[fk.PackedMatrix, fk.PackedMatrix, fk.PackedMatrix]


def random_layer(rng: np.random.Generator, neurons: int, hidden: int, out: int, bits: int) -> Layer:
    return packed(rng, neurons, hidden, bits), packed(rng, neurons, hidden, bits), packed(rng, neurons, out, bits)


def rounded(x: F32) -> F32:
    q, scale = reference_packed.quantize_activations(x[None])
    return (q * scale[:, :, None]).reshape(x.shape)


@each_backend
@each_activation
@examples(15)
@given(
    neurons=st.integers(1, 300),
    hidden=st.integers(1, 20),
    out=st.integers(1, 20),
    bits=st.sampled_from((4, 8)),
    seed=st.integers(0, 2**32 - 1),
)
def test_equals_the_dense_formula(
    choice: str, activation: str, neurons: int, hidden: int, out: int, bits: int, seed: int
) -> None:
    fk.select(choice)
    rng = np.random.default_rng(seed)
    layer, x = random_layer(rng, neurons, 32 * hidden, 32 * out, bits), 3 * floats(rng, 32 * hidden)
    y, active = fk.sparse_ffn_packed(*layer, x, activation)
    assert 0 <= active <= neurons
    np.testing.assert_allclose(y, dense(layer, rounded(x), activation), rtol=5e-5, atol=5e-5)


@each_isa
@each_activation
@pytest.mark.parametrize("bits", [4, 8])
def test_skipping_bundling_batching_and_threads_change_no_bit(isa: str, activation: str, bits: int) -> None:
    fk.select(isa)
    rng = np.random.default_rng(11)
    layer, xs = random_layer(rng, 701, 352, 640, bits), floats(rng, 5, 352)
    y, active = fk.sparse_ffn_packed(*layer, xs[0], activation)
    gate = layer[0].dequantize() @ rounded(xs[0])
    firing = np.flatnonzero(gate > 0 if activation in ("drelu", "relu") else gate != 0).astype(np.int32)
    assert len(firing) == active
    slot_of = rng.permutation(701).astype(np.int32)
    moved = bundled(*(m.take(np.argsort(slot_of)) for m in layer))
    for threads in (1, 3):
        fk.set_threads(threads)
        np.testing.assert_array_equal(fk.sparse_ffn_packed(*layer, xs[0], activation, neurons=firing)[0], y)
        np.testing.assert_array_equal(fk.sparse_ffn_packed(*moved, xs[0], activation, neurons=slot_of)[0], y)
        batch, total = fk.sparse_ffn_packed(*moved, xs, activation, neurons=slot_of)
        singles = [fk.sparse_ffn_packed(*layer, x, activation) for x in xs]
        np.testing.assert_array_equal(batch, np.stack([one for one, _ in singles]))
        assert total == sum(count for _, count in singles)


@each_backend
@pytest.mark.parametrize("tokens", [1, 3])
def test_nothing_chosen_or_nothing_active_gives_zeros(choice: str, tokens: int) -> None:
    fk.select(choice)
    rng = np.random.default_rng(4)
    layer, x = random_layer(rng, 9, 32, 32, 4), floats(rng, tokens, 32)
    y, active = fk.sparse_ffn_packed(*layer, x, neurons=np.empty(0, np.int32))
    assert active == 0
    assert y.shape == (tokens, 32)
    assert not y.any()
    off = fk.pack(-np.ones((9, 32), np.float32), 4)
    y, active = fk.sparse_ffn_packed(off, *layer[1:], np.ones((tokens, 32), np.float32))
    assert active == 0
    assert not y.any()


@each_backend
def test_threshold_drops_the_weak(choice: str) -> None:
    fk.select(choice)
    rng = np.random.default_rng(6)
    layer, x = random_layer(rng, 200, 64, 64, 8), floats(rng, 64)
    exact, all_active = fk.sparse_ffn_packed(*layer, x, "swiglu")
    close, some_active = fk.sparse_ffn_packed(*layer, x, "swiglu", threshold=0.1)
    g = layer[0].dequantize() @ rounded(x)
    assert some_active == np.count_nonzero(np.abs(g / (1 + np.exp(-g))) > 0.1) < all_active
    assert not np.array_equal(exact, close)
    assert fk.sparse_ffn_packed(*layer, x, "swiglu", threshold=1e9)[1] == 0


@each_backend
def test_bad_arguments_are_refused(choice: str) -> None:
    fk.select(choice)
    rng = np.random.default_rng(0)
    layer, x = random_layer(rng, 8, 32, 32, 4), floats(rng, 32)
    with pytest.raises(IndexError, match=r"neurons\[1\]: 8 is outside 0..7"):
        fk.sparse_ffn_packed(*layer, x, neurons=np.array([0, 8], np.int32))
    with pytest.raises(ValueError, match="neurons: must name each neuron at most once"):
        fk.sparse_ffn_packed(*layer, x, neurons=np.array([3, 3], np.int32))
    with pytest.raises(ValueError, match="activation: must be one of drelu, relu, swiglu, geglu, got 'tanh'"):
        fk.sparse_ffn_packed(*layer, x, "tanh")
    with pytest.raises(ValueError, match="threshold: must be finite and at least 0, got nan"):
        fk.sparse_ffn_packed(*layer, x, threshold=float("nan"))
    with pytest.raises(ValueError, match=r"up: must be \[8, 32\], got \[7, 32\]"):
        fk.sparse_ffn_packed(layer[0], layer[1].take(slice(7)), layer[2], x)
    with pytest.raises(ValueError, match=r"x: must be float32 \[any, 32\], got float32 \[1, 2, 32\]"):
        fk.sparse_ffn_packed(*layer, np.zeros((1, 2, 32), np.float32))
