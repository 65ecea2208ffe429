"""Reads a checkpoint as packed weights, a matrix at a time, for the kernels' whole-token decoder."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels import DecoderWeights, MixtureWeights, NetworkWeights, PackedMatrix, Q8Matrix, pack, pack_q8
from fairlead_kernels import LayerWeights as DecoderLayer

from ..checkpoint import Checkpoint, Matrix
from ..errors import LanguageModelError
from ..experts import Experts
from .q8_decoder import decoder_weights, float_rows, why_not_q8
from .weights import load_weights


def packed_weights(checkpoint: Checkpoint, bits: int | None = None) -> DecoderWeights:
    """Return a checkpoint's weights packed with 4 or 8 bits; None keeps the precision of what is stored.

    Q4_0 matrices of a Llama-family GGUF file are repacked bit for bit, whatever `bits` says; Q8 groups with 8 bits
    too. All others are rounded to `bits`, with None to 8, and so are down projections, which are needed transposed:
    groups cannot be kept under transposition.

    Raises:
        LanguageModelError: the decoder cannot run such a model, or a tensor is missing or has another shape.
    """
    config = checkpoint.config
    reason = why_not_q8(config)
    if reason is not None:
        raise LanguageModelError(f"the kernels' decoder does not take {reason}; the NumPy graph does")
    read = _PackedReader(checkpoint, bits or 8)
    unlike_llama = config.norm != "rms" or config.positions != "rotary" or config.ffn == "plain"
    if unlike_llama or config.attention_output_bias:
        return read.repacked(decoder_weights(config, load_weights(checkpoint)))
    table = (config.vocab_size, config.hidden_size)
    layers = tuple(read.layer(layer) for layer in range(config.num_hidden_layers))
    head = None if config.tie_word_embeddings else read.matrix("lm_head", *table)
    norm = checkpoint.array("model.norm.weight", (config.hidden_size,))
    return DecoderWeights(read.matrix("model.embed_tokens", *table), layers, norm, head)


_MATRICES = ("query", "key", "value", "output", "gate", "up", "down_t")


class _PackedReader:
    def __init__(self, checkpoint: Checkpoint, bits: int) -> None:
        self._checkpoint, self._bits = checkpoint, bits

    def matrix(self, name: str, rows: int, columns: int) -> PackedMatrix:
        stored = self._checkpoint.packed(f"{name}.weight", (rows, columns))
        if stored is None:
            return self._rounded(self._checkpoint.matrix(f"{name}.weight", (rows, columns)))
        return stored

    def down_rows(self, name: str, neurons: int, hidden: int) -> PackedMatrix:
        stored = self._checkpoint.transposed(f"{name}.weight", (neurons, hidden))
        if stored is not None:
            return self._rounded(stored)
        return self._rounded(_floats(self._checkpoint.matrix(f"{name}.weight", (hidden, neurons))).T)

    def _rounded(self, matrix: Matrix) -> PackedMatrix:
        if isinstance(matrix, Q8Matrix) and self._bits == 8:
            return pack_q8(matrix)
        return pack(np.ascontiguousarray(_floats(matrix)), self._bits)

    def repacked(self, weights: DecoderWeights) -> DecoderWeights:
        layers: list[DecoderLayer] = []
        for layer in weights.layers:
            matrices = {name: getattr(layer, name) for name in _MATRICES if getattr(layer, name) is not None}
            rounded: dict[str, Any] = {name: self._rounded(matrix) for name, matrix in matrices.items()}
            if layer.mixture is not None:
                rounded["mixture"] = self._repacked(layer.mixture)
            layers.append(replace(layer, **rounded))
        head = None if weights.head is None else self._rounded(_q8(weights.head))
        return replace(weights, embedding=self._rounded(_q8(weights.embedding)), layers=tuple(layers), head=head)

    def _repacked(self, mixture: MixtureWeights) -> MixtureWeights:
        def packed(network: NetworkWeights) -> NetworkWeights:
            parts = (network.gate, network.up, network.down_t)
            return NetworkWeights(*(None if part is None else self._rounded(_q8(part)) for part in parts))

        shared = None if mixture.shared is None else packed(mixture.shared)
        return replace(mixture, experts=tuple(map(packed, mixture.experts)), shared=shared)

    def network(self, name: str, neurons: int) -> dict[str, PackedMatrix]:
        hidden = self._checkpoint.config.hidden_size
        return {
            "gate": self.matrix(f"{name}.gate_proj", neurons, hidden),
            "up": self.matrix(f"{name}.up_proj", neurons, hidden),
            "down_t": self.down_rows(f"{name}.down_proj", neurons, hidden),
        }

    def mixture(self, experts: Experts, name: str) -> MixtureWeights:
        hidden, shared = self._checkpoint.config.hidden_size, experts.shared_expert_intermediate_size
        networks = (
            NetworkWeights(**self.network(f"{name}.experts.{i}", experts.moe_intermediate_size))
            for i in range(experts.num_experts)
        )
        return MixtureWeights(
            router=self._rows(f"{name}.gate.weight", experts.num_experts, hidden),
            experts=tuple(networks),
            chosen=experts.num_experts_per_tok,
            renormalize=experts.norm_topk_prob,
            sigmoid=experts.sigmoid_scores,
            before_attention=experts.router_before_attention,
            shared=NetworkWeights(**self.network(f"{name}.shared_expert", shared)) if shared else None,
            shared_gate=self._rows(f"{name}.shared_expert_gate.weight", 1, hidden)[0] if shared else None,
        )

    def _rows(self, name: str, rows: int, columns: int) -> NDArray[np.float32]:
        return float_rows(self._checkpoint.array(name, (rows, columns)))

    def feed_forward(self, index: int) -> dict[str, Any]:
        config, name = self._checkpoint.config, f"model.layers.{index}.mlp"
        experts = config.experts_in(index)
        return (
            self.network(name, config.intermediate_size)
            if experts is None
            else {"mixture": self.mixture(experts, name)}
        )

    def layer(self, index: int) -> DecoderLayer:
        config, prefix = self._checkpoint.config, f"model.layers.{index}."
        hidden = config.hidden_size
        queries = config.num_attention_heads * config.head_dim
        keys = config.num_key_value_heads * config.head_dim
        return DecoderLayer(
            attention_norm=self._vector(f"{prefix}input_layernorm.weight", hidden),
            query=self.matrix(f"{prefix}self_attn.q_proj", queries, hidden),
            key=self.matrix(f"{prefix}self_attn.k_proj", keys, hidden),
            value=self.matrix(f"{prefix}self_attn.v_proj", keys, hidden),
            output=self.matrix(f"{prefix}self_attn.o_proj", hidden, queries),
            feed_forward_norm=self._vector(f"{prefix}post_attention_layernorm.weight", hidden),
            query_bias=self._bias(f"{prefix}self_attn.q_proj.bias", queries),
            key_bias=self._bias(f"{prefix}self_attn.k_proj.bias", keys),
            value_bias=self._bias(f"{prefix}self_attn.v_proj.bias", keys),
            query_norm=self._head_norm(f"{prefix}self_attn.q_norm.weight"),
            key_norm=self._head_norm(f"{prefix}self_attn.k_norm.weight"),
            **self.feed_forward(index),
        )

    def _vector(self, name: str, size: int) -> NDArray[np.float32]:
        return self._checkpoint.array(name, (size,))

    def _bias(self, name: str, size: int) -> NDArray[np.float32] | None:
        return self._vector(name, size) if self._checkpoint.config.attention_bias else None

    def _head_norm(self, name: str) -> NDArray[np.float32] | None:
        config = self._checkpoint.config
        return self._vector(name, config.head_dim) if config.qk_norm else None


def _floats(matrix: Matrix) -> NDArray[np.float32]:
    return matrix.dequantize() if isinstance(matrix, Q8Matrix) else matrix


def _q8(matrix: Q8Matrix | PackedMatrix) -> Q8Matrix:
    assert isinstance(matrix, Q8Matrix)
    return matrix
