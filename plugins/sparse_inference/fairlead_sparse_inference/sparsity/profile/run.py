"""Runs a text through a model and makes the profile."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ...bundle import all_networks
from ..model import FloatArray, ToolModel, is_sparse, layer_passes
from ..networks import routed
from ..text import TextWindows
from .coactivation import chain_order, clusters_touched, jaccard, joint_counts, top_pairs
from .file import LayerProfile, Profile
from .record import HISTOGRAM_EDGES, LayerRecord, carrying_energy, unpack
from .statistics import BATCHES, gini, hot_share, reuse, union_sizes

Fires = Literal["gate", "product"]
CLUSTERS = (1, 2, 4, 8)
_REUSE = (1, 8, 32)
_PAIRS = 16


def observe(
    model: ToolModel, text: TextWindows, fires: Fires, energy: float, advance: Callable[..., None]
) -> dict[str, LayerRecord]:
    """Record every network's activations over a text, by its name; `advance` is called after each window.

    An expert's activations are weighed as the router weighs it, and its tokens are those that it gets.
    """
    graph, records = model.graph, {str(name): LayerRecord(name.neurons) for name in all_networks(model.config)}
    sparse = is_sparse(model.config)

    def neurons(layer: int, x: FloatArray) -> FloatArray:
        every = np.zeros((len(x), model.config.neurons(layer)), np.float32)
        for network in routed(graph, layer, x):
            gate, activations = network.activations(model.config, x[network.tokens])
            active = gate != 0
            if not sparse:
                active = carrying_energy(activations, energy)
            elif fires == "product":
                active = activations != 0
            records[str(network.name)].add(active, gate != 0, activations)
            every[network.tokens, network.columns] = activations
        return every

    for _ in layer_passes(model, text.rows, neurons):
        advance()
    return records


def summarize(
    model: ToolModel,
    text: TextWindows,
    records: Mapping[str, LayerRecord],
    settings: dict[str, Any],
    trace_tokens: int,
    seed: int,
    advance: Callable[..., None],
) -> Profile:
    """Turn records into a profile; `advance` is called after each network."""
    context = text.rows.shape[1] - 1
    layers: list[LayerProfile] = []
    summaries: list[dict[str, Any]] = []
    for name, record in records.items():
        random = np.random.default_rng((seed, len(layers)))
        order, together = _together(record)
        use = {"network": name, "tokens": record.tokens, "use": round(record.tokens / max(text.tokens, 1), 4)}
        # The tokens of an expert do not follow one another.
        consecutive = context if record.tokens == text.tokens else record.tokens
        summaries.append(use | _numbers(record, random, consecutive) | together)
        fired = _fire_counts(record)
        layers.append(
            LayerProfile(
                record.gate_counts,
                record.counts,
                fired,
                record.magnitude,
                record.histogram,
                order,
                record.bits[:trace_tokens],
            )
        )
        advance()
    return Profile(_summary(model, text, settings, summaries), tuple(layers))


def _summary(
    model: ToolModel, text: TextWindows, settings: dict[str, Any], layers: list[dict[str, Any]]
) -> dict[str, Any]:
    mean = {
        name: round(float(np.mean([layer[name] for layer in layers])), 4)
        for name in ("sparsity", "gate_sparsity", "product_sparsity")
    }
    return {
        "model": model.path.name,
        "activation": model.config.activation,
        "neurons": model.config.intermediate_size,
        "hidden": model.config.hidden_size,
        "documents": list(text.documents),
        "tokens": text.tokens,
        "context": text.rows.shape[1] - 1,
        **settings,
        **mean,
        "batches": list(BATCHES),
        "cluster_sizes": list(CLUSTERS),
        "histogram_edges": [float(edge) for edge in HISTOGRAM_EDGES],
        "layers": layers,
    }


def _numbers(record: LayerRecord, random: np.random.Generator, context: int) -> dict[str, Any]:
    frequencies = _fire_counts(record) / max(record.tokens, 1)
    total = max(record.tokens * record.neurons, 1)
    return {
        "sparsity": round(1 - float(frequencies.mean()), 4),
        "gate_sparsity": round(1 - int(record.gate_counts.sum()) / total, 4),
        "product_sparsity": round(1 - int(record.counts.sum()) / total, 4),
        "never": int((frequencies == 0).sum()),
        "gini": round(gini(frequencies), 4),
        "hot_share_80": round(hot_share(frequencies), 4),
        "union": _rounded(union_sizes(record.bits, random)),
        "union_consecutive": _rounded(union_sizes(record.bits, None)),
        "reuse": {str(window): round(reuse(record.bits, window, context), 4) for window in _REUSE},
    }


def _together(record: LayerRecord) -> tuple[NDArray[np.int32], dict[str, Any]]:
    """Order the neurons; how good an order is, is judged on the half of the text that it was not made from."""
    half = record.tokens // 2
    first, second = record.bits[:half], record.bits[half:]
    counts = joint_counts(first, record.neurons)
    orders = {
        "index": np.arange(record.neurons, dtype=np.int32),
        "frequency": np.argsort(-np.diagonal(counts), kind="stable").astype(np.int32),
        "coactivation": chain_order(counts, jaccard(counts)),
    }
    touched = {name: _rounded([clusters_touched(second, order, k) for k in CLUSTERS]) for name, order in orders.items()}
    counts += joint_counts(second, record.neurons)
    index = jaccard(counts)
    pairs = top_pairs(counts, index, _PAIRS, max(8, record.tokens // 1000))
    return chain_order(counts, index), {"clusters_touched": touched, "pairs": [asdict(pair) for pair in pairs]}


def _fire_counts(record: LayerRecord) -> NDArray[np.int64]:
    counts = np.zeros(record.neurons, np.int64)
    for start in range(0, len(record.bits), 4096):
        counts += unpack(record.bits[start : start + 4096], record.neurons).sum(axis=0)
    return counts


def _rounded(values: list[float]) -> list[float]:
    return [round(value, 2) for value in values]
