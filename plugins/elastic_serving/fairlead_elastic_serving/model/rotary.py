"""Rotary position embedding (RoFormer), turned by a table of cosines and sines."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from fairlead_language_model.config import ModelConfig
from fairlead_language_model.graph.rotary import inverse_frequencies


class Rotary:
    """Cosine and sine of every position of a context, float32 [context, head_dim] each.

    Both halves of a head turn by the same angles (Hugging Face's half-split layout); the sine of the first half is
    negative, so that a head turns as x * cos + swapped(x) * sin.
    """

    def __init__(
        self, config: ModelConfig, context: int, factors: torch.Tensor | None, device: torch.device | str
    ) -> None:
        frequencies = inverse_frequencies(config, None if factors is None else factors.numpy())
        angles = np.arange(context, dtype=np.float64)[:, None] * frequencies
        cosine, sine = (turn(angles).astype(np.float32) for turn in (np.cos, np.sin))
        self._halves = (cosine, sine)
        self.cosine = torch.from_numpy(np.concatenate([cosine, cosine], axis=1)).to(device)
        self.sine = torch.from_numpy(np.concatenate([-sine, sine], axis=1)).to(device)

    def at(self, positions: torch.Tensor, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        """Return cosine and sine [tokens, 1, head_dim] of positions int [tokens]."""
        cosine, sine = self.cosine[positions], self.sine[positions]
        return cosine[:, None].to(dtype), sine[:, None].to(dtype)

    def halves(self, positions: NDArray[np.int32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return cosine and sine of each pair, float32 [tokens, head_dim / 2], in host memory."""
        cosine, sine = self._halves
        return cosine[positions], sine[positions]


def rotate(heads: torch.Tensor, turn: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """Rotate [tokens, heads, head_dim]: element i turns with element i + head_dim / 2."""
    cosine, sine = turn
    half = heads.shape[-1] // 2
    swapped = torch.cat((heads[..., half:], heads[..., :half]), dim=-1)
    return torch.addcmul(heads * cosine, swapped, sine)
