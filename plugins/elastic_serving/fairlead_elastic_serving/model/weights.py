"""Reads a checkpoint's layers into pages of the arena, and what every instance keeps beside them.

A layer that was lost or given away is read the same way again.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from fairlead_language_model.checkpoint import Checkpoint
from fairlead_language_model.config import ModelConfig
from fairlead_language_model.gguf_names import ROPE_FREQUENCY_FACTORS

from .layout import LayerLayout


def load_layer(checkpoint: Checkpoint, layer: int, layout: LayerLayout, flat: torch.Tensor) -> None:
    """Read a layer into its pages.

    Args:
        checkpoint: where from.
        layer: its number.
        layout: where its tensors lie.
        flat: uint8 [at least layout.layer_bytes], the layer's pages; written.

    Raises:
        CheckpointError: a tensor is missing or has another shape; names file and tensor.
    """
    targets = layout.views(flat)
    for target, sources in _sources(checkpoint.config, layout).items():
        start = 0
        for name, shape in sources:
            stored = checkpoint.array(f"model.layers.{layer}.{name}", shape)
            targets[target][start : start + shape[0]].copy_(_tensor(stored))
            start += shape[0]


@dataclass(frozen=True, slots=True)
class Ends:
    """What stands before and after the layers; resident on every instance, outside of the arena.

    Attributes:
        embedding: [vocabulary, hidden].
        norm: [hidden].
        head: [vocabulary, hidden]; the embedding itself where both are tied.
        rope_factors: float32 [head_dim / 2] where the file scales rotary frequencies so, else None.
    """

    embedding: torch.Tensor
    norm: torch.Tensor
    head: torch.Tensor
    rope_factors: torch.Tensor | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of all of them, tied ones once."""
        parts = [self.embedding, self.norm] + ([] if self.head is self.embedding else [self.head])
        return sum(part.nbytes for part in parts)


def load_ends(checkpoint: Checkpoint, dtype: torch.dtype, device: torch.device | str = "cpu") -> Ends:
    """Read embedding, last normalization and output matrix; raises CheckpointError."""
    config = checkpoint.config
    matrix = (config.vocab_size, config.hidden_size)

    def read(name: str, shape: tuple[int, ...]) -> torch.Tensor:
        return _tensor(checkpoint.array(name, shape)).to(device=device, dtype=dtype, copy=True)

    embedding = read("model.embed_tokens.weight", matrix)
    head = embedding if config.tie_word_embeddings else read("lm_head.weight", matrix)
    factors = None
    if ROPE_FREQUENCY_FACTORS in checkpoint.names():
        factors = _tensor(checkpoint.array(ROPE_FREQUENCY_FACTORS, (config.head_dim // 2,))).clone()
    return Ends(embedding, read("model.norm.weight", (config.hidden_size,)), head, factors)


def ends_bytes(config: ModelConfig, dtype: torch.dtype) -> int:
    """Return the bytes of a model's ends."""
    matrices = 1 if config.tie_word_embeddings else 2
    return (matrices * config.vocab_size + 1) * config.hidden_size * dtype.itemsize


def _sources(config: ModelConfig, layout: LayerLayout) -> dict[str, list[tuple[str, tuple[int, ...]]]]:
    """Which tensors of a checkpoint, under a layer's prefix, stand one below the other in each of the layout's."""
    hidden, neurons, dim = config.hidden_size, config.intermediate_size, config.head_dim
    queries, keys = config.num_attention_heads * dim, config.num_key_value_heads * dim
    qkv = [("self_attn.q_proj", queries), ("self_attn.k_proj", keys), ("self_attn.v_proj", keys)]
    inner = [("mlp.gate_proj", neurons)] if config.ffn != "plain" else []
    inner += [("mlp.up_proj", neurons)]
    found: dict[str, list[tuple[str, tuple[int, ...]]]] = {
        "input_norm": [("input_layernorm.weight", (hidden,))],
        "qkv": [(f"{name}.weight", (rows, hidden)) for name, rows in qkv],
        "qkv_bias": [(f"{name}.bias", (rows,)) for name, rows in qkv],
        "q_norm": [("self_attn.q_norm.weight", (dim,))],
        "k_norm": [("self_attn.k_norm.weight", (dim,))],
        "o": [("self_attn.o_proj.weight", (hidden, queries))],
        "o_bias": [("self_attn.o_proj.bias", (hidden,))],
        "post_norm": [("post_attention_layernorm.weight", (hidden,))],
        "inner": [(f"{name}.weight", (rows, hidden)) for name, rows in inner],
        "inner_bias": [(f"{name}.bias", (rows,)) for name, rows in inner],
        "down": [("mlp.down_proj.weight", (hidden, neurons))],
        "down_bias": [("mlp.down_proj.bias", (hidden,))],
    }
    return {name: sources for name, sources in found.items() if name in layout.names}


def _tensor(array: NDArray[np.float32]) -> torch.Tensor:
    # Views of a mapped file are read-only, which torch warns of; they are only read here.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return torch.from_numpy(array)
