"""The least map between covariances in NumPy: the reference of the native way, and what stands in for it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]


def least_map(covariance: F32, wanted: F32, share: float, little: float, found: F64) -> None:
    """See `fairlead_kernels.covariances.least_map`; fills ``found``.

    By a triangular root L of what is wanted, it is L (L' C L)^(-1/2) L': one decomposition for two.
    """
    root = np.linalg.cholesky(_ridged(wanted, share, little))
    values, vectors = np.linalg.eigh(root.T @ _ridged(covariance, share, little) @ root)
    half = root @ (vectors * np.maximum(values, 1e-14) ** -0.25)
    found[...] = half @ half.T


def _ridged(covariance: F32, share: float, little: float) -> F64:
    level = float(np.trace(covariance, dtype=np.float64)) / len(covariance)
    return covariance.astype(np.float64) + np.eye(len(covariance)) * (share * level + little)
