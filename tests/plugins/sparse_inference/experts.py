"""Mixtures of experts for tests: random weights in the layout of each family."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from fairlead_sparse_inference.train.tokenizer import train_tokenizer
from tests.plugins.sparse_inference.conftest import TEXT

SHAPE: dict[str, Any] = {
    "vocab_size": 300,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 128,
    "tie_word_embeddings": True,
}
QWEN = {"num_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 96, "intermediate_size": 160}
FAMILIES: dict[str, dict[str, Any]] = {
    "mixtral": {
        "architectures": ["MixtralForCausalLM"],
        "num_local_experts": 6,
        "num_experts_per_tok": 2,
        "intermediate_size": 96,
    },
    "qwen2_moe": {
        "architectures": ["Qwen2MoeForCausalLM"],
        **QWEN,
        "shared_expert_intermediate_size": 64,
        "mlp_only_layers": [0],
        "norm_topk_prob": False,
    },
    "smallthinker": {
        "architectures": ["SmallThinkerForCausalLM"],
        "moe_num_primary_experts": 6,
        "moe_num_active_primary_experts": 2,
        "moe_ffn_hidden_size": 96,
    },
    "qwen3_moe": {"architectures": ["Qwen3MoeForCausalLM"], **QWEN, "norm_topk_prob": True},
}
#: Neurons of all experts of the last layer, and those that a token computes.
NEURONS = {"mixtral": (576, 192), "smallthinker": (576, 192), "qwen2_moe": (640, 256), "qwen3_moe": (576, 192)}


def random_experts(directory: Path, family: str, seed: int = 7, **changes: Any) -> Path:
    """Write a random model of a family with a tokenizer; its choices are far from ties."""
    config = SHAPE | FAMILIES[family] | changes
    random = np.random.default_rng(seed)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps(config))
    tensors = {name: random.normal(0, size[-1] ** -0.5, size) for name, size in _shapes(config, family).items()}
    tensors["model.embed_tokens.weight"] *= 2
    norms = [name for name in tensors if name.endswith("norm.weight")]
    tensors |= {name: random.uniform(0.5, 1.5, tensors[name].shape) for name in norms}
    routers = [
        name for name in tensors if name.endswith((".mlp.gate.weight", "block_sparse_moe.gate.weight", "router.weight"))
    ]
    tensors |= {name: 8 * tensors[name] for name in routers}
    save_file({name: value.astype(np.float32) for name, value in tensors.items()}, directory / "model.safetensors")
    train_tokenizer([TEXT], config["vocab_size"]).save(str(directory / "tokenizer.json"))
    return directory


def _shapes(config: dict[str, Any], family: str) -> dict[str, tuple[int, ...]]:
    hidden, kv = config["hidden_size"], config["num_key_value_heads"] * config["head_dim"]
    shapes: dict[str, tuple[int, ...]] = {"embed_tokens": (config["vocab_size"], hidden), "norm": (hidden,)}
    for layer in range(config["num_hidden_layers"]):
        prefix = f"layers.{layer}."
        for name, rows in (("q", hidden), ("k", kv), ("v", kv), ("o", hidden)):
            shapes[f"{prefix}self_attn.{name}_proj"] = (rows, hidden)
            if family == "qwen2_moe" and name != "o":
                shapes[f"{prefix}self_attn.{name}_proj.bias"] = (rows,)
        for name in ("input_layernorm", "post_attention_layernorm"):
            shapes[prefix + name] = (hidden,)
        if family == "qwen3_moe":
            shapes |= {f"{prefix}self_attn.{name}_norm": (config["head_dim"],) for name in "qk"}
        shapes |= _feed_forward(config, family, layer, prefix)
    suffix = {name: "" if name.endswith(".bias") else ".weight" for name in shapes}
    return {f"model.{name}{suffix[name]}": size for name, size in shapes.items()}


def _feed_forward(config: dict[str, Any], family: str, layer: int, prefix: str) -> dict[str, tuple[int, ...]]:
    hidden = config["hidden_size"]
    if layer in config.get("mlp_only_layers", []):
        return _network(f"{prefix}mlp.", config["intermediate_size"], hidden)
    if family == "mixtral":
        moe, names, count, neurons = "block_sparse_moe.", "w1 w3 w2", "num_local_experts", "intermediate_size"
    elif family == "smallthinker":
        moe, names, count, neurons = _SMALLTHINKER
    else:
        moe, names, count, neurons = "mlp.", _NAMES, "num_experts", "moe_intermediate_size"
    router = "primary_router" if family == "smallthinker" else "gate"
    shapes = {f"{prefix}{moe}{router}": (config[count], hidden)}
    for expert in range(config[count]):
        shapes |= _network(f"{prefix}{moe}experts.{expert}.", config[neurons], hidden, names)
    shared = config.get("shared_expert_intermediate_size")
    if shared:
        shapes |= _network(f"{prefix}{moe}shared_expert.", shared, hidden)
        shapes[f"{prefix}{moe}shared_expert_gate"] = (1, hidden)
    return shapes


_NAMES = "gate_proj up_proj down_proj"
_SMALLTHINKER = ("block_sparse_moe.", "gate up down", "moe_num_primary_experts", "moe_ffn_hidden_size")


def _network(prefix: str, neurons: int, hidden: int, names: str = _NAMES) -> dict[str, tuple[int, ...]]:
    gate, up, down = names.split()
    return {prefix + gate: (neurons, hidden), prefix + up: (neurons, hidden), prefix + down: (hidden, neurons)}
