"""Builds the kernels' whole-token decoder from a model's weights."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels import GROUP, Decoder, DecoderConfig, DecoderWeights, NetworkWeights, Q8Matrix, quantize_q8
from fairlead_kernels import LayerWeights as DecoderLayer
from fairlead_kernels import MixtureWeights as DecoderMixture

from ..checkpoint import Matrix
from ..config import ModelConfig
from ..errors import LanguageModelError
from ..experts import Experts
from ..quantize import down_rows
from .kv_pages import KVPages
from .rotary import inverse_frequencies
from .weights import ExpertWeights, LayerWeights, LlamaWeights, MixtureWeights

_ACTIVATIONS = {"drelu": "drelu", "relu": "relu", "silu": "swiglu", "gelu_tanh": "geglu"}


def why_not_q8(config: ModelConfig) -> str | None:
    """Return why the kernels' decoder cannot run a model, or None where it can."""
    other = _other_architecture(config)
    if other is not None:
        return other
    window = config.sliding_window
    if any(config.sliding_layers) and window is not None and window < config.max_position_embeddings:
        return f"sliding_window {window} is shorter than the context {config.max_position_embeddings}"
    if config.mlp_bias and config.ffn != "plain":
        return "a bias in a gated feed-forward network"
    if config.activation not in _ACTIVATIONS:
        return f"the activation {config.activation}"
    if config.head_dim % 2:
        return f"the odd head_dim {config.head_dim}"
    if config.hidden_size % GROUP or config.num_attention_heads * config.head_dim % GROUP:
        return f"hidden_size {config.hidden_size} or the width of its heads is no multiple of {GROUP}"
    return None


def _other_architecture(config: ModelConfig) -> str | None:
    if config.embedding_size not in (None, config.hidden_size):
        return f"an embedding of width {config.embedding_size} that is projected to hidden_size {config.hidden_size}"
    return None


def decoder_weights(config: ModelConfig, weights: LlamaWeights) -> DecoderWeights:
    """Return the weights as the kernels' decoder takes them: float matrices quantized, Q8 ones as they are.

    A down projection that its checkpoint does not hold transposed is quantized anew. Raises LanguageModelError for a
    model that the decoder cannot run.
    """
    reason = why_not_q8(config)
    if reason is not None:
        raise LanguageModelError(f"the kernels' decoder does not take {reason}; the NumPy graph does")
    head = None if weights.head is weights.embedding else _q8(weights.head)
    return DecoderWeights(
        _q8(weights.embedding),
        tuple(_layer(config.experts, layer) for layer in weights.layers),
        weights.norm,
        head,
        final_norm_bias=weights.norm_bias,
        position_embedding=_positions(config, weights.position_embedding),
    )


def decoder_config(config: ModelConfig) -> DecoderConfig:
    """Return the shape as the kernels' decoder takes it, for a model that it can run."""
    return DecoderConfig(
        vocabulary=config.vocab_size,
        hidden=config.hidden_size,
        heads=config.num_attention_heads,
        kv_heads=config.num_key_value_heads,
        head_dim=config.head_dim,
        activation=_ACTIVATIONS[config.activation],
        threshold=config.relu_threshold,
        norm_epsilon=config.rms_norm_eps,
        norm_first=config.norm_first,
        rope_theta=config.rope_theta,
    )


def build_decoder(config: ModelConfig, weights: LlamaWeights, pages: KVPages) -> Decoder:
    """Return a decoder that shares the arena's pages with a LlamaGraph; it must be built again after a resize."""
    prepared = decoder_weights(config, weights)
    frequencies = inverse_frequencies(config, weights.rope_factors).astype(np.float32)
    return Decoder(
        decoder_config(config),
        prepared,
        pages.keys,
        pages.values,
        key_scale=pages.key_scale,
        value_scale=pages.value_scale,
        inverse_frequency=frequencies,
    )


def _q8(matrix: Matrix) -> Q8Matrix:
    return matrix if isinstance(matrix, Q8Matrix) else quantize_q8(np.ascontiguousarray(matrix))


def _positions(config: ModelConfig, table: Matrix | None) -> NDArray[np.float32] | None:
    if table is None:
        return None
    rows = table.dequantize() if isinstance(table, Q8Matrix) else table
    return np.require(rows[config.position_offset :], requirements=["C", "A"])


def _layer(experts: Experts | None, layer: LayerWeights) -> DecoderLayer:
    return DecoderLayer(
        attention_norm=layer.input_norm,
        query=_q8(layer.q),
        key=_q8(layer.k),
        value=_q8(layer.v),
        output=_q8(layer.o),
        feed_forward_norm=layer.post_norm,
        query_bias=layer.q_bias,
        key_bias=layer.k_bias,
        value_bias=layer.v_bias,
        output_bias=layer.o_bias,
        attention_norm_bias=layer.input_norm_bias,
        feed_forward_norm_bias=layer.post_norm_bias,
        query_norm=layer.q_norm,
        key_norm=layer.k_norm,
        **(_dense(layer) if layer.mixture is None else {"mixture": _mixture(experts, layer.mixture)}),
    )


def _dense(layer: LayerWeights) -> dict[str, Any]:
    assert layer.up is not None and layer.down is not None
    # A network without gate has its first matrix where gated ones have the gate.
    gate, up = (layer.up, None) if layer.gate is None else (layer.gate, layer.up)
    return {
        "gate": _q8(gate),
        "up": None if up is None else _q8(up),
        "down_t": down_rows(layer.down) if layer.down_t is None else layer.down_t,
        "gate_bias": layer.up_bias if layer.gate is None else layer.gate_bias,
        "down_bias": layer.down_bias,
    }


def _mixture(experts: Experts | None, weights: MixtureWeights) -> DecoderMixture:
    assert experts is not None
    shared_gate = weights.shared_gate
    return DecoderMixture(
        router=float_rows(weights.router),
        experts=tuple(map(_expert, weights.experts)),
        chosen=experts.num_experts_per_tok,
        renormalize=experts.norm_topk_prob,
        sigmoid=experts.sigmoid_scores,
        before_attention=experts.router_before_attention,
        shared=None if weights.shared is None else _expert(weights.shared),
        shared_gate=None if shared_gate is None else float_rows(shared_gate)[0],
    )


def _expert(expert: ExpertWeights) -> NetworkWeights:
    down_t = down_rows(expert.down) if expert.down_t is None else expert.down_t
    return NetworkWeights(_q8(expert.gate), _q8(expert.up), down_t)


def float_rows(matrix: Matrix) -> NDArray[np.float32]:
    """Return a router's rows as the decoder takes them: float32, in memory of their own where they are not aligned."""
    wide = matrix.dequantize() if isinstance(matrix, Q8Matrix) else matrix
    return np.require(wide, np.float32, ["C", "A"])
