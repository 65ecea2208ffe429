"""A checkpoint as the kernels take it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels import Decoder, DecoderConfig, DecoderWeights
from fairlead_language_model.checkpoint import open_checkpoint
from fairlead_language_model.config import ModelConfig
from fairlead_language_model.graph import KVPages, load_weights
from fairlead_language_model.graph.q8_decoder import decoder_weights, why_not_q8
from fairlead_language_model.graph.rotary import inverse_frequencies
from fairlead_language_model.tokenizer import Tokenizer, open_tokenizer

from .errors import ModelUnsupported

_ACTIVATIONS = {"drelu": "drelu", "relu": "relu", "silu": "swiglu", "gelu_tanh": "geglu"}


class SparseModel:
    """Config, tokenizer and Q8 weights, with the down projection transposed, so that a neuron's row is contiguous.

    `activations` counts for each layer how many tokens activated each neuron, int64 [neurons].
    """

    def __init__(
        self, config: ModelConfig, weights: DecoderWeights, tokenizer: Tokenizer, frequencies: NDArray[np.float64]
    ) -> None:
        self.config, self.weights, self.tokenizer = config, weights, tokenizer
        self._frequencies = np.ascontiguousarray(frequencies, np.float32)
        self._decoder_config = _decoder_config(config)
        self.activations = [np.zeros(config.intermediate_size, np.int64) for _ in weights.layers]

    @classmethod
    def load(cls, path: Path) -> SparseModel:
        """Read a checkpoint and its tokenizer; what is not stored in Q8 groups is quantized.

        Raises:
            LanguageModelError: a file is missing or damaged; names it.
            ModelUnsupported: the kernels lack a part of this model.
        """
        checkpoint = open_checkpoint(path)
        reason = why_not_q8(checkpoint.config)
        if reason is not None:
            raise ModelUnsupported(f"{path}: the kernels do not take {reason}")
        read = load_weights(checkpoint)
        frequencies = inverse_frequencies(checkpoint.config, read.rope_factors)
        return cls(
            checkpoint.config,
            decoder_weights(checkpoint.config, read),
            open_tokenizer(path, checkpoint.config),
            frequencies,
        )

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


def _decoder_config(config: ModelConfig) -> DecoderConfig:
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
