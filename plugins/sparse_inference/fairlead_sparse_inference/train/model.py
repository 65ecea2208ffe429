"""The model in PyTorch: a Llama decoder whose feed-forward network is dReLU (TurboSparse, equation 2) or SwiGLU.

Parameter names are those of Hugging Face's LlamaForCausalLM, so that the state dictionary needs no renaming.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from .shape import ModelShape


class Norm(nn.Module):
    """Root-mean-square layer normalisation, computed in float32."""

    def __init__(self, width: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last axis."""
        return functional.rms_norm(x, (x.shape[-1],), self.weight.to(x.dtype), self.epsilon)


class Attention(nn.Module):
    """Causal grouped-query attention with rotary position embedding (half-split layout)."""

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.shape = shape
        kv_width = shape.kv_heads * shape.head_width
        self.q_proj = nn.Linear(shape.width, shape.heads * shape.head_width, bias=False)
        self.k_proj = nn.Linear(shape.width, kv_width, bias=False)
        self.v_proj = nn.Linear(shape.width, kv_width, bias=False)
        self.o_proj = nn.Linear(shape.heads * shape.head_width, shape.width, bias=False)

    def forward(self, x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
        """Attend over [batch, time, width]."""
        batch, time, _ = x.shape
        heads = (batch, time, -1, self.shape.head_width)
        q = rotate(self.q_proj(x).view(heads).transpose(1, 2), rotation)
        k = rotate(self.k_proj(x).view(heads).transpose(1, 2), rotation)
        v = self.v_proj(x).view(heads).transpose(1, 2)
        grouped = self.shape.heads != self.shape.kv_heads
        out = functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=grouped)
        return self.o_proj(out.transpose(1, 2).reshape(batch, time, -1))


class FeedForward(nn.Module):
    """down(relu(gate x) * relu(up x)), or SwiGLU's down(silu(gate x) * up x); keeps zero shares while `measure` is set.

    `swiglu_share` mixes the two products while a SwiGLU model is turned into a dReLU one: 1 is SwiGLU, 0 dReLU.
    """

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(shape.width, shape.neurons, bias=False)
        self.up_proj = nn.Linear(shape.width, shape.neurons, bias=False)
        self.down_proj = nn.Linear(shape.neurons, shape.width, bias=False)
        self.swiglu_share = 1.0 if shape.ffn == "swiglu" else 0.0
        self.measure = False
        self.gate_zero = self.product_zero = 0.0
        self.gate_means: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Apply the network to the last axis."""
        raw, up = self.gate_proj(x), self.up_proj(x)
        gate = functional.relu(raw)
        product = self._product(raw, gate, up)
        if self.measure:
            self.gate_zero = 0.0 if self.swiglu_share else float((gate == 0).float().mean())
            self.product_zero = float((product == 0).float().mean())
        # Not the product: only a zero gate lets the engine skip a neuron before it reads its up row.
        self.gate_means = gate.flatten(0, -2).mean(dim=0, dtype=torch.float32) if self.training else None
        return self.down_proj(product)

    def _product(self, raw: Tensor, gate: Tensor, up: Tensor) -> Tensor:
        share = self.swiglu_share
        if share == 1.0:
            return functional.silu(raw) * up
        sparse = gate * functional.relu(up)
        return torch.lerp(sparse, functional.silu(raw) * up, share) if share else sparse


class Layer(nn.Module):
    """One pre-norm decoder layer; `dropout` is the share of each branch's output that training leaves out."""

    def __init__(self, shape: ModelShape, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.input_layernorm = Norm(shape.width, shape.norm_epsilon)
        self.self_attn = Attention(shape)
        self.post_attention_layernorm = Norm(shape.width, shape.norm_epsilon)
        self.mlp = FeedForward(shape)

    def forward(self, x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
        """Add attention, then the feed-forward network, to the residual stream."""
        x = x + self.dropout(self.self_attn(self.input_layernorm(x), rotation))
        return x + self.dropout(self.mlp(self.post_attention_layernorm(x)))


class Decoder(nn.Module):
    """Embedding, layers and final norm."""

    def __init__(self, shape: ModelShape, dropout: float = 0.0) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(shape.vocabulary, shape.width)
        self.layers = nn.ModuleList(Layer(shape, dropout) for _ in range(shape.layers))
        self.norm = Norm(shape.width, shape.norm_epsilon)


class LlamaDrelu(nn.Module):
    """The whole model; logits come from the embedding where it is tied, else from `lm_head`."""

    def __init__(self, shape: ModelShape, dropout: float = 0.0) -> None:
        super().__init__()
        self.shape = shape
        self.model = Decoder(shape, dropout)
        if not shape.tied:
            self.lm_head = nn.Linear(shape.width, shape.vocabulary, bias=False)
        self._initialise()

    def _initialise(self) -> None:
        depth = (2 * self.shape.layers) ** -0.5
        for name, parameter in self.named_parameters():
            if name.endswith("embed_tokens.weight"):
                nn.init.normal_(parameter, std=0.02)
            elif parameter.dim() == 2:
                scale = depth if name.endswith(("o_proj.weight", "down_proj.weight")) else 1.0
                nn.init.normal_(parameter, std=scale * parameter.shape[1] ** -0.5)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map token ids [batch, time] to logits [batch, time, vocabulary]."""
        return self.head(self.hidden(tokens))

    def hidden(self, tokens: Tensor) -> Tensor:
        """Map token ids [batch, time] to what the logits are computed from, [batch, time, width]."""
        rotation = rotation_table(self.shape, tokens.shape[1], tokens.device)
        x = self.model.embed_tokens(tokens)
        for layer in self.model.layers:
            x = layer(x, rotation)
        return self.model.norm(x)

    def head(self, hidden: Tensor) -> Tensor:
        """Map hidden rows [..., width] to logits [..., vocabulary]."""
        head = self.model.embed_tokens if self.shape.tied else self.lm_head
        return functional.linear(hidden, head.weight)

    def feed_forwards(self) -> list[FeedForward]:
        """Return the feed-forward network of each layer."""
        return [layer.mlp for layer in self.model.layers]  # pyright: ignore[reportReturnType]


def rotation_table(shape: ModelShape, time: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return cosine and sine [time, head_width] of the rotary angles (RoFormer, half-split layout)."""
    half = torch.arange(0, shape.head_width, 2, device=device, dtype=torch.float32) / shape.head_width
    angles = torch.outer(torch.arange(time, device=device, dtype=torch.float32), shape.rope_theta**-half)
    angles = torch.cat((angles, angles), dim=-1)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    """Rotate the heads of [batch, heads, time, head_width]."""
    cosine, sine = (table.to(x.dtype) for table in rotation)
    first, second = x.chunk(2, dim=-1)
    return x * cosine + torch.cat((-second, first), dim=-1) * sine
