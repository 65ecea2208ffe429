"""A checkpoint as the kernels take it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels import Decoder, DecoderWeights
from fairlead_kernels.streamed import NeuronStore, StreamOptions
from fairlead_language_model.checkpoint import Checkpoint, open_checkpoint
from fairlead_language_model.config import ModelConfig
from fairlead_language_model.gguf_names import ROPE_FREQUENCY_FACTORS
from fairlead_language_model.graph import KVPages, LlamaGraph, load_weights, packed_weights
from fairlead_language_model.graph.q8_decoder import decoder_config, decoder_weights, why_not_q8
from fairlead_language_model.graph.rotary import inverse_frequencies
from fairlead_language_model.tokenizer import Tokenizer, open_tokenizer

from ..bundle import is_bundle
from .bundle_model import EXACT, PREDICTOR, BundleModel, load_bundle
from .errors import ModelUnsupported


class SparseModel:
    """Config, tokenizer and weights: Q8 from a checkpoint, packed from a bundle.

    `activations` counts for each layer how many tokens activated each neuron, int64 [neurons]. `store` caches the
    neurons of a bundle, whose number in memory may change while the model runs; else it is None.
    """

    def __init__(
        self,
        config: ModelConfig,
        weights: DecoderWeights,
        tokenizer: Tokenizer,
        frequencies: NDArray[np.float64],
        *,
        mode: str = EXACT,
        store: NeuronStore | None = None,
    ) -> None:
        self.config, self.weights, self.tokenizer, self.store, self.mode = config, weights, tokenizer, store, mode
        self._frequencies = np.ascontiguousarray(frequencies, np.float32)
        self.decoder_config = replace(decoder_config(config), mode=mode)
        self.activations = [np.zeros(layer.neurons, np.int64) for layer in weights.layers]
        self._counted: list[NDArray[np.int64]] | None = self.activations

    @classmethod
    def load(
        cls,
        path: Path,
        *,
        mode: str = EXACT,
        weight_bits: int | None = None,
        streamed: bool = True,
        options: StreamOptions | None = None,
        elsewhere: Sequence[int] | None = None,
    ) -> SparseModel:
        """Read a checkpoint or a bundle directory and its tokenizer; weights that are stored otherwise are quantized.

        A checkpoint of which the kernels lack a part is served by the NumPy graph instead (GraphModel).

        Args:
            path: a bundle directory, a directory in the Hugging Face layout, or a .gguf file.
            mode: "exact" computes every gate; "predictor" those that a bundle's predictors choose (lossy).
            weight_bits: 4 or 8 packs the weights of a checkpoint with so many bits; None packs one that holds Q4_0
                matrices as they are, and takes all others in Q8 groups with float activations.
            streamed: neurons of a bundle are read when they are needed, into a cache with room for all until
                `store.resize`; else they are all read now.
            options: how a bundle is read.
            elsewhere: how many of each network's first places in a streamed bundle an accelerator computes.

        Raises:
            LanguageModelError: a file is missing or damaged; names it.
            ModelUnsupported: the kernels lack a part of a bundle's model, or it has no predictors.
        """
        if mode not in (EXACT, PREDICTOR):
            raise ValueError(f"mode = {mode!r}: accepted: {EXACT}, {PREDICTOR}")
        if is_bundle(path):
            read = load_bundle(path, mode=mode, streamed=streamed, options=options, elsewhere=elsewhere)
            return cls._of_bundle(path, mode, read)
        if mode != EXACT:
            raise ModelUnsupported(f"{path}: mode {mode}: accepted for a bundle directory with predictors")
        checkpoint = open_checkpoint(path)
        reason = why_not_q8(checkpoint.config)
        tokenizer, config = open_tokenizer(path, checkpoint.config), checkpoint.config
        if reason is not None:
            from .graph_model import GraphModel

            return GraphModel(LlamaGraph(config, load_weights(checkpoint)), tokenizer, reason)
        frequencies = inverse_frequencies(config, _rope_factors(checkpoint))
        if weight_bits is not None or checkpoint.holds_q4:
            return cls(config, packed_weights(checkpoint, weight_bits), tokenizer, frequencies)
        return cls(config, decoder_weights(config, load_weights(checkpoint)), tokenizer, frequencies)

    @classmethod
    def _of_bundle(cls, path: Path, mode: str, read: BundleModel) -> SparseModel:
        return cls(
            read.config,
            read.weights,
            open_tokenizer(path, read.config),
            inverse_frequencies(read.config, read.rope_factors),
            mode=mode,
            store=read.store,
        )

    def decoder(self, pages: KVPages) -> Decoder:
        """Return a decoder over an arena; it holds references only."""
        return Decoder(
            self.decoder_config,
            self.weights,
            pages.keys,
            pages.values,
            key_scale=pages.key_scale,
            value_scale=pages.value_scale,
            inverse_frequency=self._frequencies,
            activation_counts=self._counted,
        )

    @property
    def end_tokens(self) -> frozenset[int]:
        """Tokens that end an answer."""
        return self.tokenizer.eos_token_ids | frozenset(self.config.eos_token_ids)


def _rope_factors(checkpoint: Checkpoint) -> NDArray[np.float32] | None:
    if ROPE_FREQUENCY_FACTORS not in checkpoint.names():
        return None
    return checkpoint.array(ROPE_FREQUENCY_FACTORS, (checkpoint.config.head_dim // 2,))
