"""Which neurons the synthetic model names and which are active at each position of its text."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels import PackedMatrix
from fairlead_sparse_inference.bundle import open_bundle

from .shape import FIRST_STATE, Shape

F32 = NDArray[np.float32]
Bits = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class LayerActivity:
    """One layer: ``named`` by its predictor and ``active`` with a gate above zero, bits uint8 [states, neurons / 8],
    neurons in the order of the file.
    """

    named: Bits
    active: Bits


def layer_activity(bundle: Path, shape: Shape) -> list[LayerActivity]:
    """Every layer's activity at every state, from the embedding: what layers add to it is a few per cent."""
    opened = open_bundle(bundle)
    table = cast("PackedMatrix", opened.tensor("model.embed_tokens.weight"))
    states = table.take(slice(FIRST_STATE, shape.vocabulary)).dequantize()
    states /= np.sqrt(np.square(states).mean(axis=1, keepdims=True))
    found: list[LayerActivity] = []
    for layer in range(shape.layers):
        name = f"layers.{layer}"
        order = opened.order(name)
        a, b = (cast("PackedMatrix", opened.tensor(f"{name}.predictor.{part}")).dequantize() for part in "ab")
        named = np.maximum(states @ a.T, 0) @ b[order].T > 0
        active = states @ opened.rows(name)["gate"].dequantize()[order].T > 0
        found.append(LayerActivity(np.packbits(named, axis=1), np.packbits(active, axis=1)))
    return found
