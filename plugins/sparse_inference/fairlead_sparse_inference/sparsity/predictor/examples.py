"""What a predictor learns from: a network's inputs on real text, and what its neurons then did."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..model import FloatArray, ToolModel, layer_passes
from ..networks import Routed, routed

_CHUNK = 2048


def capture_inputs(model: ToolModel, rows: NDArray[np.int64], advance: Callable[..., None]) -> list[FloatArray]:
    """Return each layer's normalized feed-forward inputs, float32 [tokens, hidden], over windows of text."""
    tokens = rows.shape[0] * (rows.shape[1] - 1)
    kept = [np.empty((tokens, model.config.hidden_size), np.float32) for _ in range(model.config.num_hidden_layers)]
    place = 0

    def neurons(layer: int, x: FloatArray) -> FloatArray:
        kept[layer][place : place + len(x)] = x
        return model.graph.activations(layer, x)

    for targets, _ in layer_passes(model, rows, neurons):
        place += len(targets)
        advance()
    return kept


@dataclass(frozen=True, slots=True)
class Examples:
    """One network's inputs [tokens, hidden], and what each neuron adds to the layer's output, [tokens, neurons].

    `adds` is |activation| times the length of the neuron's down row, zero where it did not fire; `gates` counts gates
    that are not zero.
    """

    inputs: FloatArray
    adds: FloatArray
    gates: int

    @property
    def fires(self) -> NDArray[np.bool_]:
        """Which neurons add anything."""
        return self.adds > 0


def examples(model: ToolModel, layer: int, inputs: FloatArray) -> Iterator[tuple[Routed, Examples]]:
    """Yield a layer's networks with their examples, from its captured inputs: an expert's are the tokens that it gets.

    What a neuron of an expert adds is weighed as the router weighs the expert.
    """
    for network in routed(model.graph, layer, inputs):
        yield network, _examples(model, network, inputs[network.tokens])


def _examples(model: ToolModel, network: Routed, inputs: FloatArray) -> Examples:
    adds = np.empty((len(inputs), network.name.neurons), np.float32)
    norms, gates = network.down_norms(), 0
    for part in _chunks(len(inputs)):
        own = replace(network, shares=network.shares[part])
        gate, activations = own.activations(model.config, inputs[part])
        adds[part] = np.abs(activations) * norms
        gates += int((gate != 0).sum())
    return Examples(inputs, adds, gates)


def _chunks(size: int) -> Iterator[slice]:
    return (slice(start, start + _CHUNK) for start in range(0, size, _CHUNK))
