"""Turns a checkpoint into the parts of a bundle."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels import GROUP, PackedMatrix, Q8Matrix, pack, pack_q8
from fairlead_language_model.checkpoint import Matrix
from fairlead_language_model.config import ModelConfig
from fairlead_language_model.errors import LanguageModelError
from fairlead_language_model.gguf_names import ROPE_FREQUENCY_FACTORS
from fairlead_language_model.graph import LayerWeights, LlamaWeights
from fairlead_language_model.hf_config import write_hf_config
from fairlead_language_model.quantize import write_tokenizer

from ...bundle import NetworkName, NetworkRows, checkpoint_files, layer_networks
from ..predictor.network import Predictor
from .names import (
    EMBEDDING,
    HEAD,
    NORM,
    NORM_BIAS,
    PACKED_FIELDS,
    POSITIONS,
    PREDICTOR_PARTS,
    ROUTER,
    SHARED_GATE,
    VECTOR_FIELDS,
    layer_tensor,
    predictor_tensor,
)

Tensor = PackedMatrix | NDArray[Any]


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to convert: bits of the neurons, bits of what stays resident, order and hot count by network."""

    bits: int
    resident_bits: int
    orders: dict[str, NDArray[np.int32]] = field(default_factory=dict)
    hot: dict[str, int] = field(default_factory=dict)


def why_not(config: ModelConfig) -> str | None:
    """Return what keeps a model out of the bundle layout, or None."""
    if config.mlp_bias and config.ffn != "plain":
        return "a bias on a gated feed-forward network"
    if config.embedding_size not in (None, config.hidden_size):
        return f"an embedding of width {config.embedding_size} that is projected to hidden_size {config.hidden_size}"
    if config.hidden_size % GROUP or config.num_attention_heads * config.head_dim % GROUP:
        return f"hidden_size {config.hidden_size} or the width of its heads is no multiple of {GROUP}"
    return None


def require_convertible(config: ModelConfig, source: Path) -> None:
    """Raise LanguageModelError for a model that the bundle layout has no place for."""
    reason = why_not(config)
    if reason is not None:
        raise LanguageModelError(f"{source}: the bundle layout does not take {reason}")


def packed(matrix: Matrix, bits: int) -> PackedMatrix:
    """Return a matrix packed; from Q8 groups to 8 bits every weight keeps its value."""
    if isinstance(matrix, Q8Matrix):
        return pack_q8(matrix) if bits == 8 else pack(matrix.dequantize(), bits)
    return pack(np.ascontiguousarray(matrix, np.float32), bits)


def resident_tensors(weights: LlamaWeights, bits: int) -> dict[str, Tensor]:
    """Return everything but feed-forward neurons, by name."""
    tensors: dict[str, Tensor] = {EMBEDDING: packed(weights.embedding, bits)}
    if weights.head is not weights.embedding:
        tensors[HEAD] = packed(weights.head, bits)
    if weights.norm is not None:
        tensors[NORM] = np.asarray(weights.norm)
    if weights.norm_bias is not None:
        tensors[NORM_BIAS] = np.asarray(weights.norm_bias)
    if weights.position_embedding is not None:
        tensors[POSITIONS] = _wide(weights.position_embedding)
    if weights.rope_factors is not None:
        tensors[ROPE_FREQUENCY_FACTORS] = np.asarray(weights.rope_factors)
    for layer, parts in enumerate(weights.layers):
        for name, stored in PACKED_FIELDS.items():
            tensors[layer_tensor(layer, stored)] = packed(getattr(parts, name), bits)
        for name, stored in VECTOR_FIELDS.items():
            value = getattr(parts, name)
            if value is not None:
                tensors[layer_tensor(layer, stored)] = np.asarray(value)
        if parts.mixture is not None:
            tensors[layer_tensor(layer, ROUTER)] = _wide(parts.mixture.router)
            if parts.mixture.shared_gate is not None:
                tensors[layer_tensor(layer, SHARED_GATE)] = _wide(parts.mixture.shared_gate)
    return tensors


