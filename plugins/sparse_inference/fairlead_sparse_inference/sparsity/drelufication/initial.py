"""A SwiGLU checkpoint as the start of a dReLU model's training."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np

from fairlead_language_model.config import ModelConfig
from fairlead_language_model.errors import LanguageModelError
from fairlead_language_model.graph import LlamaWeights

from ...train.shape import ModelShape
from ..model import FloatArray, wide

_GROUP = 32
_PARTS = {
    "input_layernorm": "input_norm",
    **{f"self_attn.{name}_proj": name for name in "qkvo"},
    "post_attention_layernorm": "post_norm",
}


def why_not(config: ModelConfig) -> str | None:
    """Return what keeps a model from being trained further here, or None."""
    if config.experts is not None or config.ffn != "gated" or config.hidden_act != "silu":
        return f"a feed-forward network that is not SwiGLU ({config.ffn}, {config.hidden_act})"
    if config.norm != "rms" or config.positions != "rotary" or config.rope_scaling is not None or config.qk_norm:
        return "scaled or learned positions, or another normalization than RMSNorm of the state"
    if config.attention_bias or config.attention_output_bias or config.mlp_bias:
        return "biases"
    if config.head_dim * config.num_attention_heads != config.hidden_size or any(config.sliding_layers):
        return "heads of another width than hidden_size / num_attention_heads, or sliding windows"
    if config.hidden_size % _GROUP:
        return f"hidden_size {config.hidden_size}, no multiple of {_GROUP}"
    return None


def shape_of(config: ModelConfig, source: Path, context: int) -> ModelShape:
    """Return the shape to train: the model's own with dReLU, its neurons filled up to a multiple of 32.

    Raises LanguageModelError for a model of another kind.
    """
    reason = why_not(config)
    if reason is not None:
        raise LanguageModelError(f"{source}: drelufy does not take {reason}; accepted: Llama, Mistral with SwiGLU")
    return ModelShape(
        vocabulary=config.vocab_size,
        width=config.hidden_size,
        layers=config.num_hidden_layers,
        heads=config.num_attention_heads,
        kv_heads=config.num_key_value_heads,
        neurons=-(-config.intermediate_size // _GROUP) * _GROUP,
        context=min(context, config.max_position_embeddings),
        rope_theta=config.rope_theta,
        norm_epsilon=config.rms_norm_eps,
        tied=config.tie_word_embeddings,
    )


def initial_state(weights: LlamaWeights, shape: ModelShape) -> dict[str, FloatArray]:
    """Return the weights under the training model's names; added neurons are zero, which changes nothing."""
    assert weights.norm is not None
    state = {"model.embed_tokens.weight": wide(weights.embedding), "model.norm.weight": np.asarray(weights.norm)}
    if not shape.tied:
        state["lm_head.weight"] = wide(weights.head)
    for number, layer in enumerate(weights.layers):
        prefix = f"model.layers.{number}."
        found = {field.name: getattr(layer, field.name) for field in fields(layer)}
        state |= {f"{prefix}{name}.weight": wide(found[part]) for name, part in _PARTS.items()}
        added = (0, shape.neurons - found["gate"].shape[0])
        for name in ("gate", "up"):
            state[f"{prefix}mlp.{name}_proj.weight"] = np.pad(wide(found[name]), (added, (0, 0)))
        state[f"{prefix}mlp.down_proj.weight"] = np.pad(wide(found["down"]), ((0, 0), added))
    return {name: np.ascontiguousarray(value, np.float32) for name, value in state.items()}
