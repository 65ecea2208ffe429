"""How much attention the tokens of sequences got that are not compressed yet, layer by layer."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from ..kernels.significance import relative


class Received:
    """Sums of the attention that a sequence's uncompressed tokens got from later ones.

    Args:
        layers: of the model.
        heads: query heads.
        known: tokens that were stored already when the sequence began, of whose attention nothing is known.
        device: of torch.
    """

    def __init__(self, layers: int, heads: int, known: int, device: torch.device) -> None:
        self._shape, self._device = (layers, heads), device
        self.known = known
        # One tensor a layer and length, as kernels add to arrays that lie together.
        self._sums: list[torch.Tensor | None] = [None] * layers

    def of(self, layer: int, tokens: int) -> torch.Tensor:
        """Return a layer's sums for so many tokens, float32 [heads, tokens], to be added to; earlier ones are kept."""
        had = self._sums[layer]
        if had is None or had.shape[1] != tokens:
            grown = torch.zeros((self._shape[1], tokens), device=self._device)
            if had is not None:
                grown[:, : had.shape[1]] = had[:, :tokens]
            self._sums[layer] = had = grown
        return had

    def significance(self, tokens: int, kv_heads: int, first: int) -> NDArray[np.float32]:
        """Return the relative significance of the tokens: float32 [layers, tokens, kv_heads].

        Args:
            tokens: that are stored.
            kv_heads: of a layer; of the query heads that share one the highest counts.
            first: position of the first of them.
        """
        sums = torch.stack([self.of(layer, tokens) for layer in range(self._shape[0])]).cpu().numpy()
        grouped = sums.reshape(self._shape[0], kv_heads, -1, tokens).max(axis=2)
        later = np.maximum(tokens - np.maximum(np.arange(tokens) + 1, self.known), 1)
        # The last one, to which none attends yet, is in the window whatever it gets.
        return relative((grouped / later).swapaxes(1, 2), first + np.arange(tokens)[:, None])
