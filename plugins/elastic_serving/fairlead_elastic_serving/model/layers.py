"""One decoder layer, computed from views of its pages."""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F

from fairlead_language_model.config import ModelConfig

from .batch import Batch
from .layout import LayerLayout
from .rotary import Rotary, rotate

Turn = tuple[torch.Tensor, torch.Tensor]


class StepAttention(Protocol):
    """Attention of one microbatch, layer by layer."""

    def __call__(self, layer: int, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """Store a layer's new keys and values, and attend.

        Args:
            layer: its number in the model.
            queries: [tokens, heads, head_dim], turned to their positions.
            keys: [tokens, kv_heads, head_dim], likewise.
            values: [tokens, kv_heads, head_dim].

        Returns:
            [tokens, heads, head_dim].
        """
        ...


class Layer:
    """A layer of Llama, Mistral, Qwen2 or Qwen3: the sum of its input, attention, and a feed-forward network.

    Args:
        config: of the model.
        number: of the layer.
        layout: where its tensors lie.
        flat: uint8, its pages.
    """

    def __init__(self, config: ModelConfig, number: int, layout: LayerLayout, flat: torch.Tensor) -> None:
        self.config, self.number = config, number
        self.weights = layout.views(flat)
        self._queries = config.num_attention_heads
        self._turned = config.num_attention_heads + config.num_key_value_heads
        self._heads = (self._turned + config.num_key_value_heads, config.head_dim)
        self._activate = _activation(config)

    def turn(self, rotary: Rotary, batch: Batch, dtype: torch.dtype) -> Turn:
        """Return what turns a batch's heads to their positions."""
        positions = torch.from_numpy(batch.positions).to(self.weights["qkv"].device)
        return rotary.at(positions, dtype)

    def __call__(self, hidden: torch.Tensor, turn: Turn, attend: StepAttention) -> torch.Tensor:
        """Return the next states [tokens, hidden_size]; `turn` is what the method of that name gives."""
        weights = self.weights
        normal = self._norm(hidden, "input_norm")
        joined = F.linear(normal, weights["qkv"], weights.get("qkv_bias")).unflatten(-1, self._heads)
        turned, values = joined[:, : self._turned], joined[:, self._turned :]
        if self.config.qk_norm:
            turned = self._norm_heads(turned)
        turned = rotate(turned, turn)
        seen = attend(self.number, turned[:, : self._queries], turned[:, self._queries :], values)
        hidden = hidden + F.linear(seen.flatten(1).to(hidden.dtype), weights["o"], weights.get("o_bias"))
        inner = F.linear(self._norm(hidden, "post_norm"), weights["inner"], weights.get("inner_bias"))
        return hidden + F.linear(self._activate(inner), weights["down"], weights.get("down_bias"))

    def _norm(self, x: torch.Tensor, name: str) -> torch.Tensor:
        return rms_norm(x, self.weights[name], self.config.rms_norm_eps)

    def _norm_heads(self, heads: torch.Tensor) -> torch.Tensor:
        queries, keys = heads[:, : self._queries], heads[:, self._queries :]
        return torch.cat((self._norm(queries, "q_norm"), self._norm(keys, "k_norm")), dim=1)


def rms_norm(x: torch.Tensor, weight: torch.Tensor, epsilon: float) -> torch.Tensor:
    """Return x over its root mean square, times a weight (Zhang and Sennrich, 2019)."""
    return F.rms_norm(x, weight.shape, weight, epsilon)


class _Activation(Protocol):
    def __call__(self, inner: torch.Tensor) -> torch.Tensor: ...


def _activation(config: ModelConfig) -> _Activation:
    """What lies between the two matrices: [tokens, inner] to [tokens, neurons]."""
    threshold = config.relu_threshold

    def relu(x: torch.Tensor) -> torch.Tensor:
        # FATReLU (Kurtz et al., 2020) passes what exceeds a threshold.
        return torch.where(x > threshold, x, 0.0) if threshold else F.relu(x)

    act = {
        "silu": F.silu,
        "relu": relu,
        "gelu": F.gelu,
        "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    }[config.hidden_act]
    neurons = config.intermediate_size
    if config.ffn == "plain":
        return act
    if config.ffn == "drelu":
        return lambda inner: F.relu(inner[:, :neurons]) * F.relu(inner[:, neurons:])
    return lambda inner: act(inner[:, :neurons]) * inner[:, neurons:]
