"""Tiny models, written to disk in the layouts that users bring."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

Tensors = dict[str, NDArray[Any]]

CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def random_tensors(seed: int, config: dict[str, Any] = CONFIG) -> Tensors:
    """Return random float32 weights under Hugging Face's names for a Llama config without biases."""
    rng = np.random.default_rng(seed)
    hidden, neurons, vocabulary = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    head_dim = hidden // config["num_attention_heads"]
    keys = config["num_key_value_heads"] * head_dim
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (vocabulary, hidden),
        "lm_head.weight": (vocabulary, hidden),
        "model.norm.weight": (hidden,),
    }
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        shapes |= {
            prefix + "input_layernorm.weight": (hidden,),
            prefix + "post_attention_layernorm.weight": (hidden,),
            prefix + "self_attn.q_proj.weight": (hidden, hidden),
            prefix + "self_attn.k_proj.weight": (keys, hidden),
            prefix + "self_attn.v_proj.weight": (keys, hidden),
            prefix + "self_attn.o_proj.weight": (hidden, hidden),
            prefix + "mlp.gate_proj.weight": (neurons, hidden),
            prefix + "mlp.up_proj.weight": (neurons, hidden),
            prefix + "mlp.down_proj.weight": (hidden, neurons),
        }
    return {
        name: rng.normal(1.0 if len(shape) == 1 else 0.0, 0.3, shape).astype(np.float32)
        for name, shape in shapes.items()
    }


def write_model(directory: Path, tensors: Tensors, config: dict[str, Any] = CONFIG) -> Path:
    """Write a directory in Hugging Face's layout."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps(config))
    save_file(tensors, directory / "model.safetensors")
    return directory


@pytest.fixture(name="random_tensors")
def random_tensors_fixture() -> Callable[..., Tensors]:
    return random_tensors


@pytest.fixture(name="write_model")
def write_model_fixture() -> Callable[..., Path]:
    return write_model


@pytest.fixture
def config() -> dict[str, Any]:
    """Return the config of the tiny model; a test may change its copy."""
    return dict(CONFIG)


@pytest.fixture
def tiny_model(tmp_path: Path) -> Path:
    """Return the directory of a random float32 Llama."""
    return write_model(tmp_path / "tiny", random_tensors(0))


@pytest.fixture(scope="session")
def stories() -> Path:
    """Return a real GGUF file: the 260K-parameter TinyStories model."""
    root = os.environ.get("FAIRLEAD_DATA")
    if not root:
        pytest.skip("FAIRLEAD_DATA is not set: it names the directory with models/stories260K")
    path = Path(root) / "models" / "stories260K" / "stories260K-f32.gguf"
    if not path.is_file():
        pytest.skip(f"FAIRLEAD_DATA holds no models/stories260K/{path.name}")
    return path
