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

from ...bundle import Bundle, all_networks, layer_networks, open_bundle
from ..predictor.network import FloatArray, Predictor
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


def read_bundle(path: Path) -> tuple[ModelConfig, LlamaWeights, dict[str, Predictor]]:
    """Return config, weights and predictors by the names of their networks; raises CheckpointError or ConfigError."""
    bundle = open_bundle(path)
    config = read_hf_config(path / "config.json")
    embedding = _wide(bundle, EMBEDDING)
    weights = LlamaWeights(
        embedding=embedding,
        layers=tuple(_layer(bundle, config, layer) for layer in range(config.num_hidden_layers)),
        norm=_optional(bundle, NORM),
        head=embedding if config.tie_word_embeddings else _wide(bundle, HEAD),
        rope_factors=_optional(bundle, ROPE_FREQUENCY_FACTORS),
        norm_bias=_optional(bundle, NORM_BIAS),
        position_embedding=_optional(bundle, POSITIONS),
    )
    return config, weights, _predictors(bundle, config)


def _layer(bundle: Bundle, config: ModelConfig, layer: int) -> LayerWeights:
    parts: dict[str, Any] = {name: _wide(bundle, layer_tensor(layer, n)) for name, n in PACKED_FIELDS.items()}
    parts |= {name: _optional(bundle, layer_tensor(layer, n)) for name, n in VECTOR_FIELDS.items()}
    experts, names = config.experts_in(layer), layer_networks(config, layer)
    if experts is None:
        return LayerWeights(**parts, **_matrices(bundle, str(names[0])))
    found = [ExpertWeights(**_matrices(bundle, str(name))) for name in names]
    mixture = MixtureWeights(
        router=_wide(bundle, layer_tensor(layer, ROUTER)),
        experts=tuple(found[: experts.num_experts]),
        shared=found[-1] if names[-1].shared else None,
        shared_gate=_wide(bundle, layer_tensor(layer, SHARED_GATE)) if names[-1].shared else None,
    )
    return LayerWeights(**parts, mixture=mixture)


def _matrices(bundle: Bundle, name: str) -> dict[str, FloatArray]:
    rows = {part: matrix.dequantize() for part, matrix in bundle.rows(name).items()}
    down = np.ascontiguousarray(rows["down_t"].T)
    if "up" not in rows:
        return {"up": rows["gate"], "down": down}
    return {"gate": rows["gate"], "up": rows["up"], "down": down}


def _predictors(bundle: Bundle, config: ModelConfig) -> dict[str, Predictor]:
    found: dict[str, Predictor] = {}
    for name in map(str, all_networks(config)):
        if predictor_tensor(name, "a") in bundle.tensor_names:
            a, b, bias, threshold = (_wide(bundle, predictor_tensor(name, part)) for part in PREDICTOR_PARTS)
            found[name] = Predictor(a, b, bias, float(threshold[0]))
    return found


def _optional(bundle: Bundle, name: str) -> FloatArray | None:
    return _wide(bundle, name) if name in bundle.tensor_names else None


def _wide(bundle: Bundle, name: str) -> FloatArray:
    stored = bundle.tensor(name)
    return stored.dequantize() if isinstance(stored, PackedMatrix) else np.asarray(stored, np.float32)
