"""Reads a bundle directory as the decoder's weights: neurons behind a cache, or all of them in memory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels import DecoderWeights, LayerWeights, PackedMatrix, Predictor
from fairlead_kernels.streamed import BundleShape, NeuronStore, StreamOptions
from fairlead_language_model.config import ModelConfig
from fairlead_language_model.errors import CheckpointError, ConfigError
from fairlead_language_model.gguf_names import ROPE_FREQUENCY_FACTORS
from fairlead_language_model.graph.q8_decoder import decoder_config, why_not_q8
from fairlead_language_model.hf_config import read_hf_config

from ..bundle import Bundle, Network, open_bundle
from .errors import ModelUnsupported

EXACT, PREDICTOR = "exact", "predictor"
_ACTIVATIONS = {"drelu": "drelu", "relu": "relu", "silu": "swiglu", "gelu_tanh": "geglu"}
_VECTORS = {
    "query_bias": "self_attn.q_proj.bias",
    "key_bias": "self_attn.k_proj.bias",
    "value_bias": "self_attn.v_proj.bias",
    "output_bias": "self_attn.o_proj.bias",
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


def load_bundle(path: Path, *, mode: str, streamed: bool, options: StreamOptions | None = None) -> BundleModel:
    """Read the resident part, and open the file of neurons with room for all of them; none of them is read yet.

    Raises:
        LanguageModelError: a file is missing, damaged or does not fit the config; names it.
        ModelUnsupported: the kernels lack a part of this model, or it has no predictors for that mode.
    """
    bundle, config = open_bundle(path), read_hf_config(path / "config.json")
    reason = why_not_q8(config)
    if config.ffn == "plain" or config.norm != "rms" or config.positions != "rotary":
        reason = f"the architecture {config.architecture} from a bundle"
    if config.experts is not None:
        reason = "a mixture of experts from a bundle"
    if reason is not None:
        raise ModelUnsupported(f"{path}: the kernels do not take {reason}")
    if mode == PREDICTOR and "layers.0.predictor.a" not in bundle.tensor_names:
        raise ModelUnsupported(f"{path}: mode {mode}: the bundle has no predictors; accepted: {EXACT}")
    networks = [_network(bundle, config, layer) for layer in range(config.num_hidden_layers)]
    store = _store(bundle, networks, mode, options) if streamed else None
    layers = tuple(_layer(bundle, config, store, layer, mode) for layer in range(len(networks)))
    head = None if config.tie_word_embeddings else _packed(bundle, "lm_head.weight")
    weights = DecoderWeights(
        _packed(bundle, "model.embed_tokens.weight"), layers, _vector(bundle, "model.norm.weight"), head
    )
    try:
        weights.check(decoder_config(config))
    except ValueError as error:
        raise CheckpointError(path, f"does not fit its config.json: {error}") from None
    found = ROPE_FREQUENCY_FACTORS in bundle.tensor_names
    return BundleModel(config, weights, _vector(bundle, ROPE_FREQUENCY_FACTORS) if found else None, store)


def _network(bundle: Bundle, config: ModelConfig, layer: int) -> Network:
    name, file = f"layers.{layer}", bundle.path / "bundle.json"
    network = bundle.networks.get(name)
    if network is None:
        raise ConfigError(file, "networks", sorted(bundle.networks)[:4], f"one named {name} for each layer")
    if network.neurons != config.intermediate_size:
        raise ConfigError(file, f"{name}.neurons", network.neurons, f"{config.intermediate_size}, as in config.json")
    if bundle.layout.hidden != config.hidden_size:
        raise ConfigError(file, "hidden", bundle.layout.hidden, f"{config.hidden_size}, as in config.json")
    return network


def _store(bundle: Bundle, networks: list[Network], mode: str, options: StreamOptions | None) -> NeuronStore:
    layout = bundle.layout
    shape = BundleShape(
        layout.hidden,
        layout.bits,
        layout.cluster_neurons,
        layout.cluster_bytes,
        tuple((network.offset, network.neurons, network.hot) for network in networks),
        resident_gates=mode == EXACT,
    )
    return NeuronStore(bundle.neurons_file, shape, shape.total_slots, options)


def _layer(bundle: Bundle, config: ModelConfig, store: NeuronStore | None, layer: int, mode: str) -> LayerWeights:
    prefix = f"model.layers.{layer}."
    optional = {f: prefix + name for f, name in _VECTORS.items() if prefix + name in bundle.tensor_names}
    return LayerWeights(
        attention_norm=_vector(bundle, prefix + "input_layernorm.weight"),
        query=_packed(bundle, prefix + "self_attn.q_proj.weight"),
        key=_packed(bundle, prefix + "self_attn.k_proj.weight"),
        value=_packed(bundle, prefix + "self_attn.v_proj.weight"),
        output=_packed(bundle, prefix + "self_attn.o_proj.weight"),
        feed_forward_norm=_vector(bundle, prefix + "post_attention_layernorm.weight"),
        **{field: _vector(bundle, name) for field, name in optional.items()},
        **_feed_forward(bundle, config, store, layer, mode),
    )


def _feed_forward(bundle: Bundle, config: ModelConfig, store: NeuronStore | None, layer: int, mode: str) -> Any:
    name = f"layers.{layer}"
    predictor = _predictor(bundle, config, layer) if mode == PREDICTOR else None
    if store is None:
        gate, up, down_t = bundle.rows(name)
        return {"gate": gate, "up": up, "down_t": down_t, "predictor": predictor}
    source = store.feed_forward(
        layer,
        bundle.order(name),
        _ACTIVATIONS[config.activation],
        gates=_gates(bundle, name) if mode == EXACT else None,
        predictor=predictor,
        threshold=config.relu_threshold,
    )
    return {"feed_forward": source, "predictor": predictor}


def _gates(bundle: Bundle, name: str) -> PackedMatrix:
    """The gate rows of a network in the order of neurons, and nothing else of it in memory."""
    network, layout, order = bundle.networks[name], bundle.layout, bundle.order(name)
    size = layout.network_bytes(network.neurons)
    mapped = np.memmap(bundle.neurons_file, np.uint8, "r", network.offset, (size,))
    gates = np.empty((network.neurons, layout.row_bytes), np.uint8)
    gates[order] = mapped.reshape(-1, layout.stride)[: network.neurons, : layout.row_bytes]
    return PackedMatrix(gates, layout.hidden, layout.bits)


def _predictor(bundle: Bundle, config: ModelConfig, layer: int) -> Predictor:
    prefix = f"layers.{layer}.predictor."
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
        predictor.check(config.hidden_size, config.intermediate_size, prefix.removesuffix("."))
    except ValueError as error:
        raise CheckpointError(bundle.path, str(error)) from None
    return predictor


def _packed(bundle: Bundle, name: str) -> PackedMatrix:
    stored = bundle.tensor(name)
    if not isinstance(stored, PackedMatrix):
        raise CheckpointError(bundle.path, "is not packed; accepted: packed with 4 or 8 bits", name)
    # In memory of our own: pages of a mapped file may be taken away and come back one by one.
    return PackedMatrix(np.array(stored.data), stored.columns, stored.bits)


def _vector(bundle: Bundle, name: str) -> NDArray[np.float32]:
    stored = bundle.tensor(name)
    if isinstance(stored, PackedMatrix) or stored.dtype != np.float32:
        raise CheckpointError(bundle.path, "accepted: float32", name)
    return np.array(stored)
