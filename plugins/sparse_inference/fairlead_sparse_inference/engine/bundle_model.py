"""Reads a bundle directory as the decoder's weights: neurons behind a cache, or all of them in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels import DecoderWeights, LayerWeights, MixtureWeights, NetworkWeights, PackedMatrix, Predictor
from fairlead_kernels.streamed import BundleShape, NeuronStore, StreamOptions
from fairlead_language_model.config import ModelConfig
from fairlead_language_model.errors import CheckpointError, ConfigError
from fairlead_language_model.gguf_names import ROPE_FREQUENCY_FACTORS
from fairlead_language_model.graph.q8_decoder import decoder_config, why_not_q8
from fairlead_language_model.hf_config import read_hf_config

from ..accelerators.split import restricted
from ..bundle import Bundle, Network, NetworkName, all_networks, layer_networks, open_bundle
from .errors import ModelUnsupported

EXACT, PREDICTOR = "exact", "predictor"
_ACTIVATIONS = {"drelu": "drelu", "relu": "relu", "silu": "swiglu", "gelu_tanh": "geglu"}
_VECTORS = {
    "query_bias": "self_attn.q_proj.bias",
    "key_bias": "self_attn.k_proj.bias",
    "value_bias": "self_attn.v_proj.bias",
    "output_bias": "self_attn.o_proj.bias",
    "attention_norm_bias": "input_layernorm.bias",
    "feed_forward_norm_bias": "post_attention_layernorm.bias",
    "query_norm": "self_attn.q_norm.weight",
    "key_norm": "self_attn.k_norm.weight",
}


@dataclass(frozen=True, slots=True)
class BundleModel:
    """A bundle as the engine takes it; `store` is None where all neurons are in memory."""

    config: ModelConfig
    weights: DecoderWeights
    rope_factors: NDArray[np.float32] | None
    store: NeuronStore | None


def load_bundle(
    path: Path,
    *,
    mode: str,
    streamed: bool,
    options: StreamOptions | None = None,
    elsewhere: Sequence[int] | None = None,
) -> BundleModel:
    """Read the resident part, and open the file of neurons with room for all of them; none of them is read yet.

    Args:
        path, mode, streamed, options: see `SparseModel.load`.
        elsewhere: how many of each network's first places in the file an accelerator computes, whole clusters of them
            and never all: its source knows the others only, counted anew. Only where neurons are streamed.

    Raises:
        LanguageModelError: a file is missing, damaged or does not fit the config; names it.
        ModelUnsupported: the kernels lack a part of this model, or it has no predictors for that mode.
    """
    bundle, config = open_bundle(path), read_hf_config(path / "config.json")
    _require_supported(bundle, config, mode)
    networks = [_network(bundle, config, name) for name in all_networks(config)]
    # All gates of a mixture are many times what its tokens use: they are read with their experts.
    resident_gates = mode == EXACT and config.experts is None
    moved = elsewhere or [0] * len(networks)
    store = _store(bundle, networks, moved, resident_gates, options) if streamed else None
    places = {network.name: i for i, network in enumerate(networks)}
    read = _Reader(
        bundle, config, store, mode, places, [_Part.of(bundle, *pair) for pair in zip(networks, moved, strict=True)]
    )
    layers = tuple(map(read.layer, range(config.num_hidden_layers)))
    head = None if config.tie_word_embeddings else _packed(bundle, "lm_head.weight")
    weights = DecoderWeights(
        _packed(bundle, "model.embed_tokens.weight"),
        layers,
        _vector(bundle, "model.norm.weight") if config.final_norm else None,
        head,
        _optional(bundle, "model.norm.bias"),
        _positions(bundle, config) if config.positions == "learned" else None,
    )
    try:
        weights.check(decoder_config(config))
    except ValueError as error:
        raise CheckpointError(path, f"does not fit its config.json: {error}") from None
    return BundleModel(config, weights, _optional(bundle, ROPE_FREQUENCY_FACTORS), store)


def _require_supported(bundle: Bundle, config: ModelConfig, mode: str) -> None:
    reason = why_not_q8(config)
    if reason is not None:
        raise ModelUnsupported(f"{bundle.path}: the kernels do not take {reason}")
    if mode == PREDICTOR and not any(name.endswith(".predictor.a") for name in bundle.tensor_names):
        raise ModelUnsupported(f"{bundle.path}: mode {mode}: the bundle has no predictors; accepted: {EXACT}")


def _network(bundle: Bundle, config: ModelConfig, wanted: NetworkName) -> Network:
    name, file = str(wanted), bundle.path / "bundle.json"
    network = bundle.networks.get(name)
    if network is None:
        accepted = f"one named {name} for each layer" if config.experts is None else f"one named {name}"
        raise ConfigError(file, "networks", sorted(bundle.networks)[:4], accepted)
    if network.neurons != wanted.neurons:
        raise ConfigError(file, f"{name}.neurons", network.neurons, f"{wanted.neurons}, as in config.json")
    matrices = 2 if config.ffn == "plain" else 3
    if bundle.layout.matrices != matrices:
        raise ConfigError(file, "matrices", bundle.layout.matrices, f"{matrices}, as config.json's architecture has")
    if bundle.layout.hidden != config.hidden_size:
        raise ConfigError(file, "hidden", bundle.layout.hidden, f"{config.hidden_size}, as in config.json")
    return network


@dataclass(frozen=True, slots=True)
class _Part:
    """The neurons of a network that the processor computes.

    Attributes:
        first: its first place in the file.
        neurons: which neurons of the network they are, ascending; None for all.
        order: int32, which of them is at each place.
    """

    first: int
    neurons: NDArray[np.int64] | None
    order: NDArray[np.int32]

    @classmethod
    def of(cls, bundle: Bundle, network: Network, moved: int) -> _Part:
        order = bundle.order(network.name)
        if not moved:
            return cls(0, None, order)
        neurons = np.sort(order[moved:]).astype(np.int64)
        return cls(moved, neurons, np.searchsorted(neurons, order[moved:]).astype(np.int32))

    def of_neurons(self, values: NDArray[np.float32] | None) -> NDArray[np.float32] | None:
        """Its part of what has an entry for each neuron."""
        return values if values is None or self.neurons is None else values[self.neurons]

    def predictor(self, whole: Predictor | None) -> Predictor | None:
        return whole if self.neurons is None else restricted(whole, self.neurons)


def _store(
    bundle: Bundle, networks: list[Network], moved: Sequence[int], resident_gates: bool, options: StreamOptions | None
) -> NeuronStore:
    layout = bundle.layout
    shape = BundleShape(
        layout.hidden,
        layout.bits,
        layout.cluster_neurons,
        layout.cluster_bytes,
        tuple(
            (network.offset + first * layout.stride, network.neurons - first, max(0, network.hot - first))
            for network, first in zip(networks, moved, strict=True)
        ),
        resident_gates=resident_gates,
        matrices=layout.matrices,
    )
    return NeuronStore(bundle.neurons_file, shape, shape.full_slots, options)


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads layers; `places` are the numbers of networks in the store, `parts` what is computed here of each."""

    bundle: Bundle
    config: ModelConfig
    store: NeuronStore | None
    mode: str
    places: dict[str, int]
    parts: list[_Part]

    def layer(self, layer: int) -> LayerWeights:
        bundle, prefix = self.bundle, f"model.layers.{layer}."
        optional = {f: prefix + name for f, name in _VECTORS.items() if prefix + name in bundle.tensor_names}
        return LayerWeights(
            attention_norm=_vector(bundle, prefix + "input_layernorm.weight"),
            query=_packed(bundle, prefix + "self_attn.q_proj.weight"),
            key=_packed(bundle, prefix + "self_attn.k_proj.weight"),
            value=_packed(bundle, prefix + "self_attn.v_proj.weight"),
            output=_packed(bundle, prefix + "self_attn.o_proj.weight"),
            feed_forward_norm=_vector(bundle, prefix + "post_attention_layernorm.weight"),
            **{field: _vector(bundle, name) for field, name in optional.items()},
            **self._feed_forward(layer),
        )

    def _feed_forward(self, layer: int) -> dict[str, Any]:
        experts, networks = self.config.experts_in(layer), layer_networks(self.config, layer)
        if experts is None:
            return self._network(networks[0])
        made, prefix = [NetworkWeights(**self._network(name)) for name in networks], f"model.layers.{layer}.mlp."
        shared = networks[-1].shared
        mixture = MixtureWeights(
            router=_vector(self.bundle, prefix + "gate.weight"),
            experts=tuple(made[: experts.num_experts]),
            chosen=experts.num_experts_per_tok,
            renormalize=experts.norm_topk_prob,
            sigmoid=experts.sigmoid_scores,
            before_attention=experts.router_before_attention,
            shared=made[-1] if shared else None,
            shared_gate=_vector(self.bundle, prefix + "shared_expert_gate.weight").reshape(-1) if shared else None,
        )
        return {"mixture": mixture}

    def _network(self, network: NetworkName) -> dict[str, Any]:
        name = str(network)
        part = self.parts[self.places[name]]
        predictor = part.predictor(self._predictor(network)) if self.mode == PREDICTOR else None
        prefix = f"model.layers.{network.layer}.mlp."
        biases = {
            "gate_bias": part.of_neurons(_optional(self.bundle, prefix + "up_proj.bias")),
            "down_bias": _optional(self.bundle, prefix + "down_proj.bias"),
        }
        if self.store is None:
            return {**self.bundle.rows(name, apart=self.mode == EXACT), **biases, "predictor": predictor}
        source = self.store.feed_forward(
            self.places[name],
            part.order,
            _ACTIVATIONS[self.config.activation],
            gates=_gates(self.bundle, name, part) if self.store.shape.resident_gates else None,
            predictor=predictor,
            threshold=self.config.relu_threshold,
            **biases,
        )
        return {"feed_forward": source, "predictor": predictor}

    def _predictor(self, network: NetworkName) -> Predictor | None:
        """An expert that was seen too seldom to train one has none, and is computed exactly."""
        bundle, prefix = self.bundle, f"{network}.predictor."
        if network.expert is not None and prefix + "a" not in bundle.tensor_names:
            return None
        threshold = _vector(bundle, prefix + "threshold")
        if threshold.size != 1:
            raise CheckpointError(bundle.path, f"has {threshold.size} values; accepted: 1", prefix + "threshold")
        predictor = Predictor(
            _packed(bundle, prefix + "a"),
            _packed(bundle, prefix + "b"),
            _vector(bundle, prefix + "bias"),
            float(threshold.reshape(-1)[0]),
        )
        try:
            predictor.check(self.config.hidden_size, network.neurons, prefix.removesuffix("."))
        except ValueError as error:
            raise CheckpointError(bundle.path, str(error)) from None
        return predictor


