"""OPT's `config.json` (Zhang et al., 2022): other field names than Llama's, and settings that only it has."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .config import ModelConfig
from .errors import ConfigError, one_of
from .hf_required import required

ACTIVATIONS = ("gelu", "relu")
# OPT's table of positions begins with two rows that no token has.
_POSITION_OFFSET = 2
# What torch's LayerNorm takes; the configuration does not name it.
_EPSILON = 1e-5
_COPIED = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "max_position_embeddings")


def opt_fields(raw: Mapping[str, Any], file: Path | str) -> dict[str, Any]:
    """Return a ModelConfig's fields, without the token ids; raises ConfigError."""
    fields: dict[str, Any] = {name: required(raw, name, file) for name in _COPIED}
    fields |= _flags(raw, file) | _heads(fields)
    width = raw.get("word_embed_proj_dim")
    return fields | {
        "architecture": "opt",
        "intermediate_size": required(raw, "ffn_dim", file),
        "hidden_act": _activation(raw, file),
        "ffn": "plain",
        "norm": "layer",
        "positions": "learned",
        "position_offset": _POSITION_OFFSET,
        "rms_norm_eps": _EPSILON,
        "embedding_size": None if width == fields["hidden_size"] else width,
    }


def opt_content(config: ModelConfig) -> dict[str, Any]:
    """Return the content of a `config.json` from which `opt_fields` makes the same config."""
    return {
        "architectures": ["OPTForCausalLM"],
        "model_type": "opt",
        **{name: getattr(config, name) for name in _COPIED},
        "ffn_dim": config.intermediate_size,
        "activation_function": config.hidden_act,
        "word_embed_proj_dim": config.embedding_size or config.hidden_size,
        "do_layer_norm_before": config.norm_first,
        "_remove_final_layer_norm": config.norm_first and not config.final_norm,
        "enable_bias": config.mlp_bias,
        "tie_word_embeddings": config.tie_word_embeddings,
        "bos_token_id": config.bos_token_id,
        "eos_token_id": list(config.eos_token_ids),
    }


def _flags(raw: Mapping[str, Any], file: Path | str) -> dict[str, Any]:
    if raw.get("layer_norm_elementwise_affine", True) is not True:
        raise ConfigError(file, "layer_norm_elementwise_affine", raw["layer_norm_elementwise_affine"], "true")
    bias, first = raw.get("enable_bias", True), raw.get("do_layer_norm_before", True)
    return {
        "norm_first": first,
        "final_norm": bool(first) and not raw.get("_remove_final_layer_norm", False),
        "attention_bias": bias,
        "attention_output_bias": bias,
        "mlp_bias": bias,
        "tie_word_embeddings": raw.get("tie_word_embeddings", True),
    }


def _heads(fields: Mapping[str, Any]) -> dict[str, Any]:
    heads, hidden = fields["num_attention_heads"], fields["hidden_size"]
    counted = type(heads) is int and type(hidden) is int and heads > 0
    return {"num_key_value_heads": heads, "head_dim": hidden // heads if counted else heads}


def _activation(raw: Mapping[str, Any], file: Path | str) -> Any:
    name = raw.get("activation_function", "relu")
    if name not in ACTIVATIONS:
        raise ConfigError(file, "activation_function", name, one_of(ACTIVATIONS))
    return name
