"""Where the tensors of a decoder layer lie in the layer's pages.

Queries, keys and values are one matrix, and so are gate and up projection: one product each in place of three and two.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch

from fairlead_language_model.config import ModelConfig

from ..errors import ModelUnsupported

ALIGNMENT = 64
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True, slots=True)
class Placed:
    """A tensor: its name, its first byte in the layer, and its shape."""

    name: str
    offset: int
    shape: tuple[int, ...]


@dataclass(frozen=True)
class LayerLayout:
    """The tensors of any layer of a model, in the order in which a step reads them.

    Attributes:
        tensors: where they lie.
        dtype: of all of them.
        layer_bytes: of a layer.
    """

    tensors: tuple[Placed, ...]
    dtype: torch.dtype
    layer_bytes: int

    def pages(self, page_bytes: int) -> int:
        """Return how many pages a layer takes."""
        return -(-self.layer_bytes // page_bytes)

    def views(self, flat: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the tensors of a layer as views of its pages, uint8 [bytes]."""
        found = {}
        for placed in self.tensors:
            size = torch.Size(placed.shape).numel() * self.dtype.itemsize
            found[placed.name] = flat[placed.offset : placed.offset + size].view(self.dtype).view(placed.shape)
        return found

    @cached_property
    def names(self) -> frozenset[str]:
        """Names of the tensors."""
        return frozenset(placed.name for placed in self.tensors)


def layer_layout(config: ModelConfig, dtype: torch.dtype) -> LayerLayout:
    """Lay a layer out.

    Raises:
        ModelUnsupported: the model has a part that these layers lack.
        ValueError: another dtype than float32 and bfloat16.
    """
    if dtype not in DTYPES.values():
        raise ValueError(f"dtype {dtype}: accepted: {', '.join(DTYPES)}")
    require_supported(config)
    placed, offset = [], 0
    for name, shape in _shapes(config).items():
        placed.append(Placed(name, offset, shape))
        offset += -(-torch.Size(shape).numel() * dtype.itemsize // ALIGNMENT) * ALIGNMENT
    return LayerLayout(tuple(placed), dtype, offset)


def require_supported(config: ModelConfig) -> None:
    """Raise ModelUnsupported, naming the part, unless these layers compute the model."""
    parts = {
        "experts": config.experts is not None,
        "layer normalization": config.norm != "rms",
        "normalization after the block": not config.norm_first,
        "no final normalization": not config.final_norm,
        "learned positions": config.positions != "rotary",
        "a projected embedding": config.embedding_size not in (None, config.hidden_size),
    }
    for part, there in parts.items():
        if there:
            raise ModelUnsupported(part, config.architecture)


def _shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    hidden, neurons, dim = config.hidden_size, config.intermediate_size, config.head_dim
    heads, kv_heads = config.num_attention_heads, config.num_key_value_heads
    joined = (heads + 2 * kv_heads) * dim
    inner = neurons if config.ffn == "plain" else 2 * neurons
    wanted: dict[str, tuple[tuple[int, ...], bool]] = {
        "input_norm": ((hidden,), True),
        "qkv": ((joined, hidden), True),
        "qkv_bias": ((joined,), config.attention_bias),
        "q_norm": ((dim,), config.qk_norm),
        "k_norm": ((dim,), config.qk_norm),
        "o": ((hidden, heads * dim), True),
        "o_bias": ((hidden,), config.attention_output_bias),
        "post_norm": ((hidden,), True),
        "inner": ((inner, hidden), True),
        "inner_bias": ((inner,), config.mlp_bias),
        "down": ((hidden, neurons), True),
        "down_bias": ((hidden,), config.mlp_bias),
    }
    return {name: shape for name, (shape, there) in wanted.items() if there}
