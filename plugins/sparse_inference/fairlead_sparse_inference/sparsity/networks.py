"""The feed-forward networks of a layer as the tools see them: one, or a mixture's experts with the tokens they get."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels import Q8Matrix
from fairlead_language_model.config import ModelConfig
from fairlead_language_model.graph import LlamaGraph
from fairlead_language_model.graph.activation import combine, plain, relu
from fairlead_language_model.graph.feed_forward import route
from fairlead_language_model.graph.linear import linear

from ..bundle import NetworkName, layer_networks

FloatArray = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Routed:
    """One network of a layer, and what it gets of some tokens.

    Attributes:
        name: which it is; `first` is the number of its first neuron in the layer.
        weights: its matrices `gate`, `up` and `down` (what of a layer or an expert).
        tokens: the rows of the layer's input that are routed to it, int64 [n].
        shares: what its output counts for each, float32 [n].
    """

    name: NetworkName
    first: int
    weights: Any
    tokens: NDArray[np.int64]
    shares: FloatArray

    @property
    def columns(self) -> slice:
        """The neurons of the layer that are its own."""
        return slice(self.first, self.first + self.name.neurons)

    @property
    def first_matrix(self) -> Any:
        """What decides whether a neuron fires: the gate, or the first matrix of a network without one."""
        return self.weights.up if self.weights.gate is None else self.weights.gate

    @property
    def first_bias(self) -> FloatArray | None:
        """What is added to its products, or None."""
        name = "up_bias" if self.weights.gate is None else "gate_bias"
        return getattr(self.weights, name, None)

    @property
    def others(self) -> int:
        """Rows of a neuron beside that of the first matrix."""
        return 1 if self.weights.gate is None else 2

    def activations(self, config: ModelConfig, x: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return (gate after its activation, activations times shares), both [n, neurons], of its own
        inputs [n, hidden].

        The gate is the activations themselves where no gate is ever zero.
        """
        if self.weights.gate is None:
            up = linear(x, self.weights.up, self.weights.up_bias)
            active = plain(config.hidden_act, up, config.relu_threshold)
            return active, active
        biases = [getattr(self.weights, name, None) for name in ("gate_bias", "up_bias")]
        gate, up = linear(x, self.weights.gate, biases[0]), linear(x, self.weights.up, biases[1])
        weighed = combine(config.activation, gate, up, config.relu_threshold) * self.shares[:, None]
        if config.activation not in ("drelu", "relu"):
            return weighed, weighed
        return np.where(gate > np.float32(config.relu_threshold), relu(gate), np.float32(0)), weighed

    def down_norms(self) -> FloatArray:
        """Return the length [neurons] of what each neuron adds to the residual stream at activation 1."""
        down = self.weights.down
        wide = down.dequantize() if isinstance(down, Q8Matrix) else down
        return np.sqrt(np.square(wide).sum(axis=0, dtype=np.float32))


def routed(graph: LlamaGraph, layer: int, x: FloatArray) -> Iterator[Routed]:
    """Yield the networks of a layer with the tokens of its normalized input [tokens, hidden] that each computes."""
    weights, names = graph.weights.layers[layer], layer_networks(graph.config, layer)
    every, ones = np.arange(len(x), dtype=np.int64), np.ones(len(x), np.float32)
    mixture, experts = weights.mixture, graph.config.experts_in(layer)
    if mixture is None or experts is None:
        yield Routed(names[0], 0, weights, every, ones)
        return
    chosen, shares = route(experts, linear(x, mixture.router))
    first = 0
    for name, network in zip(names, mixture.networks, strict=True):
        if name.shared:
            assert mixture.shared_gate is not None
            share = np.float32(1) / (np.float32(1) + np.exp(-linear(x, mixture.shared_gate)[:, 0]))
            yield Routed(name, first, network, every, share)
        else:
            tokens, places = np.nonzero(chosen == name.expert)
            yield Routed(name, first, network, tokens, shares[tokens, places])
        first += name.neurons


def computed_neurons(config: ModelConfig, layer: int) -> int:
    """Return how many of a layer's neurons one token computes."""
    experts = config.experts_in(layer)
    return config.intermediate_size if experts is None else experts.active_neurons
