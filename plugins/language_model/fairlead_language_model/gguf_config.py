"""Reads a model's configuration from GGUF metadata."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from .config import MOST_LAYERS, ModelConfig
from .errors import ConfigError, one_of
from .gguf_experts import gguf_experts
from .hf_config import build_config

ARCHITECTURES = {
    "llama": "llama",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
    "qwen2moe": "qwen2_moe",
    "qwen3moe": "qwen3_moe",
    # PowerInfer's
    "bamboo": "llama",
    "opt": "opt",
}
_DEFAULT_THETA = 10000.0
_QK_NORM = ("qwen3", "qwen3moe")
# OPT's table of positions begins with two rows that no token has.
_POSITION_OFFSET = 2


def parse_gguf_config(
    metadata: Mapping[str, Any], tensors: Mapping[str, tuple[int, ...]], file: Path, powerinfer: bool = False
) -> ModelConfig:
    """Turn GGUF metadata into a ModelConfig; raises ConfigError.

    `tensors` maps the file's own tensor names to shapes: they say what the metadata leave out (vocabulary, biases,
    whether the output is tied to the embedding). `powerinfer` says that the file is a sparse model's: its gates, which
    metadata do not name either, are ReLUs.
    """
    architecture = metadata.get("general.architecture")
    if not isinstance(architecture, str) or architecture not in ARCHITECTURES:
        raise ConfigError(file, "general.architecture", architecture, one_of(ARCHITECTURES))
    get = _Getter(metadata, architecture, file)
    heads = get.integer("attention.head_count")
    fields: dict[str, Any] = {
        "architecture": ARCHITECTURES[architecture],
        "vocab_size": _vocabulary(tensors, file),
        "hidden_size": get.integer("embedding_length"),
        "intermediate_size": get.integer("feed_forward_length"),
        "num_hidden_layers": get.integer("block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": get.optional("attention.head_count_kv", heads),
        "head_dim": get.optional("attention.key_length", get.integer("embedding_length") // max(heads, 1)),
        "max_position_embeddings": get.integer("context_length"),
        "rms_norm_eps": get.optional("attention.layer_norm_rms_epsilon", 1e-5),
        "rope_theta": get.optional("rope.freq_base", _DEFAULT_THETA),
        "bos_token_id": metadata.get("tokenizer.ggml.bos_token_id"),
        "eos_token_ids": _ends(metadata),
    }
    fields |= _from_tensors(tensors.keys(), architecture) | _feed_forward(get, fields, tensors, powerinfer)
    if architecture == "opt":
        return build_config(fields | _opt(get, tensors), file)
    fields |= _rope_scaling(get) | _sliding(get, fields["num_hidden_layers"])
    config = build_config(fields, file)
    turned = get.optional("rope.dimension_count", config.head_dim)
    if turned != config.head_dim:
        raise ConfigError(file, f"{architecture}.rope.dimension_count", turned, f"head_dim {config.head_dim}")
    return config


class _Getter:
    """Looks up the metadata of one architecture."""

    def __init__(self, metadata: Mapping[str, Any], architecture: str, file: Path) -> None:
        self.metadata, self.architecture, self.file = metadata, architecture, file

    def integer(self, name: str) -> int:
        value = self.metadata.get(f"{self.architecture}.{name}")
        if type(value) is not int:
            raise ConfigError(self.file, f"{self.architecture}.{name}", value, "a positive integer")
        return value

    def optional(self, name: str, default: Any) -> Any:
        return self.metadata.get(f"{self.architecture}.{name}", default)


def _vocabulary(tensors: Mapping[str, tuple[int, ...]], file: Path) -> int:
    shape = tensors.get("token_embd.weight")
    if shape is None or len(shape) != 2:
        raise ConfigError(file, "token_embd.weight", shape, "a matrix [vocabulary, embedding_length]")
    return shape[0]


def _ends(metadata: Mapping[str, Any]) -> tuple[Any, ...]:
    keys = ("tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id")
    found = [metadata[key] for key in keys if key in metadata]
    return tuple(found[:1] if found[1:] == found[:1] else found)


def _rope_scaling(get: _Getter) -> dict[str, Any]:
    kind = get.optional("rope.scaling.type", "none")
    # llama3's scaling comes as the tensor rope_freqs.weight, not as metadata.
    if kind == "none":
        return {}
    if kind != "linear":
        raise ConfigError(get.file, f"{get.architecture}.rope.scaling.type", kind, "one of linear, none")
    return {"rope_scaling": {"rope_type": "linear", "factor": get.optional("rope.scaling.factor", None)}}


def _sliding(get: _Getter, layers: int) -> dict[str, Any]:
    window = get.optional("attention.sliding_window", None)
    # A number of layers that will be refused anyway must not make a list of that length first.
    if not window or layers > MOST_LAYERS:
        return {}
    return {"sliding_window": window, "sliding_layers": (True,) * layers}


def _feed_forward(
    get: _Getter, fields: Mapping[str, Any], tensors: Mapping[str, tuple[int, ...]], powerinfer: bool
) -> dict[str, Any]:
    if get.architecture == "bamboo":
        return {"hidden_act": "relu", "ffn": "drelu"}
    layers = range(min(fields["num_hidden_layers"], MOST_LAYERS))
    experts = gguf_experts(get.optional, get.architecture, tensors, fields["intermediate_size"], layers)
    renamed = {"architecture": "mixtral"} if experts and get.architecture == "llama" else {}
    return renamed | {"hidden_act": "relu" if powerinfer else "silu", "experts": experts}


def _opt(get: _Getter, tensors: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """Return what OPT has instead of Llama's fields, under the names that PowerInfer's converter gives."""
    table = tensors.get("position_embd.weight")
    if table is None or len(table) != 2:
        raise ConfigError(get.file, "position_embd.weight", table, "a matrix [positions + 2, embedding_length]")
    return {
        "hidden_act": "relu",
        "ffn": "plain",
        "norm": "layer",
        "positions": "learned",
        "position_offset": _POSITION_OFFSET,
        # The length in the metadata counts the two rows too, and does not always agree with the table.
        "max_position_embeddings": table[0] - _POSITION_OFFSET,
        "rms_norm_eps": get.optional("attention.layer_norm_epsilon", 1e-5),
        "final_norm": "output_norm.weight" in tensors,
    }


def _from_tensors(names: Collection[str], architecture: str) -> dict[str, Any]:
    return {
        "tie_word_embeddings": "output.weight" not in names,
        "attention_bias": "blk.0.attn_q.bias" in names,
        "attention_output_bias": "blk.0.attn_output.bias" in names,
        "mlp_bias": "blk.0.ffn_up.bias" in names,
        "qk_norm": architecture in _QK_NORM,
    }
