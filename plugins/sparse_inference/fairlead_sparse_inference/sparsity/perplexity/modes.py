"""The ways in which a feed-forward layer may leave neurons out, as the reference graph runs them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fairlead_language_model.config import ModelConfig
from fairlead_language_model.graph import LlamaGraph

from ..model import FloatArray, gate_and_activations
from ..networks import computed_neurons, routed


class Choice(Protocol):
    """Chooses neurons from a layer's normalized input [tokens, hidden]."""

    def predict(self, x: FloatArray) -> NDArray[np.bool_]:
        """Return which neurons are computed, [tokens, neurons]."""
        ...


@dataclass
class Shares:
    """How many neurons were kept and how many of those had a gate that is not zero, by layer.

    Shares are of the neurons that exact mode computes for a token: of a mixture those of the chosen experts.
    """

    neurons: Sequence[int]
    tokens: int = 0
    kept: NDArray[np.int64] = field(init=False)
    fired: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        """Start at zero."""
        self.kept, self.fired = (np.zeros(len(self.neurons), np.int64) for _ in range(2))

    def of(self, counts: NDArray[np.int64]) -> list[float]:
        """Return counts as shares of all, by layer."""
        return [
            round(float(count) / max(self.tokens * neurons, 1), 4)
            for count, neurons in zip(counts, self.neurons, strict=True)
        ]

    @classmethod
    def of_model(cls, config: ModelConfig) -> Shares:
        """Return empty counts of a model's layers."""
        return cls([computed_neurons(config, layer) for layer in range(config.num_hidden_layers)])


def layer_choices(graph: LlamaGraph, predictors: Mapping[str, Choice]) -> list[Choice]:
    """Return what chooses neurons in each layer from the predictors of networks; a network without one is exact."""
    layers = range(graph.config.num_hidden_layers)
    return [_LayerChoice(graph, layer, predictors) for layer in layers]


@dataclass(frozen=True, slots=True)
class _LayerChoice:
    graph: LlamaGraph
    layer: int
    predictors: Mapping[str, Choice]

    def predict(self, x: FloatArray) -> NDArray[np.bool_]:
        kept = np.zeros((len(x), self.graph.config.neurons(self.layer)), np.bool_)
        for network in routed(self.graph, self.layer, x):
            predictor = self.predictors.get(str(network.name))
            chosen = True if predictor is None else predictor.predict(x[network.tokens])
            kept[network.tokens, network.columns] = chosen
        return kept


class Predicted:
    """Predictor mode: neurons that are not predicted add nothing."""

    def __init__(self, graph: LlamaGraph, choices: Sequence[Choice]) -> None:
        self.graph, self.choices = graph, choices
        self.shares = Shares.of_model(graph.config)

    def __call__(self, layer: int, x: FloatArray) -> FloatArray:
        """Return a layer's activations with the others set to zero."""
        gate, activations = gate_and_activations(self.graph, layer, x)
        kept = self.choices[layer].predict(x)
        self.shares.tokens += len(x) if layer == 0 else 0
        self.shares.kept[layer] += int(kept.sum())
        self.shares.fired[layer] += int((kept & (gate != 0)).sum())
        return np.where(kept, activations, np.float32(0))


class Exact:
    """Exact mode: all gates are computed, up and down rows only where a gate is not zero."""

    def __init__(self, graph: LlamaGraph) -> None:
        self.graph = graph
        self.shares = Shares.of_model(graph.config)

    def __call__(self, layer: int, x: FloatArray) -> FloatArray:
        """Return a layer's activations."""
        gate, activations = gate_and_activations(self.graph, layer, x)
        self.shares.tokens += len(x) if layer == 0 else 0
        self.shares.kept[layer] += len(x) * self.shares.neurons[layer]
        self.shares.fired[layer] += int((gate != 0).sum())
        return activations
