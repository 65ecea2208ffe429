"""Reads Hugging Face's `config.json` of the architectures that this package knows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from .config import MOST_LAYERS, ModelConfig
from .errors import CheckpointError, ConfigError, one_of
from .hf_experts import expert_content, expert_fields
from .hf_opt import opt_content, opt_fields
from .hf_required import required
from .hf_smallthinker import SMALLTHINKER, smallthinker_window, with_common_names
from .narrowing import as_list, as_object

ARCHITECTURES = {
    "LlamaForCausalLM": "llama",
    "MistralForCausalLM": "mistral",
    "Qwen2ForCausalLM": "qwen2",
    "Qwen3ForCausalLM": "qwen3",
    "OPTForCausalLM": "opt",
    "MixtralForCausalLM": "mixtral",
    "Qwen2MoeForCausalLM": "qwen2_moe",
    "Qwen3MoeForCausalLM": "qwen3_moe",
    "SmallThinkerForCausalLM": SMALLTHINKER,
}
# Sparse relatives that share a layout, with the feed-forward network that their own code computes.
_RELATIVES = {
    "BambooForCausalLM": ("mistral", "drelu"),
    "TurboSparseMixtralForCausalLM": ("mixtral", "drelu"),
    "SparseLlamaForCausalLM": ("llama", "gated"),
}
ACTIVATIONS = {
    "silu": "silu",
    "swish": "silu",
    "relu": "relu",
    "fatrelu": "relu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
}
# What the architectures' own configuration classes assume when a field is absent.
_DEFAULT_EPSILON = 1e-6
_DEFAULT_WINDOW = 4096
_DEFAULT_FIRST_WINDOW_LAYER = 28
_ATTENTION_TYPES = {"full_attention": False, "sliding_attention": True}
_COPIED = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "max_position_embeddings",
)


def read_hf_config(path: Path) -> ModelConfig:
    """Read a `config.json`.

    Raises ConfigError (bad field) or CheckpointError (file missing or not JSON).
    """
    return parse_hf_config(read_json_object(path), path)


def read_json_object(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds one object; raises CheckpointError."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(path, "no such file") from None
    except OSError as error:
        raise CheckpointError(path, f"cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(path, f"is not JSON: {error}") from error
    content = as_object(value)
    if content is None:
        raise CheckpointError(path, f"must hold a JSON object, not {type(value).__name__}")
    return content


def parse_hf_config(raw: Mapping[str, Any], file: Path | str) -> ModelConfig:
    """Turn the content of a `config.json` into a ModelConfig; `file` only names the source in errors."""
    architecture, ffn = _architecture(raw, file)
    if architecture == "opt":
        return build_config(opt_fields(raw, file) | _ids(raw), file)
    if architecture == SMALLTHINKER:
        raw = with_common_names(raw, file)
    fields: dict[str, Any] = {name: required(raw, name, file) for name in _COPIED}
    fields |= {"architecture": architecture, "hidden_act": _activation(raw, file), "ffn": _ffn(raw, ffn, file)}
    fields |= _relu(raw, fields, file) | _heads(raw, fields) | _rope(raw, file) | _biases(raw, architecture)
    fields |= _sliding(raw, architecture, fields["num_hidden_layers"], file)
    fields["experts"] = expert_fields(raw, architecture, fields["num_hidden_layers"], file)
    fields["rms_norm_eps"] = raw.get("rms_norm_eps", _DEFAULT_EPSILON)
    fields["tie_word_embeddings"] = raw.get("tie_word_embeddings", False)
    return build_config(fields | _ids(raw), file)


def write_hf_config(config: ModelConfig, path: Path) -> None:
    """Write a `config.json` that `read_hf_config` reads back as the same config."""
    if config.architecture == "opt":
        path.write_text(json.dumps(opt_content(config), indent=2) + "\n", encoding="utf-8")
        return
    names = {value: name for name, value in ARCHITECTURES.items()}
    acts = {"gelu_tanh": "gelu_pytorch_tanh"}
    rope: dict[str, Any] = {"rope_theta": config.rope_theta, "rope_type": "default"}
    if config.rope_scaling is not None:
        rope |= config.rope_scaling.model_dump()
    flags = {"attention_bias": config.attention_bias, "mlp_bias": config.mlp_bias}
    types = {False: "full_attention", True: "sliding_attention"}
    content = {
        "architectures": [names[config.architecture]],
        "model_type": config.architecture,
        **{name: getattr(config, name) for name in (*_COPIED, "num_key_value_heads", "head_dim", "rms_norm_eps")},
        **flags,
        "hidden_act": "fatrelu" if config.relu_threshold else acts.get(config.hidden_act, config.hidden_act),
        "hidden_act_param": config.relu_threshold,
        "rope_parameters": rope,
        "tie_word_embeddings": config.tie_word_embeddings,
        "use_sliding_window": config.sliding_window is not None,
        "sliding_window": config.sliding_window,
        "layer_types": [types[flag] for flag in config.sliding_layers] or None,
        "bos_token_id": config.bos_token_id,
        "eos_token_id": list(config.eos_token_ids),
        "fairlead": {"ffn": config.ffn},
        **expert_content(config),
    }
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def build_config(fields: Mapping[str, Any], file: Path | str) -> ModelConfig:
    """Validate the fields; the first problem becomes one ConfigError."""
    try:
        return ModelConfig.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        if not name:
            # A rule over several fields starts its message with the field that breaks it.
            name = message.split(" ", 1)[0]
            raise ConfigError(file, name, fields.get(name), message) from error
        raise ConfigError(file, name, first.get("input"), message) from error


def _architecture(raw: Mapping[str, Any], file: Path | str) -> tuple[str, str]:
    """Return the architecture, and the feed-forward network that its code computes."""
    names: object = raw.get("architectures")
    listed = as_list(names)
    name = str(listed[0]) if listed and len(listed) == 1 else None
    if name in ARCHITECTURES:
        return ARCHITECTURES[name], "gated"
    if name in _RELATIVES:
        if raw.get("hidden_act") not in ("relu", "fatrelu"):
            raise ConfigError(file, "hidden_act", raw.get("hidden_act"), f"relu or fatrelu, as {name} is known with")
        return _RELATIVES[name]
    if names is None and raw.get("model_type") in list(ARCHITECTURES.values()):
        return str(raw["model_type"]), "gated"
    raise ConfigError(file, "architectures", names, one_of((*ARCHITECTURES, *_RELATIVES)))


def _activation(raw: Mapping[str, Any], file: Path | str) -> str:
    name = raw.get("hidden_act", "silu")
    if not isinstance(name, str) or name not in ACTIVATIONS:
        raise ConfigError(file, "hidden_act", name, one_of(ACTIVATIONS))
    return ACTIVATIONS[name]


def _relu(raw: Mapping[str, Any], fields: Mapping[str, Any], file: Path | str) -> dict[str, Any]:
    """Read FATReLU's threshold (ProSparse), which is 0 for a ReLU."""
    if raw.get("hidden_act") != "fatrelu":
        return {}
    threshold = raw.get("hidden_act_param", 0.0)
    if isinstance(threshold, bool) or not isinstance(threshold, int | float) or not 0 <= threshold < 1e6:
        raise ConfigError(file, "hidden_act_param", threshold, "a number from 0 on")
    if threshold and fields["ffn"] == "drelu":
        raise ConfigError(file, "hidden_act_param", threshold, "0 where both branches have a relu")
    return {"relu_threshold": threshold}


