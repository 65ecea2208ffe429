"""The fields of SmallThinker's `config.json` (its modeling_smallthinker.py) as those of other families."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .config import ModelConfig
from .errors import ConfigError
from .hf_required import required
from .narrowing import as_list

SMALLTHINKER = "smallthinker"
_SIZE = "moe_ffn_hidden_size"
#: What this package has no place for: field, what it must be, and how that is said.
_ONLY: tuple[tuple[str, object, str], ...] = (
    ("use_qk_norm", False, "false"),
    ("moe_enable_secondary_experts", False, "false"),
    ("moe_shared_primary_experts", 0, "0"),
)


def with_common_names(raw: Mapping[str, Any], file: Path | str) -> Mapping[str, Any]:
    """Return the fields with those added under the names that all families have; raises ConfigError."""
    for name, wanted, accepted in _ONLY:
        if raw.get(name, wanted) not in (wanted, None):
            raise ConfigError(file, name, raw[name], accepted)
    for name, accepted in (("rope_layout", "1 for every layer"), ("moe_layer_layout", "1 for every layer")):
        if not all(flag == 1 for flag in _layout(raw, name, file)):
            raise ConfigError(file, name, raw[name], accepted)
    # The experts' gates are ReLUs in the code of the family; no field says so.
    return {**raw, "hidden_act": "relu", "intermediate_size": required(raw, _SIZE, file)}


def smallthinker_experts(raw: Mapping[str, Any], file: Path | str) -> dict[str, Any]:
    """Return the fields of Experts; raises ConfigError."""
    return {
        "num_experts": required(raw, "moe_num_primary_experts", file),
        "num_experts_per_tok": required(raw, "moe_num_active_primary_experts", file),
        "moe_intermediate_size": required(raw, _SIZE, file),
        "norm_topk_prob": True,
        "sigmoid_scores": not raw.get("moe_primary_router_apply_softmax", False),
        "router_before_attention": raw.get("moe_enable_early_router", True),
    }


def smallthinker_window(raw: Mapping[str, Any], file: Path | str) -> dict[str, Any]:
    """Return the sliding window and which layers have it."""
    flags = tuple(flag == 1 for flag in _layout(raw, "sliding_window_layout", file))
    return {"sliding_window": raw.get("sliding_window_size"), "sliding_layers": flags} if any(flags) else {}


def smallthinker_content(config: ModelConfig) -> dict[str, Any]:
    """Return the fields from which the same settings are read."""
    experts = config.experts
    assert experts is not None
    return {
        "moe_num_primary_experts": experts.num_experts,
        "moe_num_active_primary_experts": experts.num_experts_per_tok,
        _SIZE: experts.moe_intermediate_size,
        "moe_primary_router_apply_softmax": not experts.sigmoid_scores,
        "moe_enable_early_router": experts.router_before_attention,
        "sliding_window_layout": [int(flag) for flag in config.sliding_layers] or None,
        "sliding_window_size": config.sliding_window,
    }


def _layout(raw: Mapping[str, Any], name: str, file: Path | str) -> list[Any]:
    flags = as_list(raw.get(name) or [])
    if flags is None or not all(flag in (0, 1) for flag in flags):
        raise ConfigError(file, name, raw[name], "a list of 0 and 1")
    return flags
