"""Checkpoints as packed weights: Q4_0 repacked as it is, everything else rounded to the bits asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGMLQuantizationType as Kind

from fairlead_kernels import Decoder, DecoderConfig, DecoderWeights, PackedMatrix, pack
from fairlead_language_model.checkpoint import Checkpoint, open_checkpoint
from fairlead_language_model.graph import KVPages, LlamaGraph, PageTable, packed_weights

from .test_gguf import logits, write_gguf

PARTS = {
    "query": "self_attn.q_proj",
    "key": "self_attn.k_proj",
    "value": "self_attn.v_proj",
    "output": "self_attn.o_proj",
    "gate": "mlp.gate_proj",
    "up": "mlp.up_proj",
}


def values(checkpoint: Checkpoint, name: str) -> np.ndarray:
    return checkpoint.array(name, checkpoint.shape(name))


def decoded(checkpoint: Checkpoint, weights: DecoderWeights) -> np.ndarray:
    """The logits that the kernels' decoder gives for the tokens of test_gguf.logits."""
    config = checkpoint.config
    shape = DecoderConfig(
        config.vocab_size,
        config.hidden_size,
        config.num_attention_heads,
        config.num_key_value_heads,
        config.head_dim,
        "swiglu",
        norm_epsilon=config.rms_norm_eps,
        rope_theta=config.rope_theta,
    )
    pages, table = KVPages(config, 4), PageTable()
    pages.reserve(table, 16)
    decoder = Decoder(shape, weights, pages.keys, pages.values)
    tokens = np.array([3, 1, 4, 1, 5, 9, 2, 6], np.int32)
    return decoder.prefill(tokens, 0, table.array(), all_logits=True).logits


@pytest.mark.parametrize("bits", [None, 4, 8])
def test_q4_0_keeps_every_weight(
    tmp_path: Path, random_tensors: Callable[..., Any], config: dict[str, Any], bits: int | None
) -> None:
    checkpoint = open_checkpoint(write_gguf(tmp_path / "m.gguf", random_tensors(1), config, Kind.Q4_0))
    assert checkpoint.holds_q4
    weights = packed_weights(checkpoint, bits)
    for index, layer in enumerate(weights.layers):
        for ours, theirs in PARTS.items():
            matrix = getattr(layer, ours)
            assert isinstance(matrix, PackedMatrix) and matrix.bits == 4
            expected = values(checkpoint, f"model.layers.{index}.{theirs}.weight")
            np.testing.assert_array_equal(matrix.dequantize(), expected)
        down = values(checkpoint, f"model.layers.{index}.mlp.down_proj.weight").T
        assert isinstance(layer.down_t, PackedMatrix) and layer.down_t.bits == (bits or 8)
        np.testing.assert_array_equal(layer.down_t.dequantize(), pack(down.copy(), bits or 8).dequantize())


@pytest.mark.parametrize(("kind", "bits"), [(Kind.Q8_0, 8), (Kind.F32, 8), (Kind.Q4_0, None)])
def test_the_decoder_gives_the_graphs_logits(
    tmp_path: Path,
    random_tensors: Callable[..., Any],
    config: dict[str, Any],
    kind: Kind,
    bits: int | None,
) -> None:
    checkpoint = open_checkpoint(write_gguf(tmp_path / "m.gguf", random_tensors(1), config, kind))
    expected = logits(LlamaGraph.load(checkpoint))
    # Activations of 8 bits: a few hundredths where weights are random.
    got = decoded(checkpoint, packed_weights(checkpoint, bits))
    assert np.linalg.norm(got - expected) < 0.06 * np.linalg.norm(expected)


def test_other_types_take_the_bits_asked_for(
    tmp_path: Path, random_tensors: Callable[..., Any], config: dict[str, Any]
) -> None:
    checkpoint = open_checkpoint(write_gguf(tmp_path / "m.gguf", random_tensors(1), config, Kind.F16))
    assert not checkpoint.holds_q4
    assert packed_weights(checkpoint, 4).nbytes < 0.6 * packed_weights(checkpoint, 8).nbytes