def _ffn(raw: Mapping[str, Any], default: str, file: Path | str) -> str:
    ours = as_object(raw.get("fairlead", {}))
    if ours is None:
        raise ConfigError(file, "fairlead", raw["fairlead"], 'an object, such as {"ffn": "drelu"}')
    name = ours.get("ffn", default)
    if name not in ("gated", "drelu"):
        raise ConfigError(file, "fairlead.ffn", name, "one of drelu, gated")
    return str(name)


def _heads(raw: Mapping[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    heads, hidden = fields["num_attention_heads"], fields["hidden_size"]
    head_dim = raw.get("head_dim")
    if head_dim is None and isinstance(heads, int) and isinstance(hidden, int) and heads > 0:
        head_dim = hidden // heads
    kv_heads = raw.get("num_key_value_heads")
    return {"head_dim": head_dim, "num_key_value_heads": heads if kv_heads is None else kv_heads}


def _rope(raw: Mapping[str, Any], file: Path | str) -> dict[str, Any]:
    """Read `rope_parameters` (transformers 5), or `rope_theta` and `rope_scaling` (before)."""
    field = "rope_parameters" if raw.get("rope_parameters") is not None else "rope_scaling"
    given: object = raw.get(field)
    if given is None:
        return {"rope_theta": raw.get("rope_theta", 10000.0)}
    rope = as_object(given)
    if rope is None:
        raise ConfigError(file, field, given, "an object with rope_type")
    if any(isinstance(value, dict) for value in rope.values()):
        raise ConfigError(file, field, given, "one object for all layers, not one for each layer type")
    if rope.get("partial_rotary_factor", 1.0) != 1.0:
        raise ConfigError(file, f"{field}.partial_rotary_factor", rope["partial_rotary_factor"], "1.0")
    theta = rope.get("rope_theta", raw.get("rope_theta", 10000.0))
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind == "default":
        return {"rope_theta": theta}
    if kind not in ("linear", "llama3"):
        raise ConfigError(file, f"{field}.rope_type", kind, "one of default, linear, llama3")
    return {"rope_theta": theta, "rope_scaling": {**rope, "rope_type": kind}}


def _biases(raw: Mapping[str, Any], architecture: str) -> dict[str, Any]:
    bias = raw.get("attention_bias", False)
    if architecture == "qwen2_moe":
        return {"attention_bias": raw.get("qkv_bias", True)}
    if architecture == "qwen2":
        # Qwen2 always has a bias on q, k and v and never on the output, whatever the field says.
        return {"attention_bias": True}
    if architecture in ("mistral", "mixtral"):
        return {}
    mlp_bias = raw.get("mlp_bias", False) if architecture == "llama" else False
    qk_norm = architecture in ("qwen3", "qwen3_moe")
    return {"attention_bias": bias, "attention_output_bias": bias, "mlp_bias": mlp_bias, "qk_norm": qk_norm}


def _sliding(raw: Mapping[str, Any], architecture: str, layers: Any, file: Path | str) -> dict[str, Any]:
    window = raw.get("sliding_window", None if architecture == "mixtral" else _DEFAULT_WINDOW)
    if architecture == SMALLTHINKER:
        return smallthinker_window(raw, file)
    # A number of layers that will be refused anyway must not make a list of that length first.
    if architecture == "llama" or window is None or not isinstance(layers, int) or layers > MOST_LAYERS:
        return {}
    if architecture in ("mistral", "mixtral"):
        return {"sliding_window": window, "sliding_layers": (True,) * layers}
    if not raw.get("use_sliding_window", False):
        return {}
    if architecture == "qwen3_moe":
        return {"sliding_window": window, "sliding_layers": (True,) * layers}
    if architecture == "qwen2_moe" and raw.get("layer_types") is None:
        # Versions of the library disagree about which layers slide when the file does not say.
        raise ConfigError(file, "layer_types", None, "a list, where use_sliding_window is set")
    return {"sliding_window": window, "sliding_layers": _layer_types(raw, layers, file)}


def _layer_types(raw: Mapping[str, Any], layers: int, file: Path | str) -> tuple[bool, ...]:
    types: object = raw.get("layer_types")
    if types is None:
        first = raw.get("max_window_layers", _DEFAULT_FIRST_WINDOW_LAYER)
        if not isinstance(first, int):
            raise ConfigError(file, "max_window_layers", first, "an integer")
        return tuple(layer >= first for layer in range(layers))
    names = as_list(types)
    if names is None or not all(isinstance(name, str) and name in _ATTENTION_TYPES for name in names):
        raise ConfigError(file, "layer_types", types, "a list of " + ", ".join(_ATTENTION_TYPES))
    return tuple(_ATTENTION_TYPES[name] for name in names)


def _ids(raw: Mapping[str, Any]) -> dict[str, Any]:
    ends: object = raw.get("eos_token_id")
    listed = [] if ends is None else as_list(ends)
    return {"bos_token_id": raw.get("bos_token_id"), "eos_token_ids": (ends,) if listed is None else tuple(listed)}
