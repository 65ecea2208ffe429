"""The predictor of one layer: two thin matrices (Deja Vu; PowerInfer, section 5.1)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels import GROUP, quantize_q8

FloatArray = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Predictor:
    """score = b relu(a x) + bias; a neuron is predicted where its score exceeds `threshold`.

    `a` is float32 [rank, hidden], `b` [neurons, rank], `bias` [neurons]; x is the layer's normalized input.
    """

    a: FloatArray
    b: FloatArray
    bias: FloatArray
    threshold: float = 0.0

    @property
    def rank(self) -> int:
        """Hidden size."""
        return self.a.shape[0]

    @property
    def parameters(self) -> int:
        """Number of weights."""
        return self.a.size + self.b.size + self.bias.size

    def scores(self, x: FloatArray) -> FloatArray:
        """Return scores [tokens, neurons] of inputs [tokens, hidden]."""
        return np.maximum(x @ self.a.T, np.float32(0)) @ self.b.T + self.bias

    def predict(self, x: FloatArray) -> NDArray[np.bool_]:
        """Return which neurons are predicted to fire, [tokens, neurons]."""
        return self.scores(x) > self.threshold

    def rounded(self) -> Predictor:
        """Return the predictor with the values that its Q8 form has: what is calibrated is what will run."""
        fits = self.a.shape[1] % GROUP == 0 and self.rank % GROUP == 0
        return replace(self, a=_q8(self.a), b=_q8(self.b)) if fits else self


def first_rank(neurons: int, hidden: int, firing: float, gini: float) -> int:
    """Return the hidden size to start from, a multiple of 32.

    The sparser a layer and the more skewed, the fewer patterns there are to tell apart (PowerInfer, section 5.1): the
    start grows with the root of the share that fires and with the evenness 1 - Gini.
    """
    wanted = neurons * firing**0.5 * (1 - gini) / 4
    return min(max(GROUP, GROUP * round(wanted / GROUP)), most_rank(hidden))


def most_rank(hidden: int) -> int:
    """Return the largest hidden size that is tried: the layer's width."""
    return max(GROUP, hidden // GROUP * GROUP)


def from_weights(gate: FloatArray, rank: int, random: np.random.Generator) -> Predictor:
    """Return a predictor whose score approximates the gate itself, by its truncated singular value decomposition.

    gate ~ u s v; a holds v's rows and their negatives, because x.v = relu(x.v) - relu(-x.v). A little noise lets
    training tell the two halves apart.
    """
    u, s, v = np.linalg.svd(gate, full_matrices=False)
    half = min(rank // 2, len(s))
    a = np.zeros((rank, gate.shape[1]), np.float32)
    b = np.zeros((gate.shape[0], rank), np.float32)
    a[:half], a[half : 2 * half] = v[:half], -v[:half]
    b[:, :half], b[:, half : 2 * half] = u[:, :half] * s[:half], -u[:, :half] * s[:half]
    noise = np.float32(0.1 * gate.shape[1] ** -0.5)
    a += noise * random.standard_normal(a.shape, np.float32)
    return Predictor(a, b, np.zeros(gate.shape[0], np.float32))


def _q8(matrix: FloatArray) -> FloatArray:
    return quantize_q8(np.ascontiguousarray(matrix)).dequantize()
