"""Decoders as OPT has them: LayerNorm, biases everywhere, learned positions and a network without gate."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import fairlead_kernels as fk
from tests.plugins.kernels.cases import arena, config, each_backend, each_isa, floats, matrix, table, weights

TOKENS = np.random.default_rng(1).integers(0, 96, 21).astype(np.int32)
KINDS = ("q8", "packed4", "packed8")


def opt_weights(c: fk.DecoderConfig, kind: str = "q8", neurons: int = 96) -> fk.DecoderWeights:
    """Random weights of every part that OPT has."""
    fk.select("numpy")
    rng = np.random.default_rng(5)
    base, layers = weights(c), []

    def stored(rows: int) -> fk.Q8Matrix | fk.PackedMatrix:
        q8 = matrix(rng, rows, c.hidden)
        return q8 if kind == "q8" else fk.pack(q8.dequantize(), int(kind[-1]))

    for one in base.layers:
        biases = {f"{name}_bias": floats(rng, getattr(one, name).shape[0]) for name in ("query", "key", "value")}
        vectors = ("output_bias", "down_bias", "attention_norm_bias", "feed_forward_norm_bias")
        biases |= {name: floats(rng, c.hidden) / 10 for name in vectors}
        network = {"gate": stored(neurons), "up": None, "down_t": stored(neurons)}
        layers.append(replace(one, **biases, **network, gate_bias=floats(rng, neurons)))
    return replace(
        base,
        layers=tuple(layers),
        final_norm_bias=floats(rng, c.hidden),
        position_embedding=floats(rng, 32, c.hidden),
    )


def decoder(choice: str, kind: str = "q8", *, norm_first: bool = True) -> fk.Decoder:
    c = replace(config("relu"), norm_first=norm_first)
    model = opt_weights(c, kind)
    fk.select(choice)
    return fk.Decoder(c, model, *arena(c))


@each_isa
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("norm_first", [True, False], ids=["norm first", "norm last"])
def test_native_equals_numpy(isa: str, kind: str, norm_first: bool) -> None:
    expected = decoder("numpy", kind, norm_first=norm_first).prefill(TOKENS, 0, table(), all_logits=True)
    got = decoder(isa, kind, norm_first=norm_first).prefill(TOKENS, 0, table(), all_logits=True)
    # A packed product rounds its input to 8 bits, where the last bit of a float may decide.
    loose = 1e-4 if kind == "q8" else 3e-2
    np.testing.assert_allclose(got.logits, expected.logits, rtol=1e-3, atol=loose * np.abs(expected.logits).max())
    np.testing.assert_allclose(got.active, expected.active, atol=2 if kind == "q8" else 20)
    assert 0.2 < got.active.mean() / (96 * len(TOKENS)) < 0.8


@each_isa
@pytest.mark.parametrize("kind", KINDS)
def test_prompts_steps_and_batches_give_the_same_bits(isa: str, kind: str) -> None:
    prompt = decoder(isa, kind).prefill(TOKENS, 0, table(), all_logits=True)
    single = decoder(isa, kind)
    steps = [single.step(int(token), at, table()) for at, token in enumerate(TOKENS)]
    np.testing.assert_array_equal(np.stack([step.logits for step in steps]), prompt.logits)
    np.testing.assert_array_equal(sum(step.active for step in steps), prompt.active)
    many = decoder(isa, kind)
    mine, other = np.array([5, 2, 8, 9, 10, 11], np.int32), np.array([0, 7, 1, 3, 4, 6], np.int32)
    for at, token in enumerate(TOKENS):
        pair = np.array([token, TOKENS[-1 - at]], np.int32)
        result = many.step_many(pair, np.array([at, at], np.int32), [mine, other])
        np.testing.assert_array_equal(result.logits[0], steps[at].logits)


@each_backend
def test_a_network_without_gate_is_what_numpy_says(choice: str) -> None:
    model = decoder(choice)
    one, hidden = model.weights.layers[0], floats(np.random.default_rng(2), 1, 64)
    before = hidden.copy()
    model.feed_forward(0, hidden)
    fk.select("numpy")
    x = fk.layernorm(before[0], one.feed_forward_norm, one.feed_forward_norm_bias)
    active = np.maximum(one.gate.dequantize() @ x + one.gate_bias, 0)
    np.testing.assert_allclose(hidden[0], before[0] + active @ one.down_t.dequantize() + one.down_bias, atol=1e-5)
    chosen = np.array([3, 40, 77, 5], np.int32)
    some = before.copy()
    fk.select(choice)
    model.feed_forward(0, some, chosen)
    expected = active[chosen] @ one.down_t.dequantize()[chosen]
    np.testing.assert_allclose(some[0], before[0] + expected + one.down_bias, atol=1e-5)


@each_backend
def test_positions_are_added_and_end_with_their_table(choice: str) -> None:
    model = decoder(choice)
    start = model.embed(TOKENS[:2], 7) - model.weights.embedding.take(TOKENS[:2]).dequantize()
    np.testing.assert_allclose(start, model.weights.position_embedding[7:9], atol=1e-6)
    with pytest.raises(IndexError, match="position: must be below 32, the learned positions, got 32"):
        model.step(1, 32, table())
    with pytest.raises(IndexError, match="learned positions, got 33"):
        model.prefill(TOKENS[:4], 30, table())


@each_backend
def test_a_bias_of_the_wrong_length_is_named(choice: str) -> None:
    c = config("relu")
    model = opt_weights(c)
    for name in ("gate_bias", "down_bias", "attention_norm_bias"):
        broken = replace(model.layers[1], **{name: np.zeros(7, np.float32)})
        with pytest.raises(ValueError, match=rf"layers\[1\]\.{name}: must be"):
            fk.Decoder(c, replace(model, layers=(model.layers[0], broken)), *arena(c))
