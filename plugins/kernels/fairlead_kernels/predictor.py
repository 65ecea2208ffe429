"""Which neurons of a layer will be active, from the layer's input alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels import reference_packed
from fairlead_kernels.checks import array_of
from fairlead_kernels.packed import PackedMatrix

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]


@dataclass(frozen=True, eq=False, slots=True)
class Predictor:
    """Predicts neuron n where (b relu(a x) + bias)[n] > threshold, x being the normalized input of the layer.

    A low-rank multi-layer perceptron, as in PowerInfer (Song et al. 2024, section 5.1) and Deja Vu (Liu et al. 2023).

    Attributes:
        a: packed [rank, hidden], rank a multiple of 32.
        b: packed [neurons, rank].
        bias: float32 [neurons].
        threshold: what a score must exceed; minus infinity predicts every neuron.
    """

    a: PackedMatrix
    b: PackedMatrix
    bias: F32
    threshold: float = 0.0

    def check(self, hidden: int, neurons: int, name: str) -> None:
        """Raise ValueError naming the first part that does not fit a layer."""
        for part, matrix in (("a", self.a), ("b", self.b)):
            if not isinstance(matrix, PackedMatrix):
                raise ValueError(f"{name}.{part}: must be a PackedMatrix, got {type(matrix).__name__}")
        if self.a.columns != hidden:
            raise ValueError(f"{name}.a: must be [rank, {hidden}], got {list(self.a.shape)}")
        if self.b.shape != (neurons, self.a.shape[0]):
            raise ValueError(f"{name}.b: must be {[neurons, self.a.shape[0]]}, got {list(self.b.shape)}")
        array_of(f"{name}.bias", self.bias, np.float32, (neurons,))
        if np.isnan(self.threshold):
            raise ValueError(f"{name}.threshold: must be a number, got {self.threshold}")

    @property
    def nbytes(self) -> int:
        """Bytes of the matrices and the bias."""
        return self.a.nbytes + self.b.nbytes + self.bias.nbytes

    def scores(self, x: F32) -> F32:
        """Return float32 [batch, neurons] of inputs [batch, hidden], in NumPy."""
        inner = np.maximum(reference_packed.gemm_packed(self.a, x), np.float32(0))
        return reference_packed.gemm_packed(self.b, inner) + self.bias

    def predict(self, x: F32) -> I32:
        """Return the predicted neurons of one input [hidden] in ascending order, int32, in NumPy."""
        return np.flatnonzero(self.scores(x[None])[0] > self.threshold).astype(np.int32)
