"""Which neurons of each layer an accelerator holds, and the layers' weights divided by that. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels import LayerWeights, Matrix, PackedMatrix, Predictor, pack_q8, packed_row_bytes

from ..sparsity.placement.file import PlanError, read_plan
from ..sparsity.placement.program import BATCH, Problem, solve
from .interface import HotNeurons, Weights

Mask = NDArray[np.bool_]
Frequencies = Sequence[NDArray[np.float64]]


def neuron_bytes(layer: LayerWeights, weights: Weights = "packed") -> int:
    """Return the bytes that one neuron of a layer takes on a device."""
    matrices = [matrix for matrix in (layer.gate, layer.up, layer.down_t) if matrix is not None]
    if weights == "bf16":
        return sum(2 * matrix.shape[1] for matrix in matrices)
    bits = [matrix.bits if isinstance(matrix, PackedMatrix) else 8 for matrix in matrices]
    return sum(packed_row_bytes(matrix.shape[1], one) for matrix, one in zip(matrices, bits, strict=True))


def hot_within(frequencies: Frequencies, size: int, memory_bytes: int | None) -> list[Mask]:
    """Choose the neurons that fire most, as many as a device's memory holds (PowerInfer's placement).

    Args:
        frequencies: [neurons] by layer.
        size: bytes of a neuron on the device.
        memory_bytes: what may be used there; None holds all.

    Returns:
        bool [neurons] by layer.
    """
    if memory_bytes is None or memory_bytes >= size * sum(map(len, frequencies)):
        return [np.ones(len(layer), np.bool_) for layer in frequencies]
    # Little memory is divided finely: else none but a layer's last batch, the smaller and rarer one, may fit.
    batch = max(1, min(BATCH, memory_bytes // (4 * size * len(frequencies))))
    return solve(Problem(frequencies, size, memory_bytes, batch=batch)).pinned


def hot_of_plan(path: Path, layers: int, neurons: int, size: int, memory_bytes: int | None) -> list[Mask]:
    """Take the pinned neurons of a plan (`fairlead sparse plan`).

    Raises:
        PlanError: the file is no plan of such a model, or its neurons do not fit the memory.
    """
    pinned = read_plan(path, layers, neurons).pinned()
    needed = size * sum(int(mask.sum()) for mask in pinned)
    if memory_bytes is not None and needed > memory_bytes:
        raise PlanError(
            f"{path}: its pinned neurons take {needed} bytes; accepted: memory_bytes = {memory_bytes} or less"
        )
    return pinned


def top_share(frequencies: Frequencies, share: float) -> list[Mask]:
    """Mark this share (0 to 1) of each layer's neurons, the most frequent ones."""
    marked: list[Mask] = []
    for layer in frequencies:
        mask = np.zeros(len(layer), np.bool_)
        mask[np.argsort(-layer, kind="stable")[: round(share * len(layer))]] = True
        marked.append(mask)
    return marked


def leading(hot: Sequence[Mask], orders: Sequence[NDArray[np.int32]], together: int) -> list[int]:
    """Return how many of each layer's first places in a bundle hold about as many neurons as are hot.

    A bundle has the neurons that fire most first, so that an accelerator takes its beginning and the rest is streamed.

    Args:
        hot: bool [neurons] by layer.
        orders: the neuron at each place, [neurons] by layer.
        together: places that are read together: so many, or a multiple, are taken; the last ones stay.
    """
    most = ((len(order) - 1) // together * together for order in orders)
    return [min(int(mask.sum()) // together * together, room) for mask, room in zip(hot, most, strict=True)]


def divided(layer: LayerWeights, hot: Mask) -> tuple[LayerWeights, HotNeurons]:
    """Divide a layer's packed neurons: what the processor keeps, with a predictor of those alone, and the hot ones.

    Raises:
        ValueError: the layer's neurons are not in memory.
    """
    gate, up, down_t = _matrices(layer)
    there, cold = np.flatnonzero(hot), np.flatnonzero(~hot)
    bias = layer.gate_bias
    moved = HotNeurons(
        gate.take(there),
        None if up is None else up.take(there),
        down_t.take(there),
        None if bias is None else bias[there],
    )
    kept = replace(
        layer,
        gate=gate.take(cold),
        up=None if up is None else up.take(cold),
        down_t=down_t.take(cold),
        gate_bias=None if bias is None else bias[cold],
        predictor=restricted(layer.predictor, cold),
    )
    return kept, moved


def restricted(predictor: Predictor | None, rows: NDArray[Any]) -> Predictor | None:
    """Return a predictor of these neurons alone; None where there is none, or nothing left to predict."""
    if predictor is None or not len(rows):
        return None
    return Predictor(predictor.a, predictor.b.take(rows), predictor.bias[rows], predictor.threshold)


def _matrices(layer: LayerWeights) -> tuple[PackedMatrix, PackedMatrix | None, PackedMatrix]:
    """The three matrices, packed: Q8 ones keep their weights and are multiplied by rounded activations."""
    if layer.gate is None or layer.down_t is None:
        raise ValueError("layer: its gate, up and down must be in memory")
    up = None if layer.up is None else _packed(layer.up)
    return _packed(layer.gate), up, _packed(layer.down_t)


def _packed(matrix: Matrix) -> PackedMatrix:
    return matrix if isinstance(matrix, PackedMatrix) else pack_q8(matrix)
