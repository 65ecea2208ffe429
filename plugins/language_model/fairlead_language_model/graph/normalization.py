"""Normalization over the last axis."""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]


def rms_norm(x: FloatArray, weight: FloatArray, epsilon: float) -> FloatArray:
    """Return x over its root mean square, times a weight (Zhang and Sennrich, 2019)."""
    mean_square = np.mean(np.square(x), axis=-1, keepdims=True, dtype=np.float32)
    return cast("FloatArray", x / np.sqrt(mean_square + np.float32(epsilon)) * weight)


def layer_norm(x: FloatArray, weight: FloatArray, bias: FloatArray, epsilon: float) -> FloatArray:
    """Return x less its mean over its standard deviation, times a weight, plus a bias (Ba et al., 2016)."""
    centred = x - np.mean(x, axis=-1, keepdims=True, dtype=np.float32)
    variance = np.mean(np.square(centred), axis=-1, keepdims=True, dtype=np.float32)
    return cast("FloatArray", centred / np.sqrt(variance + np.float32(epsilon)) * weight + bias)
