"""What the experts of a mixture add to a model's size, from its config or GGUF header. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fairlead_language_model.gguf_header import GgufHeader


@dataclass(frozen=True, slots=True)
class FeedForwardSizes:
    """Neurons of a model's feed-forward networks, over all layers.

    Attributes:
        active: those that a token computes; of a mixture the chosen experts' and the shared ones'.
        all: those of all networks.
        largest: of the largest network.
        networks: how many there are.
        routers: rows [hidden] of all routers and gates of shared experts.
    """

    active: int
    all: int
    largest: int
    networks: int
    routers: int = 0

    @classmethod
    def dense(cls, layers: int, neurons: int) -> FeedForwardSizes:
        """Return the sizes of layers with one network each."""
        return cls(layers * neurons, layers * neurons, neurons, layers)

    @classmethod
    def mixture(
        cls, layers: int, sparse: int, dense_neurons: int, experts: int, chosen: int, neurons: int, shared: int
    ) -> FeedForwardSizes:
        """Return the sizes of a model of which so many layers have experts.

        Raises:
            ValueError: more experts are to be chosen than there are.
        """
        if not 1 <= chosen <= experts:
            raise ValueError(f"num_experts_per_tok = {chosen}: accepted: 1 to {experts}, the number of experts")
        dense = cls.dense(layers - sparse, dense_neurons)
        return cls(
            active=dense.active + sparse * (chosen * neurons + shared),
            all=dense.all + sparse * (experts * neurons + shared),
            largest=max(neurons, shared, dense_neurons if sparse < layers else 0),
            networks=dense.networks + sparse * (experts + (1 if shared else 0)),
            routers=sparse * (experts + (1 if shared else 0)),
        )


def sizes_of_config(written: dict[str, Any], layers: int, neurons: int) -> FeedForwardSizes:
    """Return the sizes that a config.json describes; `neurons` are those of its dense network.

    Raises:
        KeyError, TypeError, ValueError: a field is missing or does not fit.
    """
    names = ("num_local_experts", "num_experts", "moe_num_primary_experts")
    experts = int(next((written[name] for name in names if written.get(name)), 1))
    if experts == 1:
        return FeedForwardSizes.dense(layers, neurons)
    step, dense = int(written.get("decoder_sparse_step") or 1), set(written.get("mlp_only_layers") or ())
    return FeedForwardSizes.mixture(
        layers,
        sum(layer not in dense and (layer + 1) % step == 0 for layer in range(min(layers, 1 << 16))),
        neurons,
        experts,
        int(written.get("moe_num_active_primary_experts") or written["num_experts_per_tok"]),
        int(written.get("moe_intermediate_size") or neurons),
        int(written.get("shared_expert_intermediate_size") or 0),
    )


def sizes_of_gguf(header: GgufHeader, layers: int, neurons: int) -> FeedForwardSizes:
    """Return the sizes that a GGUF header describes; all of its layers are taken to have experts, if any has.

    Raises:
        KeyError, ValueError: a number is missing or does not fit.
    """
    experts = header.number_or("expert_count", 1)
    if experts == 1:
        return FeedForwardSizes.dense(layers, neurons)
    shared = header.number_or("expert_shared_feed_forward_length", 0)
    size = header.number_or("expert_feed_forward_length", neurons)
    return FeedForwardSizes.mixture(layers, layers, neurons, experts, header.number("expert_used_count"), size, shared)
