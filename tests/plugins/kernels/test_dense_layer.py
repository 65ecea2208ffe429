"""A layer without its attention: native equals the reference, and a token's bits are its own."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fairlead_kernels as fk
from fairlead_kernels import reference_dense_layer as reference
from fairlead_kernels.backend import extension
from fairlead_kernels.dense_layer import ACTIVATIONS, DenseLayer, multiply_floats
from tests.plugins.kernels.cases import examples

native = pytest.mark.skipif(not hasattr(extension(), "DenseLayer"), reason="the native kernels are not built")


def random_weights(
    random: np.random.Generator, hidden: int, heads: int, kv_heads: int, dim: int, neurons: int, optional
):
    joined = (heads + 2 * kv_heads) * dim
    shapes = {
        "input_norm": (hidden,),
        "post_norm": (hidden,),
        "qkv": (joined, hidden),
        "o": (hidden, heads * dim),
        "inner": (2 * neurons, hidden),
        "down": (hidden, neurons),
        "qkv_bias": (joined,),
        "o_bias": (hidden,),
        "inner_bias": (2 * neurons,),
        "down_bias": (hidden,),
        "q_norm": (dim,),
        "k_norm": (dim,),
    }
    chosen = {name: shape for number, (name, shape) in enumerate(shapes.items()) if number < 6 or optional}
    return {
        name: (random.standard_normal(shape) / np.sqrt(shape[-1] if len(shape) > 1 else 1)).astype(np.float32)
        for name, shape in chosen.items()
    }


@native
@examples(40, seeded=False)
@given(
    st.integers(1, 45),
    st.sampled_from([(4, 2), (3, 1), (6, 6)]),
    st.integers(1, 9),
    st.integers(1, 40),
    st.sampled_from(ACTIVATIONS),
    st.booleans(),
    st.integers(1, 11),
    st.integers(0, 9),
)
def test_native_equals_the_reference(hidden, heads, half, neurons, activation, optional, tokens, seed) -> None:
    random, dim = np.random.default_rng(seed), 2 * half
    weights = random_weights(random, hidden, *heads, dim, neurons, optional)
    settings_ = (*heads, dim, 1e-5)
    ours = DenseLayer(
        weights, heads=heads[0], kv_heads=heads[1], head_dim=dim, epsilon=1e-5, activation=activation, threshold=0.01
    )
    theirs = reference.DenseLayer(weights, *settings_, ACTIVATIONS.index(activation), 0.01)
    x = random.standard_normal((tokens, hidden)).astype(np.float32)
    angles = random.uniform(0, 6, (tokens, half))
    turn = (np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32))
    wanted = [np.empty((tokens, count, dim), np.float32) for count in (heads[0], heads[1], heads[1])]
    theirs.before(x, *turn, *wanted)
    for found, right in zip(ours.before(x, *turn), wanted, strict=True):
        np.testing.assert_allclose(found, right, rtol=1e-4, atol=1e-4)
    seen, out = random.standard_normal((tokens, heads[0], dim)).astype(np.float32), np.empty_like(x)
    theirs.after(x, seen, out)
    # A gate at the threshold may fall to either side.
    close = np.isclose(ours.after(x, seen), out, rtol=1e-3, atol=1e-3)
    assert close.all() or (activation != "drelu" and close.mean() > 0.5)


@native
def test_a_tokens_bits_depend_neither_on_the_threads_nor_on_the_others() -> None:
    random = np.random.default_rng(0)
    weights = random_weights(random, 96, 4, 2, 32, 250, True)
    layer = DenseLayer(weights, heads=4, kv_heads=2, head_dim=32, epsilon=1e-5)
    x = random.standard_normal((23, 96)).astype(np.float32)
    seen = random.standard_normal((23, 4, 32)).astype(np.float32)
    angles = random.uniform(0, 6, (23, 16)).astype(np.float32)
    before = fk.threads()
    together = (*layer.before(x, np.cos(angles), np.sin(angles)), layer.after(x, seen))
    try:
        fk.set_threads(3)
        for one in range(23):
            at = slice(one, one + 1)
            alone = (*layer.before(x[at], np.cos(angles[at]), np.sin(angles[at])), layer.after(x[at], seen[at]))
            for found, right in zip(alone, together, strict=True):
                np.testing.assert_array_equal(found[0], right[one])
    finally:
        fk.set_threads(before)


@native
@pytest.mark.parametrize("isa", fk.available_isas())
@pytest.mark.parametrize(("rows", "columns", "batch"), [(1, 1, 1), (13, 37, 5), (24, 64, 9), (7, 16, 1)])
def test_products_of_every_size_and_isa(isa: str, rows: int, columns: int, batch: int) -> None:
    random = np.random.default_rng(1)
    matrix, x = (random.standard_normal((count, columns)).astype(np.float32) for count in (rows, batch))
    chosen = fk.backend()
    fk.select(isa)
    try:
        np.testing.assert_allclose(multiply_floats(matrix, x), x @ matrix.T, rtol=1e-4, atol=1e-4)
    finally:
        fk.select(chosen.isa if chosen.name == "native" else chosen.name)


def test_weights_of_another_shape_are_named() -> None:
    weights = random_weights(np.random.default_rng(0), 16, 2, 1, 4, 8, False)
    sizes = {"heads": 2, "kv_heads": 1, "head_dim": 4, "epsilon": 1e-5}
    with pytest.raises(ValueError, match=r"down: must be \[16, 8\]"):
        DenseLayer(weights | {"down": np.zeros((16, 9), np.float32)}, **sizes)
    with pytest.raises(ValueError, match="activation 'tanh': accepted: drelu"):
        DenseLayer(weights, **sizes, activation="tanh")
    del weights["o"]
    with pytest.raises(ValueError, match="o is missing"):
        DenseLayer(weights, **sizes)
