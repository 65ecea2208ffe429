"""The decoder in NumPy: the native one's twin, with the same methods."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels import reference, reference_packed
from fairlead_kernels.feed_forward import Network, NetworkWeights, neurons_of
from fairlead_kernels.mixture import MixtureWeights
from fairlead_kernels.model import DecoderConfig, DecoderWeights, LayerWeights, Matrix
from fairlead_kernels.packed import PackedMatrix
from fairlead_kernels.quantized import Q8Matrix
from fairlead_kernels.reference_mixture import compute_mixture, shares_of
from fairlead_kernels.work import ACTIVE, COMPUTED, EXPERTS, PREDICTED, Work, empty_work

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]
Counts = list[NDArray[np.int64]] | None


class ReferenceDecoder:
    """Arguments are taken as checked by :class:`fairlead_kernels.decoder.Decoder`; outputs are filled in place."""

    def __init__(
        self,
        config: DecoderConfig,
        weights: DecoderWeights,
        inverse_frequency: F32,
        key_pages: NDArray[Any],
        value_pages: NDArray[Any],
        key_scale: F32 | None,
        value_scale: F32 | None,
        activation_counts: Counts,
    ) -> None:
        self._config = config
        self._weights = weights
        self._frequency = inverse_frequency
        self._keys = key_pages
        self._values = value_pages
        self._key_scale = key_scale
        self._value_scale = value_scale
        self._counts = activation_counts
        self._forced: list[list[I32]] = [[] for _ in weights.layers]
        self._forced_at = [0] * len(weights.layers)
        self._routed: dict[int, list[dict[int, np.float32]]] = {}

    def run(self, tokens: I32, position: int, page_table: I32, prompt: bool, logits: F32, work: Work) -> None:
        hidden = np.empty((len(tokens), self._config.hidden), np.float32)
        self.embed(tokens, position, hidden)
        for index in range(len(self._weights.layers)):
            self.attend(index, hidden, position, page_table)
            self._add_feed_forward(index, hidden, None, work[index : index + 1], predicts=not prompt)
        self.logits(hidden[-len(logits) :], logits)

    def run_many(
        self, tokens: I32, positions: I32, page_tables: list[I32], logits: F32, active: I32, work: Work
    ) -> None:
        for index, (position, table) in enumerate(zip(positions, page_tables, strict=True)):
            own = empty_work(len(work))
            self.run(tokens[index : index + 1], int(position), table, False, logits[index : index + 1], own)
            active[:, index] = own[:, ACTIVE]
            work += own

    def embed(self, tokens: I32, position: int, hidden: F32) -> None:
        hidden[:] = self._weights.embedding.take(tokens).dequantize()
        learned = self._weights.position_embedding
        if learned is not None:
            hidden += learned[position : position + len(tokens)]

    def attend(self, layer: int, hidden: F32, position: int, page_table: I32) -> None:
        weights = self._weights.layers[layer]
        if weights.mixture is not None and weights.mixture.before_attention:
            self._routed[layer] = [shares_of(weights.mixture, x) for x in hidden]
        normal = self._before(hidden, weights.attention_norm, weights.attention_norm_bias)
        positions = np.arange(position, position + len(hidden), dtype=np.int32)
        query, key, value = self._project(weights, normal, positions)
        self._store(layer, positions, page_table, key, value)
        mixed = self._mix(layer, query, page_table, position + 1)
        hidden += _product(weights.output, mixed.reshape(len(hidden), -1))
        if weights.output_bias is not None:
            hidden += weights.output_bias
        self._after(hidden, weights.attention_norm, weights.attention_norm_bias)

    def _before(self, hidden: F32, weight: F32, bias: F32 | None) -> F32:
        return self._norm(hidden, weight, bias) if self._config.norm_first else hidden.copy()

    def _after(self, hidden: F32, weight: F32, bias: F32 | None) -> None:
        if not self._config.norm_first:
            hidden[:] = self._norm(hidden, weight, bias)

    def _norm(self, hidden: F32, weight: F32 | None, bias: F32 | None) -> F32:
        if weight is None:
            return hidden
        if bias is None:
            return reference.rmsnorm(hidden, weight, self._config.norm_epsilon)
        return reference.layernorm(hidden, weight, bias, self._config.norm_epsilon)

    def _store(self, layer: int, positions: I32, page_table: I32, key: F32, value: F32) -> None:
        page_size = self._keys.shape[2]
        at = (layer, page_table[positions // page_size], positions % page_size)
        if self._key_scale is None or self._value_scale is None:
            self._keys[at], self._values[at] = key, value
        else:
            self._keys[at], self._key_scale[at] = reference.quantize_heads(key)
            self._values[at], self._value_scale[at] = reference.quantize_heads(value)

    def _mix(self, layer: int, query: F32, page_table: I32, first_length: int) -> F32:
        keys, values, scale = self._keys[layer], self._values[layer], self._config.head_dim**-0.5
        if self._key_scale is None or self._value_scale is None:
            return reference.attend(query, keys, values, page_table, first_length, scale)
        key_scale, value_scale = self._key_scale[layer], self._value_scale[layer]
        return reference.attend_int8(query, keys, key_scale, values, value_scale, page_table, first_length, scale)

    def _project(self, weights: LayerWeights, normal: F32, positions: I32) -> tuple[F32, F32, F32]:
        query = self._heads(weights.query, weights.query_bias, normal)
        key = self._heads(weights.key, weights.key_bias, normal)
        value = self._heads(weights.value, weights.value_bias, normal)
        if weights.query_norm is not None:
            query = reference.rmsnorm(query, weights.query_norm, self._config.norm_epsilon)
        if weights.key_norm is not None:
            key = reference.rmsnorm(key, weights.key_norm, self._config.norm_epsilon)
        if self._weights.position_embedding is not None:
            return query, key, value
        cosine, sine = reference.rope_angles(positions, self._frequency)
        return reference.rope(query, cosine, sine), reference.rope(key, cosine, sine), value

    def _heads(self, matrix: Matrix, bias: F32 | None, normal: F32) -> F32:
        flat = _product(matrix, normal)
        flat = flat if bias is None else flat + bias
        return flat.reshape(len(normal), -1, self._config.head_dim)

    def force_neurons(self, layer: int, lists: list[I32]) -> None:
        self._forced[layer] = lists
        self._forced_at[layer] = 0

    def feed_forward(self, layer: int, hidden: F32, neurons: I32 | None, work: Work) -> None:
        self._add_feed_forward(layer, hidden, neurons, work, predicts=len(hidden) == 1)

    def _add_feed_forward(self, layer: int, hidden: F32, neurons: I32 | None, work: Work, *, predicts: bool) -> None:
        weights = self._weights.layers[layer]
        if not weights.neurons:
            raise ValueError(f"layer {layer} has no feed-forward weights")
        used = set[int]()
        for token in range(len(hidden)):
            normal = self._before(hidden[token], weights.feed_forward_norm, weights.feed_forward_norm_bias)
            y, active = self._token(layer, normal, neurons, predicts, work[0], used)
            hidden[token] += y
            self._after(hidden[token], weights.feed_forward_norm, weights.feed_forward_norm_bias)
            if self._counts is not None:
                self._counts[layer][active] += 1
        work[0, EXPERTS] += len(used)

    def _token(
        self, layer: int, x: F32, neurons: I32 | None, predicts: bool, work: Work, used: set[int]
    ) -> tuple[F32, I32]:
        weights = self._weights.layers[layer]
        predicts = predicts and neurons is None and self._config.mode != "exact"
        if weights.mixture is None:
            return self._feed_forward(weights, x, self._predicted(layer, x) if predicts else neurons, work)

        def compute(network: NetworkWeights, x: F32, chosen: I32 | None) -> tuple[F32, I32]:
            if predicts and network.predictor is not None:
                chosen = network.predictor.predict(x)
            return self._feed_forward(network, x, chosen, work)

        shares = self._shares(layer, weights.mixture, x)
        used.update(shares.keys() - {len(weights.mixture.experts)})
        return compute_mixture(weights.mixture, shares, x, neurons, compute)

    def _shares(self, layer: int, mixture: MixtureWeights, x: F32) -> dict[int, np.float32]:
        if not mixture.before_attention:
            return shares_of(mixture, x)
        if not self._routed.get(layer):
            raise ValueError("mixture: its router looks before the attention of the same tokens")
        return self._routed[layer].pop(0)

    def _feed_forward(self, weights: Network, x: F32, neurons: I32 | None, work: Work) -> tuple[F32, I32]:
        if weights.feed_forward is not None:
            return weights.feed_forward.step(x, neurons, work)
        config, parts = self._config, cast(Any, (weights.gate, weights.up, weights.down_t))
        if isinstance(weights.gate, PackedMatrix):
            y, active = _packed_feed_forward(parts, x, config, neurons, weights.gate_bias)
        else:
            settings = (config.activation, config.threshold, neurons, weights.gate_bias)
            y, active = reference.sparse_ffn_q8(*parts, x, *settings)
        if weights.down_bias is not None:
            y = y + weights.down_bias
        work[[PREDICTED, COMPUTED]] += neurons_of(weights) if neurons is None else len(neurons)
        work[ACTIVE] += len(active)
        return y, active

    def _predicted(self, layer: int, x: F32) -> I32 | None:
        predictor = self._weights.layers[layer].predictor
        if predictor is None:
            return None
        predicted, lists = predictor.predict(x), self._forced[layer]
        if lists:
            predicted = lists[self._forced_at[layer] % len(lists)]
            self._forced_at[layer] += 1
        return predicted

    def logits(self, hidden: F32, out: F32) -> None:
        weights = self._weights
        normal = self._norm(hidden, weights.final_norm, weights.final_norm_bias)
        out[:] = _product(weights.embedding if weights.head is None else weights.head, normal)


def _product(matrix: Matrix, x: F32) -> F32:
    if isinstance(matrix, Q8Matrix):
        return reference.gemm_q8(matrix, x)
    return reference_packed.gemm_packed(matrix, x)


def _packed_feed_forward(
    parts: tuple[PackedMatrix, PackedMatrix | None, PackedMatrix],
    x: F32,
    config: DecoderConfig,
    neurons: I32 | None,
    gate_bias: F32 | None,
) -> tuple[F32, I32]:
    candidates = np.arange(parts[0].shape[0], dtype=np.int32) if neurons is None else neurons
    settings = (config.activation, config.threshold, candidates, gate_bias)
    y, fired = reference_packed.feed_forward(*parts, x[None], *settings)
    return y[0], candidates[fired[0]]
