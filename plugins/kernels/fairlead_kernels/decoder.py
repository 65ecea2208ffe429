"""A whole decoder in one call, on whichever backend is chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels.backend import extension
from fairlead_kernels.checks import array_of, indices_below, neuron_list, page_list, writable
from fairlead_kernels.model import DecoderConfig, DecoderWeights
from fairlead_kernels.ops import rope_inverse_frequency
from fairlead_kernels.reference_decoder import ReferenceDecoder
from fairlead_kernels.work import ACTIVE, Work, empty_work

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]
#: The most sequences that step_many takes in one call.
MOST_SEQUENCES = 8


@dataclass(frozen=True, eq=False, slots=True)
class DecodeResult:
    """What one call computed.

    Attributes:
        logits: float32 [vocabulary] of the last token, or [tokens, vocabulary] where all were asked for.
        work: int64 [layers, fields]: what the feed-forward layers did, summed over the call's tokens; see FIELDS.
    """

    logits: F32
    work: Work

    @property
    def active(self) -> NDArray[np.int64]:
        """Neurons whose gate was not zero, int64 [layers], summed over the call's tokens."""
        return self.work[:, ACTIVE]


@dataclass(frozen=True, eq=False, slots=True)
class BatchResult:
    """What one call computed for several sequences.

    Attributes:
        logits: float32 [sequences, vocabulary].
        active: int32 [sequences, layers]: neurons whose gate was not zero for that sequence's token.
        work: int64 [layers, fields]: what the feed-forward layers did for all together; see FIELDS.
    """

    logits: F32
    active: I32
    work: Work


