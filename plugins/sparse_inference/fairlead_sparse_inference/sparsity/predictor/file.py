"""Predictors on disk: one safetensors file, `layers.N.predictor.{a,b,bias,threshold}`, with a JSON report inside."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from .network import Predictor

_PARTS = ("a", "b", "bias", "threshold")


class PredictorError(ValueError):
    """A predictors' file is damaged, or is of another model: names the file, the tensor and what is wrong."""


def write_predictors(predictors: Sequence[Predictor], report: dict[str, Any], path: Path) -> None:
    """Write all layers' predictors, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors: dict[str, np.ndarray] = {}
    for layer, predictor in enumerate(predictors):
        values = (predictor.a, predictor.b, predictor.bias, np.asarray([predictor.threshold], np.float32))
        named = zip(_PARTS, values, strict=True)
        tensors |= {f"layers.{layer}.predictor.{part}": np.ascontiguousarray(value) for part, value in named}
    partial = path.with_name(path.name + ".partial")
    save_file(tensors, partial, metadata={"format": "np", "report": json.dumps(report)})
    partial.chmod(0o644)
    partial.replace(path)


def read_predictors(path: Path, layers: int, hidden: int, neurons: int) -> tuple[list[Predictor], dict[str, Any]]:
    """Read the predictors of a model with these sizes, and the report of their training."""
    if not path.is_file():
        raise PredictorError(f"{path}: no such file; `fairlead sparse train-predictor` writes one")
    try:
        with safe_open(path, "np") as stored:
            report = json.loads((stored.metadata() or {}).get("report", "{}"))
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise PredictorError(f"{path}: is no whole predictors' file: {error}") from error
    found = sum(name.endswith(".predictor.a") for name in tensors)
    if found != layers:
        raise PredictorError(f"{path}: holds predictors of {found} layers; the model has {layers}")
    return [_layer(tensors, layer, hidden, neurons, path) for layer in range(layers)], report


def _layer(tensors: dict[str, np.ndarray], layer: int, hidden: int, neurons: int, path: Path) -> Predictor:
    parts: list[np.ndarray] = []
    for part in _PARTS:
        name = f"layers.{layer}.predictor.{part}"
        value = tensors.get(name)
        if value is None or value.dtype != np.float32 or not np.isfinite(value).all():
            raise PredictorError(f"{path}: tensor {name}: is missing, not float32 or not finite")
        parts.append(value)
    a, b, bias, threshold = parts
    rank = a.shape[0]
    expected = ((rank, hidden), (neurons, rank), (neurons,), (1,))
    for part, value, shape in zip(_PARTS, parts, expected, strict=True):
        if value.shape != shape:
            name = f"layers.{layer}.predictor.{part}"
            raise PredictorError(f"{path}: tensor {name}: has shape {value.shape}; the model asks for {shape}")
    return Predictor(a, b, bias, float(threshold[0]))
