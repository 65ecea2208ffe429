"""The shape of a synthetic model, and where its states lie in the residual stream."""

from __future__ import annotations

from dataclasses import dataclass

GROUP = 32
#: Tokens 0 to 2 are unknown, begin and end, then come 256 bytes; what follows is walked in a cycle.
FIRST_STATE = 259


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of a Llama with a ReLU gate. The key and value heads are a quarter of the heads.

    Attributes:
        hidden, neurons, layers, heads, vocabulary: sizes, hidden a multiple of 128.
        active: mean share of the neurons that are active for a token.
    """

    hidden: int
    neurons: int
    layers: int
    heads: int
    vocabulary: int
    active: float = 0.1

    @property
    def kv_heads(self) -> int:
        """Key and value heads."""
        return self.heads // 4

    @property
    def head_dim(self) -> int:
        """Columns of a head."""
        return self.hidden // self.heads

    @property
    def key_size(self) -> int:
        """Columns of all key heads."""
        return self.kv_heads * self.head_dim

    @property
    def states(self) -> int:
        """Tokens in the cycle."""
        return self.vocabulary - FIRST_STATE

    @property
    def rank(self) -> int:
        """Hidden size of a layer's predictor."""
        return self.hidden // 4

    @property
    def predicted_components(self) -> int:
        """Components that the predictor sees: each takes two of its hidden units, the constant a group of them."""
        return self.rank // 2 - GROUP

    def components(self, source_layers: int) -> int:
        """Columns of the residual stream for each layer of the real model: whole groups, an eighth left for noise."""
        return (self.hidden * 7 // 8 - GROUP) // source_layers // GROUP * GROUP

    @property
    def parameters(self) -> int:
        """Weights, without the predictors."""
        attention = 2 * self.hidden * (self.hidden + self.key_size)
        return self.layers * (attention + 3 * self.hidden * self.neurons) + 2 * self.vocabulary * self.hidden

    def successor(self, token: int) -> int:
        """The token that follows in the cycle."""
        return FIRST_STATE + (token - FIRST_STATE + 1) % self.states


FULL = Shape(hidden=2048, neurons=8192, layers=16, heads=32, vocabulary=4096)
SMALL = Shape(hidden=512, neurons=2048, layers=4, heads=8, vocabulary=1024)
