"""Neurons whose gate is weak are left out: how strong is strong enough, and what the graph does then."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fairlead_language_model.graph import LlamaGraph
from fairlead_language_model.graph.activation import combine
from fairlead_language_model.graph.llama_graph import linear

from ..model import FloatArray
from ..perplexity.modes import Shares


def gate_strength(graph: LlamaGraph, layer: int, x: FloatArray) -> FloatArray:
    """Return |act(gate x)| [tokens, neurons] of a layer's normalized input: what a threshold is held against."""
    weights = graph.weights.layers[layer]
    gate = linear(x, weights.gate, weights.gate_bias)
    name = "relu" if graph.config.activation == "drelu" else graph.config.activation
    return np.abs(combine(name, gate, np.ones_like(gate)))


class Cut:
    """Threshold mode: neurons whose gate does not exceed their layer's threshold add nothing."""

    def __init__(self, graph: LlamaGraph, thresholds: Sequence[float]) -> None:
        self.graph, self.thresholds = graph, thresholds
        self.shares = Shares.of_model(graph.config)

    def __call__(self, layer: int, x: FloatArray) -> FloatArray:
        """Return a layer's activations with the weak ones set to zero."""
        strong = gate_strength(self.graph, layer, x) > self.thresholds[layer]
        self.shares.tokens += len(x) if layer == 0 else 0
        # Every gate is computed; what is saved are up and down rows.
        self.shares.kept[layer] += strong.size
        self.shares.fired[layer] += int(strong.sum())
        return np.where(strong, self.graph.activations(layer, x), np.float32(0))


def layer_thresholds(graph: LlamaGraph, inputs: Sequence[FloatArray], levels: Sequence[float]) -> list[list[float]]:
    """Return for each wanted sparsity the thresholds of all layers: quantiles of gate strengths on captured inputs."""
    strengths = [np.quantile(gate_strength(graph, layer, rows), levels) for layer, rows in enumerate(inputs)]
    return [[float(np.float32(layer[number])) for layer in strengths] for number in range(len(levels))]
