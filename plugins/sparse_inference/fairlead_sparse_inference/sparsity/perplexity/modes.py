"""The ways in which a feed-forward layer may leave neurons out, as the reference graph runs them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fairlead_language_model.graph import LlamaGraph

from ..model import FloatArray, gate_and_activations


class Choice(Protocol):
    """Chooses neurons from a layer's normalized input [tokens, hidden]."""

    def predict(self, x: FloatArray) -> NDArray[np.bool_]:
        """Return which neurons are computed, [tokens, neurons]."""
        ...


@dataclass
class Shares:
    """How many neurons were kept and how many of those had a gate that is not zero, by layer."""

    layers: int
    neurons: int
    tokens: int = 0
    kept: NDArray[np.int64] = field(init=False)
    fired: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        """Start at zero."""
        self.kept, self.fired = (np.zeros(self.layers, np.int64) for _ in range(2))

    def of(self, counts: NDArray[np.int64]) -> list[float]:
        """Return counts as shares of all neurons, by layer."""
        total = max(self.tokens * self.neurons, 1)
        return [round(float(count) / total, 4) for count in counts]


class Predicted:
    """Predictor mode: neurons that are not predicted add nothing."""

    def __init__(self, graph: LlamaGraph, choices: Sequence[Choice]) -> None:
        self.graph, self.choices = graph, choices
        self.shares = Shares(len(choices), graph.config.intermediate_size)

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
        self.shares = Shares(graph.config.num_hidden_layers, graph.config.intermediate_size)

    def __call__(self, layer: int, x: FloatArray) -> FloatArray:
        """Return a layer's activations."""
        gate, activations = gate_and_activations(self.graph, layer, x)
        self.shares.tokens += len(x) if layer == 0 else 0
        self.shares.kept[layer] += activations.size
        self.shares.fired[layer] += int((gate != 0).sum())
        return activations
