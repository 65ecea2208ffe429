"""Rotary position embedding (RoFormer) in the half-split layout of Hugging Face's models."""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import NDArray

from ..config import ModelConfig
from ..rope_scaling import RopeScaling

FloatArray = NDArray[np.float32]


def inverse_frequencies(config: ModelConfig, factors: FloatArray | None = None) -> NDArray[np.float64]:
    """Return the angle per position of each pair, float64 [head_dim / 2].

    `factors` divides each frequency: GGUF files carry llama3's scaling that way.
    """
    pairs = np.arange(0, config.head_dim, 2, dtype=np.float64) / config.head_dim
    frequencies = config.rope_theta**-pairs
    if factors is not None:
        frequencies = frequencies / factors
    scaling = config.rope_scaling
    if scaling is None:
        return frequencies
    if scaling.rope_type == "linear":
        return frequencies / scaling.factor
    return _by_wavelength(frequencies, scaling)


def rotation(frequencies: NDArray[np.float64], positions: NDArray[np.int64]) -> tuple[FloatArray, FloatArray]:
    """Return cosine and sine, each float32 [positions, 1, head_dim / 2]."""
    angles = positions[:, None, None] * frequencies
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


def rotate(x: FloatArray, turn: tuple[FloatArray, FloatArray]) -> FloatArray:
    """Rotate x [positions, heads, head_dim]: element i turns with element i + head_dim / 2."""
    cosine, sine = turn
    first, second = np.split(x, 2, axis=-1)
    turned = np.concatenate((first * cosine - second * sine, second * cosine + first * sine), axis=-1)
    return cast("FloatArray", turned)


def _by_wavelength(frequencies: NDArray[np.float64], scaling: RopeScaling) -> NDArray[np.float64]:
    """Llama 3.1: keep short wavelengths, divide long ones by the factor, interpolate between."""
    turns = scaling.original_max_position_embeddings * frequencies / (2 * np.pi)
    share = (turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor)
    kept = np.clip(share, 0, 1)
    return frequencies * (kept + (1 - kept) / scaling.factor)