class Decoder:
    """Runs tokens through a model whose weights and key-value pages belong to the caller.

    One decoder serves any number of sequences: each call names its page table and position. Calls on one
    decoder take turns; the interpreter lock is released while native kernels compute.
    """

    def __init__(
        self,
        config: DecoderConfig,
        weights: DecoderWeights,
        key_pages: NDArray[Any],
        value_pages: NDArray[Any],
        *,
        key_scale: F32 | None = None,
        value_scale: F32 | None = None,
        inverse_frequency: F32 | None = None,
        activation_counts: Sequence[NDArray[np.int64]] | None = None,
    ) -> None:
        """Check and keep references; nothing is copied.

        Args:
            config: the model's shape.
            weights: the model's matrices; they must not change shape or move while the decoder lives.
            key_pages: float32 or int8 [layers, pages, page_size, kv_heads, head_dim], written by every call.
            value_pages: like key_pages.
            key_scale: float32 [layers, pages, page_size, kv_heads], written too, where pages are int8; see
                quantize_heads.
            value_scale: like key_scale.
            inverse_frequency: float32 [head_dim / 2], for models that scale their rotary frequencies.
            activation_counts: one int64 [neurons] per layer; each call adds the tokens that activated a neuron.

        Raises:
            ValueError: an array does not fit; the message names it.
        """
        weights.check(config)
        layers = len(weights.layers)
        _check_arena((layers, None, None, config.kv_heads, config.head_dim), key_pages, value_pages)
        _check_scales(key_pages, key_scale, value_scale)
        frequency = inverse_frequency
        if frequency is None:
            frequency = rope_inverse_frequency(config.head_dim, config.rope_theta)
        array_of("inverse_frequency", frequency, np.float32, (config.head_dim // 2,))
        counts = None if activation_counts is None else _checked_counts(activation_counts, weights)
        self.config = config
        self.weights = weights
        self._pages, self._page_size = key_pages.shape[1], key_pages.shape[2]
        module = extension()
        twin: Any = ReferenceDecoder if module is None else module.Decoder
        self._decoder = twin(config, weights, frequency, key_pages, value_pages, key_scale, value_scale, counts)

    def step(self, token: int, position: int, page_table: I32) -> DecodeResult:
        """Run one token at ``position``; its key and value are written to the pages.

        In mode "predictor" the layers' predictors choose its neurons.

        Args:
            token: id in [0, vocabulary).
            position: index of the token in its sequence; positions before it must already be in the pages.
            page_table: int32, covers positions [0, position].

        Raises:
            ValueError: wrong types. IndexError: a token, position or page outside what there is.
        """
        if not 0 <= token < self.config.vocabulary:
            raise IndexError(f"token: {token} is outside 0..{self.config.vocabulary - 1}")
        logits, work = self._run(np.array([token], np.int32), position, page_table, 1, prompt=False)
        return DecodeResult(logits[0], work)

    def prefill(self, tokens: I32, position: int, page_table: I32, *, all_logits: bool = False) -> DecodeResult:
        """Run int32 tokens [n], n above 0, of a prompt at position, position + 1, ...

        No predictor takes part, even for one token: the result does not depend on the pieces in which a prompt comes.
        Without predictors native logits equal step's bit for bit.

        Args:
            tokens: ids in [0, vocabulary).
            position: index of the first token.
            page_table: int32, covers positions [0, position + n).
            all_logits: return every token's logits rather than the last one's.
        """
        array_of("tokens", tokens, np.int32, (None,))
        if not len(tokens):
            raise ValueError("tokens: must not be empty")
        indices_below("tokens", tokens, self.config.vocabulary)
        logits, work = self._run(tokens, position, page_table, len(tokens) if all_logits else 1, prompt=True)
        return DecodeResult(logits if all_logits else logits[0], work)

    def step_many(self, tokens: I32, positions: I32, page_tables: Sequence[I32]) -> BatchResult:
        """Run 1 to MOST_SEQUENCES tokens of one or several sequences; each has step's logits bit for bit.

        Weights are read once for all; the feed-forward computes the union of the tokens' active neurons. Tokens of one
        sequence (guesses to be checked) follow one another, with positions that do.

        Args:
            tokens: int32 [n], ids in [0, vocabulary).
            positions: int32 [n], each token's index in its sequence.
            page_tables: n int32 arrays, the same for tokens of one sequence; no page that a call writes may be in
                those of two sequences.

        Raises:
            ValueError: wrong types or numbers. IndexError: a token, position or page outside what there is.
        """
        array_of("tokens", tokens, np.int32, (None,))
        count = len(tokens)
        if not 1 <= count <= MOST_SEQUENCES or len(page_tables) != count:
            raise ValueError(
                f"tokens, page_tables: must be 1 to {MOST_SEQUENCES} of each, got {count} and {len(page_tables)}"
            )
        array_of("positions", positions, np.int32, (count,))
        indices_below("tokens", tokens, self.config.vocabulary)
        for position, table in zip(positions, page_tables, strict=True):
            self._check_place(1, int(position), table)
        layers = len(self.weights.layers)
        logits, work = np.empty((count, self.config.vocabulary), np.float32), empty_work(layers)
        active = np.zeros((layers, count), np.int32)
        self._decoder.run_many(tokens, positions, list(page_tables), logits, active, work)
        return BatchResult(logits, active.T, work)

    def _run(self, tokens: I32, position: int, page_table: I32, rows: int, *, prompt: bool) -> tuple[F32, Work]:
        self._check_place(len(tokens), position, page_table)
        logits = np.empty((rows, self.config.vocabulary), np.float32)
        work = empty_work(len(self.weights.layers))
        self._decoder.run(tokens, position, page_table, prompt, logits, work)
        return logits, work

    def embed(self, tokens: I32, position: int = 0) -> F32:
        """Return float32 [n, hidden]: the start of a layer-by-layer run of tokens from ``position`` on."""
        array_of("tokens", tokens, np.int32, (None,))
        indices_below("tokens", tokens, self.config.vocabulary)
        self._check_positions(position + len(tokens))
        hidden = np.empty((len(tokens), self.config.hidden), np.float32)
        self._decoder.embed(tokens, position, hidden)
        return hidden

    def attend(self, layer: int, hidden: F32, position: int, page_table: I32) -> None:
        """Add one layer's attention to ``hidden`` float32 [n, hidden] in place; writes keys and values."""
        self._check_hidden(layer, hidden)
        self._check_place(len(hidden), position, page_table)
        self._decoder.attend(layer, hidden, position, page_table)

    def feed_forward(self, layer: int, hidden: F32, neurons: I32 | None = None) -> int:
        """Add one layer's feed-forward to ``hidden`` in place and return the active neurons of all tokens.

        ``neurons`` (int32, each at most once) restricts one token to a predictor's choice.
        """
        self._check_hidden(layer, hidden)
        count = self.weights.layers[layer].neurons
        if not count:
            raise ValueError(f"layer {layer} has no feed-forward weights")
        if neurons is not None:
            if len(hidden) != 1:
                raise ValueError(f"neurons: only for one token, got {len(hidden)}")
            neuron_list(neurons, count)
        work = empty_work(1)
        self._decoder.feed_forward(layer, hidden, neurons, work)
        return int(work[0, ACTIVE])

    def force_neurons(self, layer: int, lists: Sequence[I32]) -> None:
        """Replace what a layer's predictor decides, for benchmarks and tests of models without real statistics.

        The predictor still runs and is timed; call i of the layer then computes the neurons lists[i % len(lists)]
        (int32, each at most once, ascending for the order of summation of a predictor). An empty sequence ends it.

        Raises:
            ValueError: the layer has no predictor, or the mode is "exact".
        """
        self._check_layer(layer)
        weights = self.weights.layers[layer]
        if weights.predictor is None or self.config.mode == "exact":
            raise ValueError(f'layer {layer}: has no predictor in use; needs mode "predictor" and a predictor')
        self._decoder.force_neurons(layer, [neuron_list(one, weights.neurons) for one in lists])

    def logits(self, hidden: F32) -> F32:
        """Return float32 [n, vocabulary] of the last layer's hidden [n, hidden]."""
        self._check_hidden(0, hidden)
        out = np.empty((len(hidden), self.config.vocabulary), np.float32)
        self._decoder.logits(hidden, out)
        return out

    def _check_place(self, count: int, position: int, page_table: I32) -> None:
        if position < 0:
            raise IndexError(f"position: must be at least 0, got {position}")
        page_list(page_table, position + count, self._pages, self._page_size)
        self._check_positions(position + count)

    def _check_positions(self, end: int) -> None:
        table = self.weights.position_embedding
        if table is not None and end > len(table):
            raise IndexError(f"position: must be below {len(table)}, the learned positions, got {end - 1}")

    def _check_layer(self, layer: int) -> None:
        if not 0 <= layer < len(self.weights.layers):
            raise IndexError(f"layer: {layer} is outside 0..{len(self.weights.layers) - 1}")

    def _check_hidden(self, layer: int, hidden: F32) -> None:
        self._check_layer(layer)
        array_of("hidden", hidden, np.float32, (None, self.config.hidden))
        if not len(writable("hidden", hidden)):
            raise ValueError("hidden: must hold at least one token")


def _check_arena(shape: tuple[int | None, ...], keys: NDArray[Any], values: NDArray[Any]) -> None:
    kind = np.int8 if getattr(keys, "dtype", None) == np.int8 else np.float32
    writable("key_pages", array_of("key_pages", keys, kind, shape))
    writable("value_pages", array_of("value_pages", values, kind, keys.shape))
    if keys.shape[2] < 1:
        raise ValueError("key_pages: page_size must be at least 1")


def _check_scales(keys: NDArray[Any], key_scale: F32 | None, value_scale: F32 | None) -> None:
    for name, scale in (("key_scale", key_scale), ("value_scale", value_scale)):
        if keys.dtype == np.int8:
            writable(name, array_of(name, scale, np.float32, keys.shape[:-1]))
        elif scale is not None:
            raise ValueError(f"{name}: only for int8 pages, got {keys.dtype} pages")


def _checked_counts(counts: Sequence[NDArray[np.int64]], weights: DecoderWeights) -> list[NDArray[np.int64]]:
    if len(counts) != len(weights.layers):
        raise ValueError(f"activation_counts: must have {len(weights.layers)} arrays, got {len(counts)}")
    for index, layer in enumerate(weights.layers):
        name = f"activation_counts[{index}]"
        writable(name, array_of(name, counts[index], np.int64, (layer.neurons,)))
    return list(counts)
