"""Activations of feed-forward networks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ..errors import one_of

FloatArray = NDArray[np.float32]


def relu(x: FloatArray) -> FloatArray:
    """Return max(0, x)."""
    return np.maximum(x, np.float32(0))


def silu(x: FloatArray) -> FloatArray:
    """Return x * sigmoid(x) (Swish with beta 1), without overflow for large negative x."""
    e = np.exp(-np.abs(x))
    return x * np.where(x >= 0, np.float32(1), e) / (np.float32(1) + e)


def gelu(x: FloatArray) -> FloatArray:
    """Return x * Phi(x), with the error function by Abramowitz and Stegun 7.1.26 (error below 1.5e-7)."""
    z = np.abs(x.astype(np.float64)) / np.sqrt(2)
    t = 1 / (1 + 0.3275911 * z)
    series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    erf = np.sign(x) * (1 - series * np.exp(-z * z))
    return (0.5 * x * (1 + erf)).astype(np.float32)


def gelu_tanh(x: FloatArray) -> FloatArray:
    """Return the tanh approximation of gelu (Hendrycks and Gimpel, 2016)."""
    inner = np.float32(np.sqrt(2 / np.pi)) * (x + np.float32(0.044715) * x**3)
    return np.float32(0.5) * x * (np.float32(1) + np.tanh(inner))


_GATES: dict[str, Callable[[FloatArray], FloatArray]] = {
    "relu": relu,
    "silu": silu,
    "gelu": gelu,
    "gelu_tanh": gelu_tanh,
}


def fatrelu(x: FloatArray, threshold: float) -> FloatArray:
    """Return x where it is larger than a threshold, else 0 (FATReLU, Kurtz et al., 2020)."""
    return np.where(x > np.float32(threshold), x, np.float32(0))


def plain(name: str, x: FloatArray, threshold: float = 0.0) -> FloatArray:
    """Return an activation of x; a threshold is that of a relu."""
    if name not in _GATES:
        raise ValueError(f"activation {name!r}: accepted: {one_of(_GATES)}")
    return fatrelu(x, threshold) if threshold else _GATES[name](x)


def combine(name: str, gate: FloatArray, up: FloatArray, threshold: float = 0.0) -> FloatArray:
    """Return the activations of a gated feed-forward network: act(gate) * up, or relu(gate) * relu(up) for drelu."""
    if name == "drelu":
        return relu(gate) * relu(up)
    if name not in _GATES:
        raise ValueError(f"activation {name!r}: accepted: {one_of([*_GATES, 'drelu'])}")
    return plain(name, gate, threshold) * up
