"""The linear map between two covariances that moves the least, as `covariances.least_map` has it (NumPy)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Matrix = NDArray[np.float64]

#: As in `covariances`, which needs torch.
RIDGE = 0.01


def apart(pair: Array) -> tuple[Array, Array]:
    """[C + C C] -> mean [C], covariance [C, C]."""
    channels = round((len(pair) + 0.25) ** 0.5 - 0.5)
    return pair[:channels], pair[channels:].reshape(channels, channels)


def matching(own: Array, wanted: Array, share: float) -> tuple[Matrix, Matrix]:
    """The matrix [C, C] and the offset [C] that give features with moments `own`, [C + C C], those `wanted`.

    Args:
        own, wanted: means, then covariances.
        share: 0 (as they are) to 1 (as wanted).
    """
    (mean, covariance), (other, spread) = apart(own), apart(wanted)
    same = np.eye(len(mean))
    matrix = same + share * (least_map(covariance, spread) - same)
    return matrix, mean + share * (other - mean) - matrix @ mean


def least_map(covariance: Array, wanted: Array) -> Matrix:
    """The symmetric map from one covariance to another, [C, C] each (Pitie and Kokaram, CVMP 2007).

    By a triangular root L of what is wanted, it is L (L' C L)^(-1/2) L': one decomposition for two.
    """
    root = np.linalg.cholesky(_ridged(wanted))
    values, vectors = np.linalg.eigh(root.T @ _ridged(covariance) @ root)
    half = root @ (vectors * np.maximum(values, 1e-14) ** -0.25)
    return half @ half.T


def _ridged(covariance: Array) -> Matrix:
    level = float(np.trace(covariance, dtype=np.float64)) / len(covariance)
    return covariance.astype(np.float64) + np.eye(len(covariance)) * (RIDGE * level + 1e-6)
