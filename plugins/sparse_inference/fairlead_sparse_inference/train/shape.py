"""The shape of the model that is trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

FeedForwardKind = Literal["drelu", "swiglu"]


@dataclass(frozen=True, slots=True)
class ModelShape:
    """Sizes of a Llama-architecture decoder, and the activation of its feed-forward network."""

    vocabulary: int = 4096
    width: int = 384
    layers: int = 6
    heads: int = 12
    kv_heads: int = 4
    neurons: int = 1536
    context: int = 512
    rope_theta: float = 10000.0
    norm_epsilon: float = 1e-5
    ffn: FeedForwardKind = "drelu"
    tied: bool = True
    head_dim: int | None = None

    def __post_init__(self) -> None:
        """Refuse sizes that no such model can have."""
        if self.head_dim is None and (self.width % self.heads or (self.width // self.heads) % 2):
            raise ValueError(f"width {self.width} must be an even multiple of heads {self.heads}")
        if self.head_dim is not None and (self.head_dim < 2 or self.head_dim % 2 or self.heads * self.head_dim % 32):
            raise ValueError(f"head_dim {self.head_dim}: accepted: even, and with heads {self.heads} a multiple of 32")
        if self.heads % self.kv_heads:
            raise ValueError(f"heads {self.heads} must be a multiple of kv_heads {self.kv_heads}")
        if self.width % 32 or self.neurons % 32:
            raise ValueError(f"width {self.width} and neurons {self.neurons} must be multiples of 32 (Q8_0 groups)")
        if self.ffn not in ("drelu", "swiglu"):
            raise ValueError(f"ffn {self.ffn!r}: accepted: drelu, swiglu")

    @property
    def head_width(self) -> int:
        """Size of one attention head: `head_dim` where it is given, else the width's share."""
        return self.head_dim or self.width // self.heads
