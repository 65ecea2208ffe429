"""A model whose hot neurons an accelerator computes while the processor computes the cold ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels import DecoderConfig, DecoderWeights, LayerWeights
from fairlead_kernels.hybrid import AcceleratedLayers

from ..accelerators import Accelerator
from ..accelerators.interface import Network
from ..accelerators.split import divided
from .model import SparseModel


def accelerated(
    weights: DecoderWeights, config: DecoderConfig, accelerator: Accelerator, hot: Sequence[NDArray[np.bool_]]
) -> DecoderWeights:
    """Move the hot neurons, bool [neurons] by layer, to an accelerator; layers without any stay as they are.

    The rows are copied apart: what was moved need not stay in memory.

    Raises:
        ValueError: a layer's neurons are not packed in memory.
    """
    sources = AcceleratedLayers(accelerator, config)
    layers: list[LayerWeights] = []
    for index, (layer, mask) in enumerate(zip(weights.layers, hot, strict=True)):
        if not mask.any():
            layers.append(layer)
            continue
        cold, moved = divided(layer, mask)
        accelerator.load(index, moved)
        source = sources.layer(cold, index, len(moved))
        whole = {"gate": None, "up": None, "down_t": None, "gate_bias": None, "down_bias": None}
        layers.append(replace(layer, **whole, predictor=cold.predictor, feed_forward=source))
    return replace(weights, layers=tuple(layers))


class HybridModel(SparseModel):
    """A model in memory, of which an accelerator holds a part.

    Activations are not counted: the accelerator tells how many of its neurons fire, not which.
    """

    def __init__(self, model: SparseModel, accelerator: Accelerator, hot: Sequence[NDArray[np.bool_]]) -> None:
        """Move the hot neurons of a model; see `accelerated`."""
        self.__dict__.update(model.__dict__)
        self.accelerator, self._counted = accelerator, None
        self.weights = accelerated(model.weights, self.decoder_config, accelerator, hot)

    @property
    def on_gpu(self) -> bool:
        """Whether the hot neurons lie in a GPU's memory."""
        return self.accelerator.name.startswith("cuda")


def network_of(model: SparseModel) -> Network:
    """Return what an accelerator is opened with."""
    config = model.decoder_config
    return Network(config.hidden, config.activation, config.threshold)
