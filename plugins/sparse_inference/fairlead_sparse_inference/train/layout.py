"""A checkpoint in the Hugging Face layout, matrices in Q8_0 pairs. Needs no PyTorch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer

from fairlead_kernels import quantize_q8
from fairlead_language_model.quantize import down_rows

from ..whole_file import whole_file
from .shape import ModelShape
from .tokenizer import ASSISTANT, BEGIN, END_OF_TEXT, END_OF_TURN, USER, with_begin

#: The books know only two who take turns: a system message goes in front of the first user's turn.
CHAT_TEMPLATE = (
    "{{ bos_token }}{% set lead = namespace(text='') %}{% for message in messages %}"
    "{% if message['role'] == 'system' %}{% set lead.text = lead.text + message['content'] + '\n\n' %}"
    "{% elif message['role'] == 'assistant' %}{{ '" + ASSISTANT + "' + message['content'] + '" + END_OF_TURN + "' }}"
    "{% else %}{{ '" + USER + "' + lead.text + message['content'] + '" + END_OF_TURN + "' }}"
    "{% set lead.text = '' %}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '" + ASSISTANT + "' }}{% endif %}"
)


def write_checkpoint(target: Path, shape: ModelShape, weights: Mapping[str, np.ndarray], tokenizer: Tokenizer) -> None:
    """Write config, tokenizer and weights (float arrays under Hugging Face's names) to a directory."""
    target.mkdir(parents=True, exist_ok=True)
    write_weights(weights, target / "model.safetensors")
    write_json(target / "config.json", config(shape, tokenizer))
    write_settings(target, shape, tokenizer)


def write_settings(target: Path, shape: ModelShape, tokenizer: Tokenizer) -> None:
    """Write the tokenizer and its settings."""
    write_json(target / "tokenizer_config.json", tokenizer_config(shape))
    with_begin(tokenizer).save(str(target / "tokenizer.json"))


def write_weights(weights: Mapping[str, np.ndarray], path: Path) -> None:
    """Write each matrix NAME as NAME.q8 (int8) and NAME.scale (float16 by groups of 32), each norm as float32.

    Down projections are written transposed, as NAME_t: a neuron's weights lie together, and share their groups.
    """
    tensors: dict[str, np.ndarray] = {}
    for name, value in weights.items():
        array = np.ascontiguousarray(value, np.float32)
        if array.ndim == 2:
            turned = name.endswith("down_proj.weight")
            stored, matrix = (f"{name}_t", down_rows(array)) if turned else (name, quantize_q8(array))
            tensors |= {f"{stored}.q8": matrix.q, f"{stored}.scale": matrix.scale}
        else:
            tensors[name] = array
    with whole_file(path) as file:
        save_file(tensors, file, metadata={"format": "np", "quantization": "q8_0 groups of 32 along columns"})


def config(shape: ModelShape, tokenizer: Tokenizer) -> dict[str, Any]:
    """Return the model's config.json, in the field names of Hugging Face's LlamaConfig."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": shape.vocabulary,
        "hidden_size": shape.width,
        "intermediate_size": shape.neurons,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_width,
        "max_position_embeddings": shape.context,
        "rms_norm_eps": shape.norm_epsilon,
        "rope_theta": shape.rope_theta,
        "hidden_act": "relu" if shape.ffn == "drelu" else "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": shape.tied,
        "bos_token_id": tokenizer.token_to_id(BEGIN),
        "eos_token_id": [tokenizer.token_to_id(END_OF_TEXT), tokenizer.token_to_id(END_OF_TURN)],
        "fairlead": {"ffn": "drelu" if shape.ffn == "drelu" else "gated"},
    }


def with_sparsity(written: dict[str, Any], gate: Sequence[float], product: Sequence[float]) -> dict[str, Any]:
    """Return the config with the measured share of zeros by layer, from which the engine's cost is predicted."""
    zeros = {"gate_sparsity": gate, "product_sparsity": product}
    rounded = {name: [round(share, 4) for share in shares] for name, shares in zeros.items()}
    return {**written, "fairlead": {**written["fairlead"], **rounded}}


def shape_of(written: dict[str, Any]) -> ModelShape:
    """Return the shape that a config.json written by `config` describes."""
    return ModelShape(
        vocabulary=written["vocab_size"],
        width=written["hidden_size"],
        layers=written["num_hidden_layers"],
        heads=written["num_attention_heads"],
        kv_heads=written["num_key_value_heads"],
        neurons=written["intermediate_size"],
        context=written["max_position_embeddings"],
        rope_theta=written["rope_theta"],
        norm_epsilon=written["rms_norm_eps"],
        ffn="drelu" if written["fairlead"]["ffn"] == "drelu" else "swiglu",
        tied=written["tie_word_embeddings"],
        head_dim=_own_head_dim(written),
    )


def _own_head_dim(written: dict[str, Any]) -> int | None:
    """The size of a head where it is not the width's share."""
    shared = written["hidden_size"] // written["num_attention_heads"]
    found = written.get("head_dim", shared)
    return None if found == shared else found


def tokenizer_config(shape: ModelShape) -> dict[str, Any]:
    """Return the tokenizer_config.json: special tokens and the chat template."""
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BEGIN,
        "eos_token": END_OF_TEXT,
        "additional_special_tokens": [USER, ASSISTANT, END_OF_TURN],
        "add_bos_token": True,
        "clean_up_tokenization_spaces": False,
        "model_max_length": shape.context,
        "chat_template": CHAT_TEMPLATE,
    }


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write an object as JSON."""
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
