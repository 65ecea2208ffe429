"""The linear map between two covariances that moves the least, as `covariances.least_map` has it (NumPy)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels import covariances

Array = NDArray[np.float32]
Matrix = NDArray[np.float64]

#: As in `covariances`, which needs torch.
RIDGE = 0.01
LITTLE = 1e-6


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
    """The symmetric map from one covariance to another, [C, C] each (Pitie and Kokaram, CVMP 2007)."""
    return covariances.least_map(covariance, wanted, RIDGE, LITTLE)
