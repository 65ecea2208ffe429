"""The mixture-of-experts fields of `config.json`: Mixtral's, Qwen2-MoE's, Qwen3-MoE's and SmallThinker's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .config import MOST_LAYERS, ModelConfig
from .errors import ConfigError
from .hf_required import required
from .hf_smallthinker import SMALLTHINKER, smallthinker_content, smallthinker_experts
from .narrowing import as_list

_MIXTRAL, _QWEN = "mixtral", ("qwen2_moe", "qwen3_moe")


def expert_fields(raw: Mapping[str, Any], architecture: str, layers: Any, file: Path | str) -> dict[str, Any] | None:
    """Return the fields of Experts, or None for an architecture without experts; raises ConfigError."""
    if architecture == _MIXTRAL:
        return {
            "num_experts": required(raw, "num_local_experts", file),
            "num_experts_per_tok": required(raw, "num_experts_per_tok", file),
            "moe_intermediate_size": required(raw, "intermediate_size", file),
        }
    if architecture == SMALLTHINKER:
        return smallthinker_experts(raw, file)
    if architecture not in _QWEN:
        return None
    # transformers 5 writes Qwen3-MoE's number of experts under Mixtral's name.
    count = "num_experts" if raw.get("num_local_experts") is None else "num_local_experts"
    shared = required(raw, "shared_expert_intermediate_size", file) if architecture == "qwen2_moe" else 0
    return {
        "num_experts": required(raw, count, file),
        "num_experts_per_tok": required(raw, "num_experts_per_tok", file),
        "moe_intermediate_size": required(raw, "moe_intermediate_size", file),
        "norm_topk_prob": raw.get("norm_topk_prob", False),
        "shared_expert_intermediate_size": shared,
        "sparse_layers": _sparse_layers(raw, layers, file),
    }


def expert_content(config: ModelConfig) -> dict[str, Any]:
    """Return the fields from which `expert_fields` makes the same settings."""
    experts = config.experts
    if experts is None:
        return {}
    if config.architecture == _MIXTRAL:
        return {"num_local_experts": experts.num_experts, "num_experts_per_tok": experts.num_experts_per_tok}
    if config.architecture == SMALLTHINKER:
        return smallthinker_content(config)
    return experts.model_dump(exclude={"sparse_layers", "sigmoid_scores", "router_before_attention"}) | {
        "qkv_bias": config.attention_bias,
        "mlp_only_layers": [layer for layer, sparse in enumerate(experts.sparse_layers) if not sparse],
    }


def _sparse_layers(raw: Mapping[str, Any], layers: Any, file: Path | str) -> tuple[bool, ...]:
    step: object = raw.get("decoder_sparse_step", 1)
    dense = as_list(raw.get("mlp_only_layers") or [])
    if type(step) is not int or step < 1:
        raise ConfigError(file, "decoder_sparse_step", step, "a positive integer")
    if dense is None or not all(type(layer) is int for layer in dense):
        raise ConfigError(file, "mlp_only_layers", raw["mlp_only_layers"], "a list of layer numbers")
    # A number of layers that will be refused anyway must not make a list of that length first.
    if type(layers) is not int or not 0 < layers <= MOST_LAYERS:
        return ()
    named = frozenset(dense)
    flags = tuple(layer not in named and (layer + 1) % step == 0 for layer in range(layers))
    return () if all(flags) else flags
