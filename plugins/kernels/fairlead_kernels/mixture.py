"""A layer with several feed-forward networks, of which a router chooses a few for each token."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels.checks import array_of
from fairlead_kernels.feed_forward import NetworkWeights, check_network

F32 = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class MixtureWeights:
    """The experts of one layer and what chooses among them (Mixtral, section 2.1; Qwen2-MoE's shared expert).

    A softmax over the products with the router (or the sigmoid of each) weighs the experts. The largest are computed
    and summed, in the order of the experts; of equals the first are chosen.

    Attributes:
        router: float32 [experts, hidden].
        experts: the networks, each with its own number of neurons.
        chosen: experts that are computed for a token.
        renormalize: whether the chosen experts' weights are rescaled to the sum 1.
        sigmoid: the weights are sigmoids rather than a softmax.
        before_attention: the router looks at the layer's state before its attention and norms (SmallThinker), not at
            the input of the networks.
        shared: a network that is computed for every token, or None.
        shared_gate: float32 [hidden], the row whose sigmoid weighs the shared network, given where there is one.
    """

    router: F32
    experts: tuple[NetworkWeights, ...]
    chosen: int
    renormalize: bool = True
    shared: NetworkWeights | None = None
    shared_gate: F32 | None = None
    sigmoid: bool = False
    before_attention: bool = False

    @property
    def networks(self) -> tuple[NetworkWeights, ...]:
        """The experts, then the shared network."""
        return self.experts if self.shared is None else (*self.experts, self.shared)

    @cached_property
    def first(self) -> tuple[int, ...]:
        """The number of the first neuron of each network, then that of all neurons."""
        return tuple(np.cumsum([0, *(network.neurons for network in self.networks)]).tolist())

    @property
    def neurons(self) -> int:
        """Neurons of all networks."""
        return self.first[-1]

    def check(self, hidden: int, where: str) -> None:
        """Raise ValueError naming the first part that does not fit."""
        if not 1 <= self.chosen <= len(self.experts):
            raise ValueError(f"{where}.chosen: must be 1..{len(self.experts)}, got {self.chosen}")
        array_of(f"{where}.router", self.router, np.float32, (len(self.experts), hidden))
        if (self.shared is None) != (self.shared_gate is None):
            raise ValueError(f"{where}.shared_gate: must be given exactly where there is a shared expert")
        if self.shared_gate is not None:
            array_of(f"{where}.shared_gate", self.shared_gate, np.float32, (hidden,))
        for index, network in enumerate(self.networks):
            name = f"{where}.experts[{index}]" if index < len(self.experts) else f"{where}.shared"
            if not network.neurons:
                raise ValueError(f"{name}: must have gate, up and down_t, or a feed_forward")
            check_network(network, hidden, name)
