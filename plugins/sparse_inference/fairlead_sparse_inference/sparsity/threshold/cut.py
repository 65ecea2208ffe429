"""Neurons whose gate is weak are left out: how strong is strong enough, and what the graph does then."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from fairlead_language_model.graph import LlamaGraph
from fairlead_language_model.graph.activation import combine, plain
from fairlead_language_model.graph.linear import linear

from ..model import FloatArray, gate_and_activations
from ..networks import Routed, routed
from ..perplexity.modes import Shares


def gate_strengths(graph: LlamaGraph, layer: int, x: FloatArray) -> Iterator[tuple[Routed, FloatArray]]:
    """Yield a layer's networks with |act(gate x)| [tokens, neurons] of the tokens that each gets of x [tokens, hidden].

    That is what a threshold is held against; of a network without gate it is the activation of its first matrix.
    """
    config = graph.config
    for network in routed(graph, layer, x):
        first = linear(x[network.tokens], network.first_matrix, network.first_bias)
        if network.weights.gate is None:
            yield network, np.abs(plain(config.hidden_act, first, config.relu_threshold))
        else:
            name = "relu" if config.activation == "drelu" else config.activation
            yield network, np.abs(combine(name, first, np.ones_like(first)))


class Cut:
    """Threshold mode: neurons whose gate does not exceed their layer's threshold add nothing."""

    def __init__(self, graph: LlamaGraph, thresholds: Sequence[float]) -> None:
        self.graph, self.thresholds = graph, thresholds
        self.shares = Shares.of_model(graph.config)

    def __call__(self, layer: int, x: FloatArray) -> FloatArray:
        """Return a layer's activations with the weak ones set to zero."""
        strong = np.zeros((len(x), self.graph.config.neurons(layer)), np.bool_)
        self.shares.tokens += len(x) if layer == 0 else 0
        for network, strength in gate_strengths(self.graph, layer, x):
            kept = strength > self.thresholds[layer]
            strong[network.tokens, network.columns] = kept
            # Every gate is computed; what is saved are the other rows.
            self.shares.kept[layer] += kept.size
            self.shares.fired[layer] += int(kept.sum())
        return np.where(strong, gate_and_activations(self.graph, layer, x)[1], np.float32(0))


def layer_thresholds(graph: LlamaGraph, inputs: Sequence[FloatArray], levels: Sequence[float]) -> list[list[float]]:
    """Return for each wanted sparsity the thresholds of all layers: quantiles of gate strengths on captured inputs.

    The experts of a layer have one threshold, over what the router gives them.
    """
    strengths = [
        np.quantile(np.concatenate([part.ravel() for _, part in gate_strengths(graph, layer, rows)]), levels)
        for layer, rows in enumerate(inputs)
    ]
    return [[float(np.float32(layer[number])) for layer in strengths] for number in range(len(levels))]
