"""The weights of a decoder, read from a checkpoint and held against its config."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels import Q8Matrix

from ..checkpoint import Checkpoint, Matrix
from ..gguf_names import ROPE_FREQUENCY_FACTORS

Vector = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class ExpertWeights:
    """The matrices [outputs, inputs] of one expert; `down_t` as in LayerWeights."""

    gate: Matrix
    up: Matrix
    down: Matrix
    down_t: Q8Matrix | None = None


@dataclass(frozen=True, slots=True)
class MixtureWeights:
    """The router [experts, hidden] of a layer, its experts, and the shared one with its gate [1, hidden], if any."""

    router: Matrix
    experts: tuple[ExpertWeights, ...]
    shared: ExpertWeights | None = None
    shared_gate: Matrix | None = None

    @property
    def networks(self) -> tuple[ExpertWeights, ...]:
        """The experts, then the shared one."""
        return self.experts if self.shared is None else (*self.experts, self.shared)


@dataclass(frozen=True, slots=True)
class LayerWeights:
    """One decoder layer; matrices are [outputs, inputs], norms and biases vectors. What a model lacks is None.

    A plain feed-forward network has no gate; a layer of experts has a mixture in place of gate, up and down.
    `down_t` is the down projection transposed [neurons, hidden], where the checkpoint holds it in that form; `down`
    then has its values as float32.
    """

    input_norm: Vector
    q: Matrix
    k: Matrix
    v: Matrix
    o: Matrix
    post_norm: Vector
    gate: Matrix | None = None
    up: Matrix | None = None
    down: Matrix | None = None
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
    input_norm_bias: Vector | None = None
    post_norm_bias: Vector | None = None
    mixture: MixtureWeights | None = None


@dataclass(frozen=True, slots=True)
class LlamaWeights:
    """All weights of a model. `head` is `embedding` itself where the two are tied.

    `norm` is None where the last state is not normalized. `position_embedding` is [positions + offset, hidden];
    `project_in` [hidden, embedding] and `project_out` [embedding, hidden] stand where the embedding's width differs.
    """

    embedding: Matrix
    layers: tuple[LayerWeights, ...]
    norm: Vector | None
    head: Matrix
    rope_factors: Vector | None = None
    norm_bias: Vector | None = None
    position_embedding: Matrix | None = None
    project_in: Matrix | None = None
    project_out: Matrix | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of all weights, tied ones once."""
        return _nbytes(self) - (self.embedding.nbytes if self.head is self.embedding else 0)


