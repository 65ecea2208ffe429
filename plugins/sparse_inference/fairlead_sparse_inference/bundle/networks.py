"""Which feed-forward networks a model has, and what a bundle calls them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fairlead_language_model.config import ModelConfig


@dataclass(frozen=True, slots=True)
class NetworkName:
    """One network: a layer's only one (both None), one expert's, or the shared expert's.

    Attributes:
        layer: the layer that it belongs to.
        neurons: rows of each of its matrices.
        expert: the expert's number, or None.
        shared: whether it is the one that all tokens share.
    """

    layer: int
    neurons: int
    expert: int | None = None
    shared: bool = False

    def __str__(self) -> str:
        """Return "layers.N", "layers.N.experts.E" or "layers.N.shared_expert"."""
        if self.shared:
            return f"layers.{self.layer}.shared_expert"
        return f"layers.{self.layer}" + ("" if self.expert is None else f".experts.{self.expert}")


def layer_networks(config: ModelConfig, layer: int) -> tuple[NetworkName, ...]:
    """Return the networks of a layer in the order of its neurons: the experts', then the shared one."""
    experts = config.experts_in(layer)
    if experts is None:
        return (NetworkName(layer, config.intermediate_size),)
    size, shared = experts.moe_intermediate_size, experts.shared_expert_intermediate_size
    chosen = tuple(NetworkName(layer, size, expert) for expert in range(experts.num_experts))
    return (*chosen, NetworkName(layer, shared, shared=True)) if shared else chosen


def all_networks(config: ModelConfig) -> Iterator[NetworkName]:
    """Yield all networks of a model, layer by layer: the order in which they lie in a bundle."""
    for layer in range(config.num_hidden_layers):
        yield from layer_networks(config, layer)
