"""Products with matrices that are float32 or in Q8 groups."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels import Q8Matrix, gemm_q8

from ..checkpoint import Matrix

FloatArray = NDArray[np.float32]


def linear(x: FloatArray, matrix: Matrix, bias: FloatArray | None = None) -> FloatArray:
    """Return x [n, inputs] times a matrix [outputs, inputs] transposed, plus a bias: [n, outputs]."""
    product = gemm_q8(matrix, np.ascontiguousarray(x)) if isinstance(matrix, Q8Matrix) else x @ matrix.T
    return product if bias is None else product + bias


def rows(matrix: Matrix, indices: NDArray[np.int64]) -> FloatArray:
    """Return some rows of a matrix as float32."""
    if isinstance(matrix, Q8Matrix):
        return matrix.take(indices).dequantize()
    return matrix[indices]
