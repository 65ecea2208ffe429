"""Weights as arrays, without torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import BadCheckpoint

Array = NDArray[np.float32]


def read_arrays(path: Path) -> dict[str, Array]:
    """A safetensors file's arrays in float32.

    Raises:
        BadCheckpoint: not there, not such a file, or with numbers that are not finite.
    """
    from safetensors.numpy import load_file

    if not path.is_file():
        raise BadCheckpoint(path, "no such file; accepted: a safetensors file")
    try:
        arrays = {name: value.astype(np.float32) for name, value in load_file(path).items()}
    except Exception as problem:
        # Readers of foreign bytes end in errors of any class.
        raise BadCheckpoint(path, f"not a safetensors file of numbers: {problem}") from problem
    for name, value in arrays.items():
        if not np.isfinite(value).all():
            raise BadCheckpoint(path, f"{name}: holds NaN or infinite numbers; accepted: finite ones")
    return arrays
