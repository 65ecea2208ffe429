"""The forward pass of a decoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..checkpoint import Checkpoint, open_checkpoint
from ..config import ModelConfig
from .attention import attend
from .feed_forward import activations, project
from .kv_pages import KVPages
from .linear import linear, rows
from .normalization import layer_norm, rms_norm
from .page_table import PageTable
from .rotary import inverse_frequencies, rotate, rotation
from .weights import LayerWeights, LlamaWeights, load_weights

FloatArray = NDArray[np.float32]
Observer = Callable[[int, FloatArray], None]
Neurons = Callable[[int, FloatArray], FloatArray]


class LlamaGraph:
    """Llama and its relatives, OPT and mixtures of experts, in NumPy, float32: the reference for faster paths.

    Q8 matrices are multiplied by `fairlead_kernels`. Logits agree with Hugging Face's models within float tolerance.
    """

    def __init__(self, config: ModelConfig, weights: LlamaWeights) -> None:
        self.config = config
        self.weights = weights
        self._frequencies = inverse_frequencies(config, weights.rope_factors)

    @classmethod
    def load(cls, source: Checkpoint | Path | str) -> LlamaGraph:
        """Read all weights of a checkpoint; raises CheckpointError or ConfigError."""
        checkpoint = source if isinstance(source, Checkpoint) else open_checkpoint(source)
        return cls(checkpoint.config, load_weights(checkpoint))

    def pages(self, tokens: int, page_size: int = 16) -> KVPages:
        """Return an arena with room for a number of tokens."""
        return KVPages(self.config, -(-tokens // page_size), page_size)

    def prefill(self, tokens: Sequence[int], pages: KVPages, table: PageTable, chunk: int = 256) -> FloatArray:
        """Append a prompt to a sequence and return the logits [vocabulary] after its last token.

        `chunk` tokens go through the layers at a time, which bounds the memory of the attention scores.
        """
        if not len(tokens):
            raise ValueError("a prompt needs at least one token")
        # Reserved whole, so that a prompt that does not fit changes nothing.
        self._admit(tokens, pages, table)
        hidden = np.empty((0, self.config.hidden_size), np.float32)
        for start in range(0, len(tokens), chunk):
            hidden = self.hidden(tokens[start : start + chunk], pages, table)
        return self.logits(hidden[-1:])[0]

    def decode(self, token: int, pages: KVPages, table: PageTable) -> FloatArray:
        """Append one token to a sequence and return the logits [vocabulary] after it."""
        return self.forward([token], pages, table)[0]

    def forward(
        self,
        tokens: Sequence[int],
        pages: KVPages,
        table: PageTable,
        observe: Observer | None = None,
        neurons: Neurons | None = None,
    ) -> FloatArray:
        """Append tokens to a sequence and return the logits [tokens, vocabulary] after each."""
        return self.logits(self.hidden(tokens, pages, table, observe, neurons))

    def hidden(
        self,
        tokens: Sequence[int],
        pages: KVPages,
        table: PageTable,
        observe: Observer | None = None,
        neurons: Neurons | None = None,
    ) -> FloatArray:
        """Append tokens to a sequence and return the states [tokens, hidden_size] after the last layer.

        `observe` gets each layer's number and feed-forward activations [tokens, neurons]. `neurons` replaces
        `activations`: it gets a layer's number and normalized input [tokens, hidden_size], and may leave neurons out.
        Raises OutOfPages, or ValueError for a token outside the vocabulary or a sequence beyond the model's context;
        then nothing changes.
        """
        self._admit(tokens, pages, table)
        start = table.length
        positions = np.arange(start, start + len(tokens), dtype=np.int64)
        turn = rotation(self._frequencies, positions)
        x = self._embed(np.asarray(tokens, dtype=np.int64), positions)
        for layer, weights in enumerate(self.weights.layers):
            inputs, early = self._before(x, weights.input_norm, weights.input_norm_bias), self._router_input(x)
            x = x + self._attention(layer, weights, inputs, turn, pages, table)
            x = self._after(x, weights.input_norm, weights.input_norm_bias)
            inputs = self._before(x, weights.post_norm, weights.post_norm_bias)
            active = self.activations(layer, inputs, early) if neurons is None else neurons(layer, inputs)
            if observe is not None:
                observe(layer, active)
            x = x + project(self.config, weights, active)
            x = self._after(x, weights.post_norm, weights.post_norm_bias)
        table.length = start + len(tokens)
        return x

    def logits(self, hidden: FloatArray) -> FloatArray:
        """Return logits [tokens, vocabulary] from the last layer's states [tokens, hidden_size]."""
        weights = self.weights
        if weights.norm is not None:
            hidden = self._norm(hidden, weights.norm, weights.norm_bias)
        if weights.project_out is not None:
            hidden = linear(hidden, weights.project_out)
        return linear(hidden, weights.head)

    def _embed(self, tokens: NDArray[np.int64], positions: NDArray[np.int64]) -> FloatArray:
        weights = self.weights
        x = rows(weights.embedding, tokens)
        if weights.project_in is not None:
            x = linear(x, weights.project_in)
        if weights.position_embedding is not None:
            x = x + rows(weights.position_embedding, positions + self.config.position_offset)
        return x

    def _attention(
        self,
        layer: int,
        weights: LayerWeights,
        x: FloatArray,
        turn: tuple[FloatArray, FloatArray],
        pages: KVPages,
        table: PageTable,
    ) -> FloatArray:
        config, count, start = self.config, x.shape[0], table.length
        q = linear(x, weights.q, weights.q_bias).reshape(count, config.num_attention_heads, config.head_dim)
        k = linear(x, weights.k, weights.k_bias).reshape(count, config.num_key_value_heads, config.head_dim)
        v = linear(x, weights.v, weights.v_bias).reshape(count, config.num_key_value_heads, config.head_dim)
        if weights.q_norm is not None and weights.k_norm is not None:
            q, k = self._norm(q, weights.q_norm), self._norm(k, weights.k_norm)
        if config.positions == "rotary":
            q, k = rotate(q, turn), rotate(k, turn)
        pages.write(layer, table, start, k, v)
        window = config.window(layer)
        first = 0 if window is None else max(0, start - window + 1)
        keys, values = pages.read(layer, table, first, start + count)
        out = attend(q, keys, values, start - first, window)
        return linear(out.reshape(count, -1), weights.o, weights.o_bias)

    def activations(self, layer: int, x: FloatArray, router_input: FloatArray | None = None) -> FloatArray:
        """Return a layer's feed-forward activations [tokens, neurons] of its normalized input [tokens, hidden_size].

        A router that looks before the attention needs the layer's state there, `router_input`, too.
        """
        return activations(self.config, self.weights.layers[layer], x, router_input)

    def _router_input(self, x: FloatArray) -> FloatArray | None:
        experts = self.config.experts
        return x if experts is not None and experts.router_before_attention else None

    def _before(self, x: FloatArray, weight: FloatArray, bias: FloatArray | None) -> FloatArray:
        return self._norm(x, weight, bias) if self.config.norm_first else x

    def _after(self, x: FloatArray, weight: FloatArray, bias: FloatArray | None) -> FloatArray:
        return x if self.config.norm_first else self._norm(x, weight, bias)

    def _norm(self, x: FloatArray, weight: FloatArray, bias: FloatArray | None = None) -> FloatArray:
        epsilon = self.config.rms_norm_eps
        return rms_norm(x, weight, epsilon) if bias is None else layer_norm(x, weight, bias, epsilon)

    def _admit(self, tokens: Sequence[int], pages: KVPages, table: PageTable) -> None:
        ids, end = np.asarray(tokens), table.length + len(tokens)
        outside = ids[(ids < 0) | (ids >= self.config.vocab_size)]
        if outside.size:
            raise ValueError(f"token {int(outside[0])}: accepted: 0 to {self.config.vocab_size - 1}")
        if end > self.config.max_position_embeddings:
            raise ValueError(f"{end} tokens: the model's context holds {self.config.max_position_embeddings}")
        pages.reserve(table, end)
