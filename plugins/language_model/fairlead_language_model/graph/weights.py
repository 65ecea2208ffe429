"""The weights of a Llama-family decoder, read from a checkpoint and held against its config."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels import Q8Matrix

from ..checkpoint import Checkpoint, Matrix
from ..gguf_checkpoint import ROPE_FREQUENCY_FACTORS

Vector = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class LayerWeights:
    """One decoder layer; matrices are [outputs, inputs], norms and biases vectors. What a model lacks is None.

    `down_t` is the down projection transposed [neurons, hidden], where the checkpoint holds it in that form; `down`
    then has its values as float32.
    """

    input_norm: Vector
    q: Matrix
    k: Matrix
    v: Matrix
    o: Matrix
    post_norm: Vector
    gate: Matrix
    up: Matrix
    down: Matrix
    q_bias: Vector | None = None
    k_bias: Vector | None = None
    v_bias: Vector | None = None
    o_bias: Vector | None = None
    q_norm: Vector | None = None
    k_norm: Vector | None = None
    gate_bias: Vector | None = None
    up_bias: Vector | None = None
    down_bias: Vector | None = None
    down_t: Q8Matrix | None = None


@dataclass(frozen=True, slots=True)
class LlamaWeights:
    """All weights of a model. `head` is `embedding` itself where the two are tied."""

    embedding: Matrix
    layers: tuple[LayerWeights, ...]
    norm: Vector
    head: Matrix
    rope_factors: Vector | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of all weights, tied ones once."""
        parts = [self.embedding, self.norm, *([] if self.head is self.embedding else [self.head])]
        inner = (getattr(layer, name) for layer in self.layers for name in LayerWeights.__slots__)
        return sum(int(part.nbytes) for part in [*parts, *inner] if part is not None)


def load_weights(checkpoint: Checkpoint) -> LlamaWeights:
    """Read all weights; raises CheckpointError for a tensor that is missing or has another shape.

    float32 tensors are views of the file, Q8 matrices stay as stored; everything else is widened to float32.
    """
    config = checkpoint.config
    table = (config.vocab_size, config.hidden_size)
    embedding = checkpoint.matrix("model.embed_tokens.weight", table)
    head = embedding if config.tie_word_embeddings else checkpoint.matrix("lm_head.weight", table)
    factors = None
    if ROPE_FREQUENCY_FACTORS in checkpoint.names():
        factors = checkpoint.array(ROPE_FREQUENCY_FACTORS, (config.head_dim // 2,))
    layers = tuple(_load_layer(checkpoint, layer) for layer in range(config.num_hidden_layers))
    norm = checkpoint.array("model.norm.weight", (config.hidden_size,))
    return LlamaWeights(embedding, layers, norm, head, factors)


def _load_layer(checkpoint: Checkpoint, layer: int) -> LayerWeights:
    config, prefix = checkpoint.config, f"model.layers.{layer}."
    hidden, neurons = config.hidden_size, config.intermediate_size
    queries = config.num_attention_heads * config.head_dim
    keys = config.num_key_value_heads * config.head_dim

    def matrix(name: str, rows: int, columns: int) -> Matrix:
        return checkpoint.matrix(f"{prefix}{name}.weight", (rows, columns))

    def vector(name: str, size: int, wanted: bool = True) -> Vector | None:
        return checkpoint.array(prefix + name, (size,)) if wanted else None

    def norm(name: str) -> Vector:
        return checkpoint.array(f"{prefix}{name}.weight", (hidden,))

    return LayerWeights(
        input_norm=norm("input_layernorm"),
        q=matrix("self_attn.q_proj", queries, hidden),
        k=matrix("self_attn.k_proj", keys, hidden),
        v=matrix("self_attn.v_proj", keys, hidden),
        o=matrix("self_attn.o_proj", hidden, queries),
        post_norm=norm("post_attention_layernorm"),
        gate=matrix("mlp.gate_proj", neurons, hidden),
        up=matrix("mlp.up_proj", neurons, hidden),
        down=matrix("mlp.down_proj", hidden, neurons),
        q_bias=vector("self_attn.q_proj.bias", queries, config.attention_bias),
        k_bias=vector("self_attn.k_proj.bias", keys, config.attention_bias),
        v_bias=vector("self_attn.v_proj.bias", keys, config.attention_bias),
        o_bias=vector("self_attn.o_proj.bias", hidden, config.attention_output_bias),
        q_norm=vector("self_attn.q_norm.weight", config.head_dim, config.qk_norm),
        k_norm=vector("self_attn.k_norm.weight", config.head_dim, config.qk_norm),
        gate_bias=vector("mlp.gate_proj.bias", neurons, config.mlp_bias),
        up_bias=vector("mlp.up_proj.bias", neurons, config.mlp_bias),
        down_bias=vector("mlp.down_proj.bias", hidden, config.mlp_bias),
        down_t=checkpoint.transposed(f"{prefix}mlp.down_proj.weight", (neurons, hidden)),
    )
