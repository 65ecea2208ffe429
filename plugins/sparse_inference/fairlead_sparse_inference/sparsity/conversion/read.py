"""Reads a bundle back as the reference graph's weights, float32, to score what was written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from fairlead_kernels import PackedMatrix
from fairlead_language_model.config import ModelConfig
from fairlead_language_model.gguf_names import ROPE_FREQUENCY_FACTORS
from fairlead_language_model.graph import LayerWeights, LlamaWeights
from fairlead_language_model.graph.weights import ExpertWeights, MixtureWeights
from fairlead_language_model.hf_config import read_hf_config

from ...bundle import Bundle, open_bundle
from ..predictor.network import FloatArray, Predictor
from .names import (
    EMBEDDING,
    HEAD,
    NORM,
    PACKED_FIELDS,
    PREDICTOR_PARTS,
    ROUTER,
    VECTOR_FIELDS,
    layer_tensor,
    network,
    predictor_tensor,
)


def read_bundle(path: Path) -> tuple[ModelConfig, LlamaWeights, list[Predictor]]:
    """Return config, weights and predictors (none where the bundle has none); raises CheckpointError or ConfigError."""
    bundle = open_bundle(path)
    config = read_hf_config(path / "config.json")
    embedding = _wide(bundle, EMBEDDING)
    weights = LlamaWeights(
        embedding=embedding,
        layers=tuple(_layer(bundle, config, layer) for layer in range(config.num_hidden_layers)),
        norm=_wide(bundle, NORM),
        head=embedding if config.tie_word_embeddings else _wide(bundle, HEAD),
        rope_factors=_optional(bundle, ROPE_FREQUENCY_FACTORS),
    )
    return config, weights, _predictors(bundle, config.num_hidden_layers)


def _layer(bundle: Bundle, config: ModelConfig, layer: int) -> LayerWeights:
    parts: dict[str, Any] = {name: _wide(bundle, layer_tensor(layer, n)) for name, n in PACKED_FIELDS.items()}
    parts |= {name: _optional(bundle, layer_tensor(layer, n)) for name, n in VECTOR_FIELDS.items()}
    experts = config.experts_in(layer)
    if experts is None:
        return LayerWeights(**parts, **_matrices(bundle, network(layer)))
    found = (ExpertWeights(**_matrices(bundle, network(layer, e))) for e in range(experts.num_experts))
    return LayerWeights(**parts, mixture=MixtureWeights(_wide(bundle, layer_tensor(layer, ROUTER)), tuple(found)))


def _matrices(bundle: Bundle, name: str) -> dict[str, FloatArray]:
    gate, up, down_t = (part.dequantize() for part in bundle.rows(name))
    return {"gate": gate, "up": up, "down": np.ascontiguousarray(down_t.T)}


def _predictors(bundle: Bundle, layers: int) -> list[Predictor]:
    if predictor_tensor(0, "a") not in bundle.tensor_names:
        return []
    found = ([_wide(bundle, predictor_tensor(layer, part)) for part in PREDICTOR_PARTS] for layer in range(layers))
    return [Predictor(a, b, bias, float(threshold[0])) for a, b, bias, threshold in found]


def _optional(bundle: Bundle, name: str) -> FloatArray | None:
    return _wide(bundle, name) if name in bundle.tensor_names else None


def _wide(bundle: Bundle, name: str) -> FloatArray:
    stored = bundle.tensor(name)
    return stored.dequantize() if isinstance(stored, PackedMatrix) else np.asarray(stored, np.float32)
