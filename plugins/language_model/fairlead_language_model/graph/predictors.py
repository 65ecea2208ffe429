"""The activation predictors that PowerInfer's files and TurboSparse's checkpoints carry beside the model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..checkpoint import Checkpoint, Matrix
from ..errors import CheckpointError
from .activation import relu
from .linear import linear

_FIRST = "model.layers.{}.mlp.predictor.fc1.weight"
_SECOND = "model.layers.{}.mlp.predictor.fc2.weight"


@dataclass(frozen=True, slots=True)
class LayerPredictor:
    """A two-matrix network: `first` [rank, hidden] and `second` [neurons, rank] (PowerInfer, section 5.1)."""

    first: Matrix
    second: Matrix
    threshold: float

    def predicted(self, x: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Return which neurons are expected to fire, [tokens, neurons], from states x [tokens, hidden].

        PowerInfer's predictors look at the state before the feed-forward network's norm.
        """
        return linear(relu(linear(x, self.first)), self.second) >= np.float32(self.threshold)


def load_predictors(checkpoint: Checkpoint) -> tuple[LayerPredictor, ...] | None:
    """Read the predictors of all layers, or None where the checkpoint has none.

    Raises CheckpointError where some are missing or have another shape than the model asks for.
    """
    config, names = checkpoint.config, checkpoint.names()
    if _FIRST.format(0) not in names:
        return None
    return tuple(_load(checkpoint, layer) for layer in range(config.num_hidden_layers))


def _load(checkpoint: Checkpoint, layer: int) -> LayerPredictor:
    config, name = checkpoint.config, _FIRST.format(layer)
    shape = checkpoint.shape(name) if name in checkpoint.names() else ()
    if len(shape) != 2:
        raise CheckpointError(checkpoint.path, f"has shape {shape}; accepted: [rank, {config.hidden_size}]", name)
    first = checkpoint.matrix(name, (shape[0], config.hidden_size))
    second = checkpoint.matrix(_SECOND.format(layer), (config.intermediate_size, shape[0]))
    return LayerPredictor(first, second, checkpoint.predictor_threshold)
