"""A decoder layer on a processor: the same mathematics as `layers.Layer`, in the native kernels.

Two calls a layer, one before attention and one after it, on the kernels' own threads; a token's bits depend neither on
those nor on what is computed with it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from fairlead_language_model.config import ModelConfig

from .attention import NativePagedStep
from .batch import Batch
from .layers import StepAttention
from .layout import LayerLayout
from .rotary import Rotary

Turn = tuple[np.ndarray, np.ndarray]


def computes(config: ModelConfig, dtype: torch.dtype, device: torch.device) -> bool:
    """Return whether the native kernels are there and have all that a model's layers need."""
    if device.type != "cpu" or dtype != torch.float32 or config.ffn == "plain":
        return False
    from fairlead_kernels.backend import extension
    from fairlead_kernels.dense_layer import ACTIVATIONS

    return config.activation in ACTIVATIONS and hasattr(extension(), "DenseLayer")


class NativeLayer:
    """A layer whose weights are views of its pages; see `layers.Layer` for what it takes."""

    def __init__(self, config: ModelConfig, number: int, layout: LayerLayout, flat: torch.Tensor) -> None:
        from fairlead_kernels.dense_layer import DenseLayer

        self.number = number
        self.weights = layout.views(flat)
        self._layer: Any = DenseLayer(
            {name: weight.numpy() for name, weight in self.weights.items()},
            heads=config.num_attention_heads,
            kv_heads=config.num_key_value_heads,
            head_dim=config.head_dim,
            epsilon=config.rms_norm_eps,
            activation=config.activation,
            threshold=config.relu_threshold,
        )

    def turn(self, rotary: Rotary, batch: Batch, dtype: torch.dtype) -> Turn:
        """Return what turns a batch's heads to their positions."""
        return rotary.halves(batch.positions)

    def __call__(self, hidden: torch.Tensor, turn: Turn, attend: StepAttention) -> torch.Tensor:
        """Return the next states [tokens, hidden_size]; `turn` is what the method of that name gives."""
        state = hidden.contiguous().numpy()
        vectors = self._layer.before(state, *turn)
        if isinstance(attend, NativePagedStep):
            seen, _ = attend.attend_arrays(self.number, *vectors)
        else:
            seen = attend(self.number, *map(torch.from_numpy, vectors)).contiguous().numpy()
        return torch.from_numpy(self._layer.after(state, seen))


def product(matrix: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Return x [rows, columns] times a float32 matrix [outputs, columns] transposed, by the native kernels."""
    from fairlead_kernels.dense_layer import multiply_floats

    return torch.from_numpy(multiply_floats(matrix.numpy(), x.contiguous().numpy()))
