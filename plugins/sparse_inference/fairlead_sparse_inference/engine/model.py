"""A checkpoint as the kernels take it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels import Decoder, DecoderConfig, DecoderWeights, LayerWeights, Q8Matrix, quantize_q8
from fairlead_language_model.checkpoint import open_checkpoint
from fairlead_language_model.config import ModelConfig
from fairlead_language_model.graph import KVPages, LlamaWeights, load_weights
from fairlead_language_model.graph import LayerWeights as CheckpointLayer
from fairlead_language_model.graph.rotary import inverse_frequencies
from fairlead_language_model.tokenizer import Tokenizer, open_tokenizer

from .errors import ModelUnsupported

_ACTIVATIONS = {"drelu": "drelu", "relu": "relu", "silu": "swiglu", "gelu_tanh": "geglu"}
_NO_BIAS = ("o_bias", "gate_bias", "up_bias", "down_bias")

Matrix = Q8Matrix | NDArray[np.float32]


class SparseModel:
    """Config, tokenizer and Q8 weights, with the down projection transposed, so that a neuron's row is contiguous.

    `activations` counts for each layer how many tokens activated each neuron, int64 [neurons].
    """

    def __init__(
        self, config: ModelConfig, weights: DecoderWeights, tokenizer: Tokenizer, frequencies: NDArray
    ) -> None:
        self.config, self.weights, self.tokenizer = config, weights, tokenizer
        self._frequencies = np.ascontiguousarray(frequencies, np.float32)
        self._decoder_config = _decoder_config(config)
        self.activations = [np.zeros(config.intermediate_size, np.int64) for _ in weights.layers]

    @classmethod
    def load(cls, path: Path) -> SparseModel:
        """Read a checkpoint and its tokenizer.

        Raises:
            LanguageModelError: a file is missing or damaged; names it.
            ModelUnsupported: the kernels lack a part of this model.
        """
        checkpoint = open_checkpoint(path)
        _decoder_config(checkpoint.config)
        read = load_weights(checkpoint)
        frequencies = inverse_frequencies(checkpoint.config, read.rope_factors)
        return cls(checkpoint.config, kernel_weights(read), open_tokenizer(path), frequencies)

    def decoder(self, pages: KVPages) -> Decoder:
        """Return a decoder over an arena; it holds references only."""
        return Decoder(
            self._decoder_config,
            self.weights,
            pages.keys,
            pages.values,
            inverse_frequency=self._frequencies,
            activation_counts=self.activations,
        )

    @property
    def end_tokens(self) -> frozenset[int]:
        """Tokens that end an answer."""
        return self.tokenizer.eos_token_ids | frozenset(self.config.eos_token_ids)


def kernel_weights(read: LlamaWeights) -> DecoderWeights:
    """Return the weights in the kernels' layout; what is not stored in Q8 groups is quantized."""
    head = None if read.head is read.embedding else as_q8(read.head)
    layers = tuple(_layer(layer, f"layer {index}") for index, layer in enumerate(read.layers))
    return DecoderWeights(as_q8(read.embedding), layers, read.norm, head)


def as_q8(matrix: Matrix) -> Q8Matrix:
    """Return a matrix in Q8 groups."""
    return matrix if isinstance(matrix, Q8Matrix) else quantize_q8(np.ascontiguousarray(matrix))


def transposed_q8(matrix: Matrix) -> Q8Matrix:
    """Return the transpose in Q8 groups; groups run along the other axis, so stored Q8 values are rounded once more."""
    dense = matrix.dequantize() if isinstance(matrix, Q8Matrix) else matrix
    return quantize_q8(np.ascontiguousarray(dense.T))


def _layer(layer: CheckpointLayer, name: str) -> LayerWeights:
    for part in _NO_BIAS:
        if getattr(layer, part) is not None:
            raise ModelUnsupported(f"{name}: {part}: the kernels take biases on query, key and value only")
    return LayerWeights(
        attention_norm=layer.input_norm,
        query=as_q8(layer.q),
        key=as_q8(layer.k),
        value=as_q8(layer.v),
        output=as_q8(layer.o),
        feed_forward_norm=layer.post_norm,
        gate=as_q8(layer.gate),
        up=as_q8(layer.up),
        down_t=transposed_q8(layer.down),
        query_bias=layer.q_bias,
        key_bias=layer.k_bias,
        value_bias=layer.v_bias,
        query_norm=layer.q_norm,
        key_norm=layer.k_norm,
    )


def _decoder_config(config: ModelConfig) -> DecoderConfig:
    if config.activation not in _ACTIVATIONS:
        raise ModelUnsupported(f"activation {config.activation}: accepted: {', '.join(_ACTIVATIONS)}")
    windows = {config.window(layer) for layer in range(config.num_hidden_layers)} - {None}
    if any(window < config.max_position_embeddings for window in windows if window is not None):
        raise ModelUnsupported(f"sliding window {windows}: the kernels attend to the whole context")
    return DecoderConfig(
        vocabulary=config.vocab_size,
        hidden=config.hidden_size,
        heads=config.num_attention_heads,
        kv_heads=config.num_key_value_heads,
        head_dim=config.head_dim,
        activation=_ACTIVATIONS[config.activation],
        norm_epsilon=config.rms_norm_eps,
        rope_theta=config.rope_theta,
    )
