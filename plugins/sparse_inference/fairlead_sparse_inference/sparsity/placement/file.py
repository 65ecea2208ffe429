"""A plan on disk: the JSON that `fairlead sparse plan` writes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

VERSION = 1


class PlanError(ValueError):
    """A plan's file is damaged, or is of another model: names the file and what is wrong."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan; `content` is what its file holds."""

    content: dict[str, Any]
    neurons: int

    def pinned(self) -> list[NDArray[np.bool_]]:
        """Return which neurons are pinned, bool [neurons] by layer."""
        marked = [np.zeros(self.neurons, np.bool_) for _ in self.content["layers"]]
        for mask, layer in zip(marked, self.content["layers"], strict=True):
            mask[layer["pinned"]] = True
        return marked


def read_plan(path: Path, layers: int, neurons: int) -> Plan:
    """Read the plan of a model with these sizes; raises PlanError."""
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
        version, found = content["version"], [layer["pinned"] for layer in content["layers"]]
    except FileNotFoundError:
        raise PlanError(f"{path}: no such file; `fairlead sparse plan` writes one") from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise PlanError(f"{path}: is no plan: {type(error).__name__}: {error}") from error
    if version != VERSION:
        raise PlanError(f"{path}: version {version}: accepted: {VERSION}")
    if len(found) != layers:
        raise PlanError(f"{path}: plan of {len(found)} layers; the model has {layers}")
    for layer, pinned in enumerate(found):
        if not all(type(neuron) is int and 0 <= neuron < neurons for neuron in pinned):
            raise PlanError(f"{path}: layer {layer}: pinned: accepted: neurons 0 to {neurons - 1}")
    return Plan(content, neurons)