def predictor_tensors(predictors: Mapping[str, Predictor]) -> dict[str, Tensor]:
    """Return all networks' predictors, matrices packed with 8 bits: the values that they were calibrated with."""
    tensors: dict[str, Tensor] = {}
    for network, made in predictors.items():
        if made.rank % GROUP or made.a.shape[1] % GROUP:
            raise ValueError(f"predictor of {network}: rank {made.rank}: accepted: a multiple of {GROUP}")
        values = (pack(made.a, 8), pack(made.b, 8), made.bias, np.asarray([made.threshold], np.float32))
        named = zip(PREDICTOR_PARTS, values, strict=True)
        tensors |= {predictor_tensor(network, part): value for part, value in named}
    return tensors


def networks(config: ModelConfig, weights: LlamaWeights, recipe: Recipe) -> Iterator[NetworkRows]:
    """Yield the feed-forward networks, one in memory at a time."""
    for layer, parts in enumerate(weights.layers):
        for name, (gate, up, down_t) in zip(map(str, layer_networks(config, layer)), _matrices(parts), strict=True):
            rows = (None if matrix is None else packed(matrix, recipe.bits) for matrix in (gate, up, down_t))
            yield NetworkRows(name, *rows, recipe.orders.get(name), recipe.hot.get(name, 0))


def model_files(source: Path, config: ModelConfig) -> dict[str, bytes]:
    """Return config and tokenizer files; made where the source, a GGUF file, has none."""
    if source.is_dir():
        return checkpoint_files(source)
    with tempfile.TemporaryDirectory() as made:
        write_hf_config(config, Path(made) / "config.json")
        write_tokenizer(source, Path(made))
        return checkpoint_files(Path(made))


def hot_first(order: NDArray[np.int32], hot: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Return an order with the marked neurons first; within both parts it stays as it was."""
    return np.concatenate((order[hot[order]], order[~hot[order]])).astype(np.int32)


def most_frequent(frequencies: NDArray[np.float64], covered: float) -> NDArray[np.bool_]:
    """Mark the fewest neurons that make up a share of all activations."""
    ordered = np.argsort(-frequencies, kind="stable")
    sums = np.cumsum(frequencies[ordered])
    marked = np.zeros(len(frequencies), np.bool_)
    if len(sums) and sums[-1] > 0:
        marked[ordered[: int(np.searchsorted(sums, covered * sums[-1])) + 1]] = covered > 0
    return marked


def hot_neurons(
    names: Sequence[NetworkName], frequencies: Sequence[NDArray[np.float64]], covered: float
) -> list[NDArray[np.bool_]]:
    """Mark in each network the most frequent neurons of its layer that make up a share of all activations.

    So an expert that the router chooses often has many, and one that it hardly ever chooses none.
    """
    marked: list[NDArray[np.bool_]] = []
    for _, group in groupby(zip(names, frequencies, strict=True), lambda pair: pair[0].layer):
        own = [shares for _, shares in group]
        ends = np.cumsum([len(shares) for shares in own])[:-1]
        marked += np.split(most_frequent(np.concatenate(own), covered), ends)
    return marked


def _matrices(parts: LayerWeights) -> Iterator[tuple[Matrix, Matrix | None, Matrix]]:
    if parts.mixture is None:
        assert parts.up is not None and parts.down is not None
        # A network without gate has its first matrix where gated ones have the gate.
        gate, up = (parts.up, None) if parts.gate is None else (parts.gate, parts.up)
        yield gate, up, _turned(parts.down, parts.down_t)
        return
    for expert in parts.mixture.networks:
        yield expert.gate, expert.up, _turned(expert.down, expert.down_t)


def _wide(matrix: Matrix) -> NDArray[np.float32]:
    return matrix.dequantize() if isinstance(matrix, Q8Matrix) else np.asarray(matrix)


def _turned(down: Matrix, down_t: Q8Matrix | None) -> Matrix:
    if down_t is not None:
        return down_t
    return np.ascontiguousarray((down.dequantize() if isinstance(down, Q8Matrix) else down).T)
