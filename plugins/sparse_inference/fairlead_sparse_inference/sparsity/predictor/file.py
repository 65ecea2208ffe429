"""Predictors on disk: one safetensors file, `NETWORK.predictor.{a,b,bias,threshold}`, with a JSON report inside."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from ...bundle import NetworkName
from ...whole_file import whole_file
from ..reporting import finite
from .network import Predictor

_PARTS = ("a", "b", "bias", "threshold")


class PredictorError(ValueError):
    """A predictors' file is damaged, or is of another model: names the file, the tensor and what is wrong."""


def write_predictors(predictors: Mapping[str, Predictor], report: dict[str, Any], path: Path) -> None:
    """Write the predictors by the names of their networks, whole or not at all. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors: dict[str, np.ndarray] = {}
    for network, predictor in predictors.items():
        values = (predictor.a, predictor.b, predictor.bias, np.asarray([predictor.threshold], np.float32))
        named = zip(_PARTS, values, strict=True)
        tensors |= {f"{network}.predictor.{part}": np.ascontiguousarray(value) for part, value in named}
    with whole_file(path) as file:
        save_file(tensors, file, metadata={"format": "np", "report": json.dumps(finite(report))})


def read_predictors(
    path: Path, networks: Iterable[NetworkName], hidden: int
) -> tuple[dict[str, Predictor], dict[str, Any]]:
    """Read the predictors of a model with these networks, and the report of their training.

    Experts may lack one: those that were seen too seldom. Raises PredictorError.
    """
    if not path.is_file():
        raise PredictorError(f"{path}: no such file; `fairlead sparse train-predictor` writes one")
    try:
        with safe_open(path, "np") as stored:
            report = json.loads((stored.metadata() or {}).get("report", "{}"))
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise PredictorError(f"{path}: is no whole predictors' file: {error}") from error
    found = {name.removesuffix(".predictor.a") for name in tensors if name.endswith(".predictor.a")}
    wanted = [name for name in networks if name.expert is None or str(name) in found]
    if found != set(map(str, wanted)):
        raise PredictorError(
            f"{path}: holds predictors of {len(found)} networks; the model has other ones, {len(wanted)}"
        )
    return {str(name): _read(tensors, name, hidden, path) for name in wanted}, report


def _read(tensors: dict[str, np.ndarray], network: NetworkName, hidden: int, path: Path) -> Predictor:
    neurons = network.neurons
    parts: list[np.ndarray] = []
    for part in _PARTS:
        name = f"{network}.predictor.{part}"
        value = tensors.get(name)
        if value is None or value.dtype != np.float32 or not np.isfinite(value).all():
            raise PredictorError(f"{path}: tensor {name}: is missing, not float32 or not finite")
        parts.append(value)
    a, b, bias, threshold = parts
    rank = a.shape[0]
    expected = ((rank, hidden), (neurons, rank), (neurons,), (1,))
    for part, value, shape in zip(_PARTS, parts, expected, strict=True):
        if value.shape != shape:
            name = f"{network}.predictor.{part}"
            raise PredictorError(f"{path}: tensor {name}: has shape {value.shape}; the model asks for {shape}")
    return Predictor(a, b, bias, float(threshold[0]))
