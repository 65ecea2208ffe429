"""The linear map between two covariances that moves the least (Pitie and Kokaram, CVMP 2007).

Native where compiled; :mod:`fairlead_kernels.reference_covariances` is the same in NumPy and stands in otherwise. A
picture takes a few such maps of small matrices, one after another: libraries of linear algebra would wake threads for
each, which then wait beside those of the kernels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels import reference_covariances
from fairlead_kernels.backend import extension

__all__ = ["least_map"]

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]


def least_map(covariance: F32, wanted: F32, share: float, little: float) -> F64:
    """Return the symmetric map from one covariance to another, [C, C] each.

    Args:
        covariance, wanted: float32 [C, C]; only rounding may make them less than positive.
        share: of the mean variance, added to both matrices' variances.
        little: added to these, too; above 0.

    Raises:
        ValueError: matrices of other shapes.
    """
    size = len(covariance)
    if covariance.shape != (size, size) or wanted.shape != (size, size) or not size:
        raise ValueError(f"covariance, wanted: shapes {covariance.shape}, {wanted.shape}; accepted: [C, C] twice")
    found = np.empty((size, size), np.float64)
    arrays = (np.ascontiguousarray(matrix, np.float32) for matrix in (covariance, wanted))
    native = extension()
    (reference_covariances if native is None else native).least_map(*arrays, share, little, found)
    return found
