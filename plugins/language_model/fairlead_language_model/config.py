"""The shape and the settings of a decoder-only model."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from .experts import Experts
from .rope_scaling import RopeScaling

MOST_LAYERS = 4096
Activation = Literal["silu", "relu", "gelu", "gelu_tanh"]
FeedForward = Literal["gated", "drelu", "plain"]
Architecture = Literal["llama", "mistral", "qwen2", "qwen3", "opt", "mixtral", "qwen2_moe", "qwen3_moe", "smallthinker"]


class ModelConfig(BaseModel):
    """Settings of a decoder, under the field names of Hugging Face's configurations where those have one.

    `ffn` is "gated" for down(act(gate x) * up x), "drelu" for down(relu(gate x) * relu(up x)) (TurboSparse), "plain"
    for down(act(up x)) (OPT). A relu passes what is larger than `relu_threshold` (FATReLU, ProSparse section 3.3).
    `norm` is "rms" or "layer" (with bias), both with the epsilon `rms_norm_eps`, before each block, or after it and
    the residual where `norm_first` is false; `final_norm` says whether the last state is normalized. Positions are
    "rotary", or "learned": row position + `position_offset` of a table is added to the embedding. `embedding_size` is
    the width of the embedding where it is projected to `hidden_size`. `sliding_layers` has one flag a layer: whether
    that layer attends to the last `sliding_window` positions only.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    architecture: Architecture
    vocab_size: int = Field(gt=0, le=1 << 24)
    hidden_size: int = Field(gt=0, le=1 << 20)
    intermediate_size: int = Field(gt=0, le=1 << 22)
    num_hidden_layers: int = Field(gt=0, le=MOST_LAYERS)
    num_attention_heads: int = Field(gt=0, le=1 << 16)
    num_key_value_heads: int = Field(gt=0, le=1 << 16)
    head_dim: int = Field(gt=0, le=1 << 16)
    max_position_embeddings: int = Field(gt=0, le=1 << 26)
    rms_norm_eps: float = Field(gt=0, lt=1, allow_inf_nan=False)
    rope_theta: float = Field(default=10000.0, gt=0, allow_inf_nan=False)
    rope_scaling: RopeScaling | None = None
    hidden_act: Activation = "silu"
    ffn: FeedForward = "gated"
    relu_threshold: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    experts: Experts | None = None
    norm: Literal["rms", "layer"] = "rms"
    norm_first: bool = True
    final_norm: bool = True
    positions: Literal["rotary", "learned"] = "rotary"
    position_offset: int = Field(default=0, ge=0, le=1 << 10)
    embedding_size: int | None = Field(default=None, gt=0, le=1 << 20)
    attention_bias: bool = False
    attention_output_bias: bool = False
    mlp_bias: bool = False
    qk_norm: bool = False
    tie_word_embeddings: bool = False
    sliding_window: int | None = Field(default=None, gt=0)
    sliding_layers: tuple[bool, ...] = ()
    bos_token_id: int | None = None
    eos_token_ids: tuple[int, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> ModelConfig:
        if self.num_attention_heads % self.num_key_value_heads:
            raise ValueError(f"num_key_value_heads must divide num_attention_heads {self.num_attention_heads}")
        if self.head_dim % 2 and self.positions == "rotary":
            raise ValueError("head_dim must be even (rotary embedding turns pairs)")
        if self.sliding_layers and len(self.sliding_layers) != self.num_hidden_layers:
            raise ValueError(f"layer_types must have num_hidden_layers = {self.num_hidden_layers} entries")
        if self.experts is not None and len(self.experts.sparse_layers) not in (0, self.num_hidden_layers):
            raise ValueError(f"experts must name one flag for each of the {self.num_hidden_layers} layers")
        if self.relu_threshold and (self.hidden_act != "relu" or self.ffn == "drelu"):
            raise ValueError("relu_threshold needs hidden_act relu with a gated or plain feed-forward network")
        if any(self.sliding_layers) and self.sliding_window is None:
            raise ValueError("layer_types names sliding attention, so sliding_window must be a number")
        return self

    @property
    def activation(self) -> str:
        """Name of the feed-forward activation: "drelu", or that of the gate."""
        return "drelu" if self.ffn == "drelu" else self.hidden_act

    def experts_in(self, layer: int) -> Experts | None:
        """Return the settings of a layer's experts, or None where it has one dense network."""
        return self.experts if self.experts is not None and self.experts.in_layer(layer) else None

    def neurons(self, layer: int) -> int:
        """Return the number of neurons of a layer's feed-forward network, those of all experts together."""
        experts = self.experts_in(layer)
        return self.intermediate_size if experts is None else experts.neurons

    def window(self, layer: int) -> int | None:
        """Return how many positions a layer attends to, or None for all of them."""
        return self.sliding_window if self.sliding_layers and self.sliding_layers[layer] else None

    def kv_bytes_per_token(self, bits: int = 32) -> int:
        """Return the bytes that one token's keys and values take over all layers; with 8 bits a head has a scale."""
        head = 4 * self.head_dim if bits == 32 else self.head_dim + 4
        return 2 * self.num_hidden_layers * self.num_key_value_heads * head