def _gates(bundle: Bundle, name: str, part: _Part) -> PackedMatrix:
    """The gate rows of a network in the order of neurons, and nothing else of it in memory."""
    network, layout, order = bundle.networks[name], bundle.layout, part.order
    size = layout.network_bytes(network.neurons)
    mapped = np.memmap(bundle.neurons_file, np.uint8, "r", network.offset, (size,))
    gates = bundle.memory.empty(len(order), layout.row_bytes)
    gates[order] = mapped.reshape(-1, layout.stride)[part.first : network.neurons, : layout.row_bytes]
    return PackedMatrix(gates, layout.hidden, layout.bits)


def _packed(bundle: Bundle, name: str) -> PackedMatrix:
    stored = bundle.tensor(name)
    if not isinstance(stored, PackedMatrix):
        raise CheckpointError(bundle.path, "is not packed; accepted: packed with 4 or 8 bits", name)
    # In memory of our own: pages of a mapped file may be taken away and come back one by one.
    return PackedMatrix(bundle.memory.copy(stored.data), stored.columns, stored.bits)


def _vector(bundle: Bundle, name: str) -> NDArray[np.float32]:
    stored = bundle.tensor(name)
    if isinstance(stored, PackedMatrix) or stored.dtype != np.float32:
        raise CheckpointError(bundle.path, "accepted: float32", name)
    return np.array(stored)


def _optional(bundle: Bundle, name: str) -> NDArray[np.float32] | None:
    return _vector(bundle, name) if name in bundle.tensor_names else None


def _positions(bundle: Bundle, config: ModelConfig) -> NDArray[np.float32]:
    return np.ascontiguousarray(_vector(bundle, "model.embed_positions.weight")[config.position_offset :])
