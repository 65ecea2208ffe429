"""Loads a model in memory and moves its hot neurons to an accelerator."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..accelerators import Accelerator, open_accelerator
from ..accelerators.split import hot_of_plan, hot_within, neuron_bytes
from ..bundle import all_networks, is_bundle, open_bundle
from ..settings import AcceleratorSettings, Settings
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
    model = SparseModel.load(settings.model_path, mode=settings.mode, weight_bits=settings.weight_bits, streamed=False)
    if isinstance(model, GraphModel):
        raise ModelUnsupported(f"{settings.model_path}: no accelerator takes {model.reason}")
    if any(layer.gate is None for layer in model.weights.layers):
        raise ModelUnsupported(f"{settings.model_path}: no accelerator takes mixtures of experts")
    limits = [size for size in (wanted.memory_bytes, device_memory) if size is not None]
    hot = hot_neurons(model, settings.model_path, wanted, min(limits, default=None))
    return HybridModel(model, _opened(model, wanted), hot)


def hot_neurons(
    model: SparseModel, path: Path, wanted: AcceleratorSettings, memory_bytes: int | None
) -> list[NDArray[np.bool_]]:
    """Return the hot neurons of a model in memory, bool [neurons] by layer: a plan's, or the most frequent that fit."""
    layers = model.weights.layers
    size = neuron_bytes(layers[0], wanted.weights)
    if wanted.plan is not None:
        return hot_of_plan(Path(wanted.plan), len(layers), layers[0].neurons, size, memory_bytes)
    return hot_within(frequencies(model, path, wanted), size, memory_bytes)


def frequencies(model: SparseModel, path: Path, wanted: AcceleratorSettings) -> list[NDArray[np.float64]]:
    """Return how often neurons fire, [neurons] by layer: a profile's shares, or what the order of a bundle tells.

    A checkpoint without a profile tells nothing: all are alike.
    """
    layers = model.weights.layers
    if wanted.profile is not None:
        file = Path(wanted.profile)
        profile = read_profile(file)
        require_model(profile, list(all_networks(model.config)), file)
        return profile.frequencies()
    if not is_bundle(path):
        return [np.ones(layer.neurons) for layer in layers]
    bundle = open_bundle(path)
    return [_by_rank(bundle.order(f"layers.{index}")) for index in range(len(layers))]


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
