"""Feed-forward networks: gated, plain, or a mixture of gated experts.

A mixture is one wide network whose neurons are those of all experts in order, then of the shared expert: what a router
leaves out is zero, and the weights of experts are taken into the activations.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..config import ModelConfig
from ..experts import Experts
from .activation import combine, plain
from .attention import softmax
from .linear import linear
from .weights import ExpertWeights, LayerWeights, MixtureWeights

FloatArray = NDArray[np.float32]


def activations(
    config: ModelConfig, weights: LayerWeights, x: FloatArray, router_input: FloatArray | None = None
) -> FloatArray:
    """Return the activations [tokens, neurons of the layer] of normalized inputs [tokens, hidden_size].

    `router_input` is the state before the attention, for a router that looks at that.
    """
    if weights.mixture is not None:
        return _mixture_activations(config, weights.mixture, x, x if router_input is None else router_input)
    assert weights.up is not None
    up = linear(x, weights.up, weights.up_bias)
    if weights.gate is None:
        return plain(config.hidden_act, up, config.relu_threshold)
    return combine(config.activation, linear(x, weights.gate, weights.gate_bias), up, config.relu_threshold)


def project(config: ModelConfig, weights: LayerWeights, active: FloatArray) -> FloatArray:
    """Return the network's output [tokens, hidden_size] from its activations."""
    if weights.mixture is not None:
        return _mixture_project(config, weights.mixture, active)
    assert weights.down is not None
    return linear(active, weights.down, weights.down_bias)


def route(experts: Experts, logits: FloatArray) -> tuple[NDArray[np.int64], FloatArray]:
    """Return the chosen experts and their weights, each [tokens, num_experts_per_tok], from logits [tokens, experts].

    Largest first; of equals the first (Mixtral, section 2.1).
    """
    shares = np.float32(1) / (np.float32(1) + np.exp(-logits)) if experts.sigmoid_scores else softmax(logits)
    chosen = np.argsort(-shares, axis=-1, kind="stable")[:, : experts.num_experts_per_tok]
    weights = np.take_along_axis(shares, chosen, axis=-1)
    if experts.norm_topk_prob:
        weights = weights / weights.sum(axis=-1, keepdims=True)
    return chosen, weights


def _mixture_activations(
    config: ModelConfig, weights: MixtureWeights, x: FloatArray, router_input: FloatArray
) -> FloatArray:
    experts = config.experts
    assert experts is not None
    chosen, shares = route(experts, linear(router_input, weights.router))
    size = experts.moe_intermediate_size
    out = np.zeros((x.shape[0], experts.neurons), np.float32)
    for expert in np.unique(chosen):
        tokens, places = np.nonzero(chosen == expert)
        active = _expert_activations(config, weights.experts[expert], x[tokens])
        out[tokens, expert * size : (expert + 1) * size] = active * shares[tokens, places, None]
    if weights.shared is not None and weights.shared_gate is not None:
        share = np.float32(1) / (np.float32(1) + np.exp(-linear(x, weights.shared_gate)))
        out[:, experts.num_experts * size :] = _expert_activations(config, weights.shared, x) * share
    return out


def _mixture_project(config: ModelConfig, weights: MixtureWeights, active: FloatArray) -> FloatArray:
    experts = config.experts
    assert experts is not None
    size, end = experts.moe_intermediate_size, experts.num_experts * experts.moe_intermediate_size
    stacked = active[:, :end].reshape(active.shape[0], experts.num_experts, size)
    # Every expert that has a neuron active for some token.
    used = [int(expert) for expert in np.flatnonzero(stacked.any(axis=(0, 2)))]
    shared = [] if weights.shared is None else [linear(active[:, end:], weights.shared.down)]
    parts = [linear(stacked[:, expert], weights.experts[expert].down) for expert in used] + shared
    return sum(parts, np.zeros((active.shape[0], config.hidden_size), np.float32))


def _expert_activations(config: ModelConfig, weights: ExpertWeights, x: FloatArray) -> FloatArray:
    return combine(config.activation, linear(x, weights.gate), linear(x, weights.up), config.relu_threshold)
