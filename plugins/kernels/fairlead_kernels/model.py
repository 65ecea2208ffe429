"""What a decoder is made of: its configuration and the weights that it borrows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels.checks import activation_code, array_of, threshold_value
from fairlead_kernels.feed_forward import FeedForwardSource, Matrix, check_matrix, check_network, neurons_of
from fairlead_kernels.mixture import MixtureWeights
from fairlead_kernels.predictor import Predictor
from fairlead_kernels.quantized import GROUP

F32 = NDArray[np.float32]
MODES = ("exact", "predictor")


@dataclass(frozen=True, slots=True)
class DecoderConfig:
    """The shape of a model.

    Attributes:
        vocabulary, hidden, heads, kv_heads, head_dim: sizes; hidden and heads * head_dim multiples of 32.
        activation: "drelu", "relu", "swiglu" or "geglu", see sparse_ffn_q8.
        threshold: 0 is exact; above 0 drops weak neurons (lossy).
        mode: "exact" computes every gate; "predictor" only those that a layer's predictor chooses, where it has one,
            and only while decoding: prompts stay dense.
        norm_epsilon: added under the norms' root.
        norm_first: whether blocks normalize their input, or else the sum of input and output.
        rope_theta: base of the rotary frequencies, unless the decoder is given the frequencies.
    """

    vocabulary: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    activation: str = "drelu"
    threshold: float = 0.0
    norm_epsilon: float = 1e-5
    rope_theta: float = 10000.0
    mode: str = "exact"
    norm_first: bool = True

    def __post_init__(self) -> None:
        for name in ("vocabulary", "hidden", "heads", "kv_heads", "head_dim"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: must be at least 1, got {getattr(self, name)}")
        if self.heads % self.kv_heads:
            raise ValueError(f"heads: must be a multiple of kv_heads {self.kv_heads}, got {self.heads}")
        if self.head_dim % 2:
            raise ValueError(f"head_dim: must be even, got {self.head_dim}")
        if self.hidden % GROUP or self.heads * self.head_dim % GROUP:
            raise ValueError(
                f"hidden and heads * head_dim: must be multiples of {GROUP}, got {self.hidden} and "
                f"{self.heads * self.head_dim}"
            )
        activation_code(self.activation)
        threshold_value(self.threshold)
        if self.mode not in MODES:
            raise ValueError(f"mode: must be one of {', '.join(MODES)}, got {self.mode!r}")

    @property
    def activation_code(self) -> int:
        """The activation as the extension numbers it."""
        return activation_code(self.activation)


@dataclass(frozen=True, eq=False, slots=True)
class LayerWeights:
    """One layer. Norms and biases are float32 vectors; matrices are [outputs, inputs], Q8 or packed.

    Attributes:
        attention_norm, feed_forward_norm: [hidden].
        query, key, value: [heads * head_dim, hidden], [kv_heads * head_dim, hidden] twice.
        output: [hidden, heads * head_dim].
        gate, up, down_t: [neurons, hidden], all Q8 or all packed (they may be views of one array of bundles); all None
            where another source or the caller computes this feed-forward. A network without gate (OPT:
            down(relu(fc1 x + gate_bias)) + down_bias) has its fc1 as gate, and up None.
        predictor: says which neurons to compute in the mode "predictor"; for packed gate, up and down_t only.
        gate_bias, down_bias: [neurons] and [hidden], or None.
        attention_norm_bias, feed_forward_norm_bias: [hidden], which makes the norms LayerNorms, or None.
        feed_forward: the source that computes the feed-forward in place of gate, up and down_t, or None.
        mixture: several networks and their router in place of all of these, or None.
        query_bias, key_bias, value_bias, output_bias: biases of the projections (Qwen2, OPT), or None.
        query_norm, key_norm: RMSNorm weights [head_dim] of each head before the rotation (Qwen3), or None.
    """

    attention_norm: F32
    query: Matrix
    key: Matrix
    value: Matrix
    output: Matrix
    feed_forward_norm: F32
    gate: Matrix | None = None
    up: Matrix | None = None
    down_t: Matrix | None = None
    query_bias: F32 | None = None
    key_bias: F32 | None = None
    value_bias: F32 | None = None
    query_norm: F32 | None = None
    key_norm: F32 | None = None
    output_bias: F32 | None = None
    gate_bias: F32 | None = None
    down_bias: F32 | None = None
    attention_norm_bias: F32 | None = None
    feed_forward_norm_bias: F32 | None = None
    predictor: Predictor | None = None
    feed_forward: FeedForwardSource | None = None
    mixture: MixtureWeights | None = None

    @property
    def neurons(self) -> int:
        """Number of neurons; 0 where the caller computes the feed-forward itself."""
        return neurons_of(self) if self.mixture is None else self.mixture.neurons

    def check(self, config: DecoderConfig, where: str) -> None:
        """Raise ValueError naming the first array that does not fit the configuration."""
        query, key = config.heads * config.head_dim, config.kv_heads * config.head_dim
        vectors = {"attention_norm": config.hidden, "feed_forward_norm": config.hidden}
        optional = {"query_bias": query, "key_bias": key, "value_bias": key}
        optional |= {"query_norm": config.head_dim, "key_norm": config.head_dim}
        optional |= dict.fromkeys(("output_bias", "attention_norm_bias", "feed_forward_norm_bias"), config.hidden)
        for name, size in (vectors | optional).items():
            if name in vectors or getattr(self, name) is not None:
                array_of(f"{where}.{name}", getattr(self, name), np.float32, (size,))
        shapes = {"query": (query, config.hidden), "key": (key, config.hidden), "value": (key, config.hidden)}
        shapes["output"] = (config.hidden, query)
        for name, shape in shapes.items():
            check_matrix(f"{where}.{name}", getattr(self, name), shape)
        if self.mixture is not None:
            self.mixture.check(config.hidden, f"{where}.mixture")
        check_network(self, config.hidden, where)


@dataclass(frozen=True, eq=False, slots=True)
class DecoderWeights:
    """A whole model; head None means that the embedding is also the output projection.

    Attributes:
        embedding: [vocabulary, hidden].
        layers: the layers in order.
        final_norm: float32 [hidden], or None where the last state is not normalized.
        head: [vocabulary, hidden] or None.
        final_norm_bias: float32 [hidden], which makes it a LayerNorm, or None.
        position_embedding: float32 [positions, hidden] that is added to the embedding, in place of rotation, or None.
    """

    embedding: Matrix
    layers: tuple[LayerWeights, ...]
    final_norm: F32 | None
    head: Matrix | None = None
    final_norm_bias: F32 | None = None
    position_embedding: F32 | None = None

    def check(self, config: DecoderConfig) -> None:
        """Raise ValueError naming the first array that does not fit the configuration."""
        table = (config.vocabulary, config.hidden)
        check_matrix("embedding", self.embedding, table)
        if self.head is not None:
            check_matrix("head", self.head, table)
        for name in ("final_norm", "final_norm_bias"):
            if getattr(self, name) is not None:
                array_of(name, getattr(self, name), np.float32, (config.hidden,))
        if self.position_embedding is not None:
            array_of("position_embedding", self.position_embedding, np.float32, (None, config.hidden))
        if not self.layers:
            raise ValueError("layers: must not be empty")
        for index, layer in enumerate(self.layers):
            layer.check(config, f"layers[{index}]")

    @property
    def nbytes(self) -> int:
        """Bytes of all matrices and predictors in memory (norms and biases left out)."""
        matrices: list[Any] = [self.embedding, self.head]
        for layer in self.layers:
            matrices += [layer.query, layer.key, layer.value, layer.output]
            if layer.mixture is not None:
                matrices.append(layer.mixture.router)
            for network in (layer,) if layer.mixture is None else layer.mixture.networks:
                matrices += [network.gate, network.up, network.down_t, network.predictor]
        return sum(matrix.nbytes for matrix in matrices if matrix is not None)
