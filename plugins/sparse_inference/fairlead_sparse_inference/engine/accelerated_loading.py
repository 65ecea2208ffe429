"""Loads a model whose hot neurons an accelerator holds, the others in memory or, of a bundle, streamed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fairlead_language_model.config import ModelConfig
from fairlead_language_model.hf_config import read_hf_config

from ..accelerators import Accelerator, HotNeurons, open_accelerator
from ..accelerators.split import hot_of_plan, hot_within, leading, neuron_bytes
from ..bundle import Bundle, all_networks, is_bundle, open_bundle
from ..settings import AcceleratorSettings, Settings
from ..sparsity.placement.file import PlanError
from ..sparsity.profile.file import read_profile, require_model
from .errors import ModelUnsupported
from .graph_model import GraphModel
from .hybrid_model import HybridModel, network_of
from .model import SparseModel


def load_accelerated(settings: Settings, wanted: AcceleratorSettings, device_memory: int | None) -> HybridModel:
    """Load a model of which an accelerator holds the hot neurons, as many as fit.

    Args:
        settings: the workload's.
        wanted: the accelerator.
        device_memory: bytes that the budget allows on the device, or None.

    Raises:
        AcceleratorUnavailable: the device or its software is missing.
        LanguageModelError, ModelUnsupported, ProfileError, PlanError: a file cannot be used; names it.
    """
    limits = [size for size in (wanted.memory_bytes, device_memory) if size is not None]
    limit = min(limits, default=None)
    if is_bundle(settings.model_path):
        return _streamed(settings, wanted, limit)
    model = SparseModel.load(settings.model_path, mode=settings.mode, weight_bits=settings.weight_bits)
    if isinstance(model, GraphModel):
        raise ModelUnsupported(f"{settings.model_path}: no accelerator takes {model.reason}")
    if any(layer.gate is None for layer in model.weights.layers):
        raise _mixture(settings.model_path)
    hot = hot_neurons(model, wanted, limit)
    return HybridModel(model, _opened(model, wanted), hot)


def _mixture(path: Path) -> ModelUnsupported:
    return ModelUnsupported(f"{path}: no accelerator takes mixtures of experts")


def _streamed(settings: Settings, wanted: AcceleratorSettings, limit: int | None) -> HybridModel:
    """A bundle: the accelerator holds the beginning of each network in the file, the rest is read as memory allows."""
    path = settings.model_path
    bundle, config = open_bundle(path), read_hf_config(path / "config.json")
    if config.experts is not None:
        raise _mixture(path)
    moved = hot_places(bundle, config, wanted, limit)
    model = SparseModel.load(path, mode=settings.mode, elsewhere=moved)
    return HybridModel.streamed(model, _opened(model, wanted), hot_of_bundle(bundle, moved))


def hot_places(bundle: Bundle, config: ModelConfig, wanted: AcceleratorSettings, memory_bytes: int | None) -> list[int]:
    """Return how many of each layer's first places in a bundle a device takes: a plan's, or as many as fit.

    Raises:
        PlanError: the plan is none of this model, does not fit the memory, or pins other neurons than come first.
    """
    layout, orders = bundle.layout, [bundle.order(str(name)) for name in all_networks(config)]
    size = layout.matrices * (2 * layout.hidden if wanted.weights == "bf16" else layout.row_bytes)
    if wanted.plan is None:
        often = [_by_rank(order) for order in orders] if wanted.profile is None else _profiled(wanted.profile, config)
        hot = hot_within(often, size, memory_bytes)
    else:
        hot = hot_of_plan(Path(wanted.plan), len(orders), len(orders[0]), size, memory_bytes)
        for layer, (mask, order) in enumerate(zip(hot, orders, strict=True)):
            if not mask[order[: mask.sum()]].all():
                raise PlanError(
                    f"{wanted.plan}: layer {layer}: the pinned neurons are not the first of {bundle.path}; accepted: "
                    "the plan that it was converted with (`fairlead sparse convert --plan`)"
                )
    return leading(hot, orders, layout.cluster_neurons)


def hot_of_bundle(bundle: Bundle, moved: Sequence[int]) -> list[HotNeurons | None]:
    """Read so many first places of each layer's network, with their biases; None where there are none."""
    return [_hot(bundle, layer, count) if count else None for layer, count in enumerate(moved)]


def _hot(bundle: Bundle, layer: int, count: int) -> HotNeurons:
    name, bias = f"layers.{layer}", f"model.layers.{layer}.mlp.up_proj.bias"
    # In the order of neurons, as the hot part of a model in memory: a device then adds the same up in the same order.
    neurons = bundle.order(name)[:count]
    places = np.argsort(neurons)
    rows = {part: matrix.take(places) for part, matrix in bundle.first_rows(name, count).items()}
    own = np.asarray(bundle.tensor(bias), np.float32)[neurons[places]] if bias in bundle.tensor_names else None
    return HotNeurons(rows["gate"], rows.get("up"), rows["down_t"], own)


def hot_neurons(model: SparseModel, wanted: AcceleratorSettings, memory_bytes: int | None) -> list[NDArray[np.bool_]]:
    """Return the hot neurons of a model in memory, bool [neurons] by layer: a plan's, or the most frequent that fit.

    Without a profile nothing is known: all are alike.
    """
    layers = model.weights.layers
    size = neuron_bytes(layers[0], wanted.weights)
    if wanted.plan is not None:
        return hot_of_plan(Path(wanted.plan), len(layers), layers[0].neurons, size, memory_bytes)
    often = [np.ones(layer.neurons) for layer in layers]
    if wanted.profile is not None:
        often = _profiled(wanted.profile, model.config)
    return hot_within(often, size, memory_bytes)


def _profiled(name: str, config: ModelConfig) -> list[NDArray[np.float64]]:
    """How often neurons fire, [neurons] by layer."""
    file = Path(name)
    profile = read_profile(file)
    require_model(profile, list(all_networks(config)), file)
    return profile.frequencies()


def _by_rank(order: NDArray[np.int32]) -> NDArray[np.float64]:
    """A bundle's first neurons are those that fire most often."""
    falling = np.empty(len(order))
    falling[order] = np.linspace(1.0, 0.0, len(order), endpoint=False)
    return falling


def _opened(model: SparseModel, wanted: AcceleratorSettings) -> Accelerator:
    return open_accelerator(
        wanted.kind,
        network_of(model),
        weights=wanted.weights,
        providers=wanted.providers,
        provider_options=wanted.provider_options,
    )
