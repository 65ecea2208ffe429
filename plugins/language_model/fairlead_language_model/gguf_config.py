"""Reads a model's configuration from GGUF metadata."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from .config import MOST_LAYERS, ModelConfig
from .errors import ConfigError, one_of
from .hf_config import build_config

ARCHITECTURES = ("llama", "qwen2", "qwen3")
_DEFAULT_THETA = 10000.0


def parse_gguf_config(metadata: Mapping[str, Any], tensors: Mapping[str, tuple[int, ...]], file: Path) -> ModelConfig:
    """Turn GGUF metadata into a ModelConfig; raises ConfigError.

    `tensors` maps the file's own tensor names to shapes: they say what the metadata leave out (vocabulary, biases,
    whether the output is tied to the embedding).
    """
    architecture = metadata.get("general.architecture")
    if architecture not in ARCHITECTURES:
        raise ConfigError(file, "general.architecture", architecture, one_of(ARCHITECTURES))
    get = _Getter(metadata, str(architecture), file)
    heads = get.integer("attention.head_count")
    fields: dict[str, Any] = {
        "architecture": architecture,
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
    fields |= _rope_scaling(get) | _from_tensors(tensors.keys(), str(architecture))
    fields |= _sliding(get, fields["num_hidden_layers"])
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


def _from_tensors(names: Collection[str], architecture: str) -> dict[str, Any]:
    return {
        "tie_word_embeddings": "output.weight" not in names,
        "attention_bias": "blk.0.attn_q.bias" in names,
        "attention_output_bias": "blk.0.attn_output.bias" in names,
        "mlp_bias": "blk.0.ffn_gate.bias" in names,
        "qk_norm": architecture == "qwen3",
    }
