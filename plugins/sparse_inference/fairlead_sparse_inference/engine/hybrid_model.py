"""A model whose hot neurons an accelerator computes while the processor computes the cold ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels import DecoderConfig, DecoderWeights, LayerWeights
from fairlead_kernels.hybrid import AcceleratedLayers

from ..accelerators import Accelerator, HotNeurons
from ..accelerators.interface import Network
from ..accelerators.split import divided
from .model import SparseModel

#: In place of weights that a layer's feed-forward source holds.
_NONE_HERE = {"gate": None, "up": None, "down_t": None, "gate_bias": None, "down_bias": None}


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
        layers.append(replace(layer, **_NONE_HERE, predictor=cold.predictor, feed_forward=source))
    return replace(weights, layers=tuple(layers))


def accelerated_streams(
    cold: DecoderWeights, config: DecoderConfig, accelerator: Accelerator, hot: Sequence[HotNeurons | None]
) -> DecoderWeights:
    """Give an accelerator the hot neurons of layers whose sources stream the others; None for layers without any."""
    sources = AcceleratedLayers(accelerator, config)
    layers: list[LayerWeights] = []
    for index, (layer, moved) in enumerate(zip(cold.layers, hot, strict=True)):
        if moved is None:
            layers.append(layer)
            continue
        accelerator.load(index, moved)
        layers.append(replace(layer, feed_forward=sources.layer(layer, index, len(moved))))
    return replace(cold, layers=tuple(layers))


class HybridModel(SparseModel):
    """A model of which an accelerator holds a part, and the processor the rest, in memory or streamed.

    Activations are not counted: the accelerator tells how many of its neurons fire, not which.
    """

    def __init__(self, model: SparseModel, accelerator: Accelerator, hot: Sequence[NDArray[np.bool_]]) -> None:
        """Move the hot neurons of a model in memory; see `accelerated`."""
        self._take(model, accelerator, accelerated(model.weights, model.decoder_config, accelerator, hot))

    @classmethod
    def streamed(cls, cold: SparseModel, accelerator: Accelerator, hot: Sequence[HotNeurons | None]) -> HybridModel:
        """Put the hot neurons beside a model that streams the others (PowerInfer-2); see `accelerated_streams`."""
        made = cls.__new__(cls)
        made._take(cold, accelerator, accelerated_streams(cold.weights, cold.decoder_config, accelerator, hot))
        return made

    def _take(self, model: SparseModel, accelerator: Accelerator, weights: DecoderWeights) -> None:
        self.__dict__.update(model.__dict__)
        self.accelerator, self.weights, self._counted = accelerator, weights, None

    @property
    def on_gpu(self) -> bool:
        """Whether the hot neurons lie in a GPU's memory."""
        return self.accelerator.name.startswith("cuda")


def network_of(model: SparseModel) -> Network:
    """Return what an accelerator is opened with."""
    config = model.decoder_config
    return Network(config.hidden, config.activation, config.threshold)
