"""Builds the kernels' whole-token decoder from a model's weights."""

from __future__ import annotations

import numpy as np

from fairlead_kernels import GROUP, Decoder, DecoderConfig, DecoderWeights, Q8Matrix, quantize_q8
from fairlead_kernels import LayerWeights as DecoderLayer

from ..checkpoint import Matrix
from ..config import ModelConfig
from ..errors import LanguageModelError
from ..quantize import down_rows
from .kv_pages import KVPages
from .rotary import inverse_frequencies
from .weights import LayerWeights, LlamaWeights

_ACTIVATIONS = {"drelu": "drelu", "relu": "relu", "silu": "swiglu", "gelu_tanh": "geglu"}


def why_not_q8(config: ModelConfig) -> str | None:
    """Return why the kernels' decoder cannot run a model, or None where it can."""
    other = _other_architecture(config)
    if other is not None:
        return other
    window = config.sliding_window
    if any(config.sliding_layers) and window is not None and window < config.max_position_embeddings:
        return f"sliding_window {window} is shorter than the context {config.max_position_embeddings}"
    if config.attention_output_bias or config.mlp_bias:
        return "a bias on the attention output or on the feed-forward network"
    if config.activation not in _ACTIVATIONS:
        return f"the activation {config.activation}"
    if config.hidden_size % GROUP or config.num_attention_heads * config.head_dim % GROUP:
        return f"hidden_size {config.hidden_size} or the width of its heads is no multiple of {GROUP}"
    return None


def _other_architecture(config: ModelConfig) -> str | None:
    if config.experts is not None:
        return "a mixture of experts"
    if config.norm != "rms" or config.positions != "rotary" or config.ffn == "plain":
        return "layer normalization with bias, learned positions or a feed-forward network without gate"
    if config.relu_threshold:
        return f"a relu with the threshold {config.relu_threshold}"
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
    assert weights.norm is not None
    return DecoderWeights(_q8(weights.embedding), tuple(map(_layer, weights.layers)), weights.norm, head)


def build_decoder(config: ModelConfig, weights: LlamaWeights, pages: KVPages) -> Decoder:
    """Return a decoder that shares the arena's pages with a LlamaGraph; it must be built again after a resize."""
    prepared = decoder_weights(config, weights)
    shape = DecoderConfig(
        vocabulary=config.vocab_size,
        hidden=config.hidden_size,
        heads=config.num_attention_heads,
        kv_heads=config.num_key_value_heads,
        head_dim=config.head_dim,
        activation=_ACTIVATIONS[config.activation],
        norm_epsilon=config.rms_norm_eps,
        rope_theta=config.rope_theta,
    )
    frequencies = inverse_frequencies(config, weights.rope_factors).astype(np.float32)
    return Decoder(shape, prepared, pages.keys, pages.values, inverse_frequency=frequencies)


def _q8(matrix: Matrix) -> Q8Matrix:
    return matrix if isinstance(matrix, Q8Matrix) else quantize_q8(np.ascontiguousarray(matrix))


def _layer(layer: LayerWeights) -> DecoderLayer:
    assert layer.gate is not None and layer.up is not None and layer.down is not None
    return DecoderLayer(
        attention_norm=layer.input_norm,
        query=_q8(layer.q),
        key=_q8(layer.k),
        value=_q8(layer.v),
        output=_q8(layer.o),
        feed_forward_norm=layer.post_norm,
        gate=_q8(layer.gate),
        up=_q8(layer.up),
        down_t=down_rows(layer.down) if layer.down_t is None else layer.down_t,
        query_bias=layer.q_bias,
        key_bias=layer.k_bias,
        value_bias=layer.v_bias,
        query_norm=layer.q_norm,
        key_norm=layer.k_norm,
    )