def load_weights(checkpoint: Checkpoint) -> LlamaWeights:
    """Read all weights; raises CheckpointError for a tensor that is missing or has another shape.

    float32 tensors are views of the file, Q8 matrices stay as stored; everything else is widened to float32.
    """
    config, read = checkpoint.config, _Reader(checkpoint, "model.")
    hidden, width = config.hidden_size, config.embedding_size or config.hidden_size
    embedding = read.matrix("embed_tokens", config.vocab_size, width)
    head = embedding
    if not config.tie_word_embeddings:
        head = checkpoint.matrix("lm_head.weight", (config.vocab_size, width))
    factors = None
    if ROPE_FREQUENCY_FACTORS in checkpoint.names():
        factors = checkpoint.array(ROPE_FREQUENCY_FACTORS, (config.head_dim // 2,))
    places = config.max_position_embeddings + config.position_offset
    learned, projected, biased = config.positions == "learned", width != hidden, config.norm == "layer"
    return LlamaWeights(
        embedding,
        tuple(_load_layer(checkpoint, layer) for layer in range(config.num_hidden_layers)),
        read.vector("norm.weight", hidden, config.final_norm),
        head,
        factors,
        read.vector("norm.bias", hidden, config.final_norm and biased),
        read.matrix("embed_positions", places, hidden) if learned else None,
        read.matrix("project_in", hidden, width) if projected else None,
        read.matrix("project_out", width, hidden) if projected else None,
    )


class _Reader:
    """Reads the tensors under one prefix."""

    def __init__(self, checkpoint: Checkpoint, prefix: str) -> None:
        self.checkpoint, self.prefix = checkpoint, prefix

    def matrix(self, name: str, rows: int, columns: int) -> Matrix:
        return self.checkpoint.matrix(f"{self.prefix}{name}.weight", (rows, columns))

    def vector(self, name: str, size: int, wanted: bool = True) -> Vector | None:
        return self.checkpoint.array(self.prefix + name, (size,)) if wanted else None

    def norm(self, name: str, size: int) -> Vector:
        return self.checkpoint.array(f"{self.prefix}{name}.weight", (size,))

    def transposed(self, name: str, rows: int, columns: int) -> Q8Matrix | None:
        return self.checkpoint.transposed(f"{self.prefix}{name}.weight", (rows, columns))

    def expert(self, name: str, neurons: int, hidden: int) -> ExpertWeights:
        return ExpertWeights(
            gate=self.matrix(f"{name}.gate_proj", neurons, hidden),
            up=self.matrix(f"{name}.up_proj", neurons, hidden),
            down=self.matrix(f"{name}.down_proj", hidden, neurons),
            down_t=self.transposed(f"{name}.down_proj", neurons, hidden),
        )


def _load_layer(checkpoint: Checkpoint, layer: int) -> LayerWeights:
    config, read = checkpoint.config, _Reader(checkpoint, f"model.layers.{layer}.")
    hidden = config.hidden_size
    queries = config.num_attention_heads * config.head_dim
    keys = config.num_key_value_heads * config.head_dim
    return LayerWeights(
        input_norm=read.norm("input_layernorm", hidden),
        q=read.matrix("self_attn.q_proj", queries, hidden),
        k=read.matrix("self_attn.k_proj", keys, hidden),
        v=read.matrix("self_attn.v_proj", keys, hidden),
        o=read.matrix("self_attn.o_proj", hidden, queries),
        post_norm=read.norm("post_attention_layernorm", hidden),
        q_bias=read.vector("self_attn.q_proj.bias", queries, config.attention_bias),
        k_bias=read.vector("self_attn.k_proj.bias", keys, config.attention_bias),
        v_bias=read.vector("self_attn.v_proj.bias", keys, config.attention_bias),
        o_bias=read.vector("self_attn.o_proj.bias", hidden, config.attention_output_bias),
        q_norm=read.vector("self_attn.q_norm.weight", config.head_dim, config.qk_norm),
        k_norm=read.vector("self_attn.k_norm.weight", config.head_dim, config.qk_norm),
        input_norm_bias=read.vector("input_layernorm.bias", hidden, config.norm == "layer"),
        post_norm_bias=read.vector("post_attention_layernorm.bias", hidden, config.norm == "layer"),
        **(_dense(checkpoint, read) if config.experts_in(layer) is None else {"mixture": _mixture(checkpoint, read)}),
    )


def _dense(checkpoint: Checkpoint, read: _Reader) -> dict[str, Any]:
    config, gated = checkpoint.config, checkpoint.config.ffn != "plain"
    hidden, neurons = config.hidden_size, config.intermediate_size
    return {
        "gate": read.matrix("mlp.gate_proj", neurons, hidden) if gated else None,
        "up": read.matrix("mlp.up_proj", neurons, hidden),
        "down": read.matrix("mlp.down_proj", hidden, neurons),
        "gate_bias": read.vector("mlp.gate_proj.bias", neurons, config.mlp_bias and gated),
        "up_bias": read.vector("mlp.up_proj.bias", neurons, config.mlp_bias),
        "down_bias": read.vector("mlp.down_proj.bias", hidden, config.mlp_bias),
        "down_t": read.transposed("mlp.down_proj", neurons, hidden),
    }


def _mixture(checkpoint: Checkpoint, read: _Reader) -> MixtureWeights:
    config, experts = checkpoint.config, checkpoint.config.experts
    assert experts is not None
    hidden, size = config.hidden_size, experts.moe_intermediate_size
    shared = experts.shared_expert_intermediate_size
    return MixtureWeights(
        router=read.matrix("mlp.gate", experts.num_experts, hidden),
        experts=tuple(read.expert(f"mlp.experts.{i}", size, hidden) for i in range(experts.num_experts)),
        shared=read.expert("mlp.shared_expert", shared, hidden) if shared else None,
        shared_gate=read.matrix("mlp.shared_expert_gate", 1, hidden) if shared else None,
    )


def _nbytes(part: Any) -> int:
    """Bytes of all arrays in a tree of weights."""
    if part is None:
        return 0
    if isinstance(part, tuple):
        return sum(map(_nbytes, part))
    if isinstance(part, LlamaWeights | LayerWeights | MixtureWeights | ExpertWeights):
        return sum(_nbytes(getattr(part, field.name)) for field in fields(part))
    return int(part.nbytes)
