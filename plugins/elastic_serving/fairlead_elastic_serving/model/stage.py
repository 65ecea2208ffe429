"""The layers that one instance computes, and the ends of the model."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from fairlead_language_model.config import ModelConfig

from .attention import Attention
from .batch import Batch
from .layers import Layer, rms_norm
from .native_layer import NativeLayer, computes, product
from .rotary import Rotary
from .weights import Ends


class Stage:
    """Layers whose weights stand in the arena, with embedding and output.

    Attributes:
        layers: the layers that are here; change it as they are given away or come back.
        attention: where keys and values are.

    Args:
        config: of the model.
        layers: by their numbers.
        ends: embedding, norm and output matrix.
        attention: where keys and values are.
        context: the longest sequence.
    """

    def __init__(
        self,
        config: ModelConfig,
        layers: Mapping[int, Layer | NativeLayer],
        ends: Ends,
        attention: Attention,
        context: int,
    ) -> None:
        self.config, self.layers, self.ends, self.attention = config, dict(layers), ends, attention
        device = ends.embedding.device
        self._rotary = Rotary(config, context, ends.rope_factors, device)
        self._device = device
        self._native = computes(config, ends.head.dtype, device)

    @torch.inference_mode()
    def embed(self, batch: Batch) -> torch.Tensor:
        """Return the states [tokens, hidden_size] before the first layer."""
        return F.embedding(self._put(batch.tokens), self.ends.embedding)

    @torch.inference_mode()
    def run(self, batch: Batch, hidden: torch.Tensor, layers: range) -> torch.Tensor:
        """Compute some layers one after the other, storing their keys and values.

        Args:
            batch: whose rows are those of ``layers``.
            hidden: [tokens, hidden_size], states before the first of them.
            layers: all of them here.

        Returns:
            the states after the last of them.
        """
        turn = self.layers[layers.start].turn(self._rotary, batch, hidden.dtype)
        attend = self.attention.begin(batch, layers)
        for layer in layers:
            hidden = self.layers[layer](hidden, turn, attend)
        return hidden

    @torch.inference_mode()
    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return logits float32 [rows, vocabulary] of states [rows, hidden_size] after the last layer."""
        normal = rms_norm(hidden, self.ends.norm, self.config.rms_norm_eps)
        if self._native:
            return product(self.ends.head, normal)
        return F.linear(normal, self.ends.head).float()

    @torch.inference_mode()
    def sampled(self, batch: Batch, hidden: torch.Tensor) -> torch.Tensor:
        """Return the logits that a batch asks for: float32 [samples, vocabulary]."""
        return self.logits(hidden[self._put(batch.samples)] if len(batch.samples) < len(hidden) else hidden)

    def _put(self, array: NDArray[np.integer]) -> torch.Tensor:
        return torch.from_numpy(array).to(self._device)
