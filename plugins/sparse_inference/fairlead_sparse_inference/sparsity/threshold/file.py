"""Thresholds on disk: the JSON that `fairlead sparse threshold` writes."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any


class ThresholdsError(ValueError):
    """A thresholds' file is damaged, or is of another model: names the file and what is wrong."""


def read_thresholds(path: Path, layers: int) -> dict[float, list[float]]:
    """Read sparsity -> thresholds of all layers; raises ThresholdsError."""
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
        found = {
            float(level["sparsity"]): [float(value) for value in level["thresholds"]] for level in content["levels"]
        }
    except FileNotFoundError:
        raise ThresholdsError(f"{path}: no such file; `fairlead sparse threshold` writes one") from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ThresholdsError(f"{path}: is no thresholds' file: {type(error).__name__}: {error}") from error
    for level, values in found.items():
        if len(values) != layers:
            raise ThresholdsError(f"{path}: level {level}: {len(values)} thresholds; the model has {layers} layers")
        wrong = [value for value in values if not (math.isfinite(value) and value >= 0)]
        if wrong:
            raise ThresholdsError(f"{path}: level {level}: threshold {wrong[0]}: accepted: 0 and above")
    return found
