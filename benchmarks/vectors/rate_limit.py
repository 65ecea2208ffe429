"""What codes of so many bits can tell of vectors at best, by Shannon's rate-distortion function.

A source of independent Gaussian coordinates with variances v_d, coded with R bits a vector, cannot be known better than
with the errors D_d = min(w, v_d), where the level w is such that sum_d log2(v_d / D_d) / 2 = R (reverse water-filling;
Cover and Thomas, Elements of Information Theory, theorem 10.3.3). Of all sources with these variances the Gaussian is
the hardest; what codes of vectors reach is compared with it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
_HALVINGS = 200


def errors_of(variances: F64, bits: float) -> F64:
    """Return the mean squared error of each coordinate, where the vector has so many bits.

    Args:
        variances: [d], above 0.
        bits: of a vector, 0 and above.
    """
    low, high = float(variances.min()) * 2.0 ** (-2 * bits / len(variances) - 1), float(variances.max())
    for _ in range(_HALVINGS):
        level = (low * high) ** 0.5
        low, high = (level, high) if rate_of(variances, np.minimum(level, variances)) > bits else (low, level)
    return np.minimum(high, variances)


def rate_of(variances: F64, errors: F64) -> float:
    """Return the bits that errors [d] take."""
    return float(0.5 * np.log2(variances / errors).sum())


def ideal_codes(rows: F32, variances: F64, errors: F64, random: np.random.Generator) -> F32:
    """Return what an ideal code of these errors would give back for rows [n, d] of mean 0.

    The forward channel: y = (1 - D / v) x + noise of variance D (1 - D / v), so that x - y has variance D and does not
    depend on y.
    """
    kept = 1 - errors / variances
    noise = random.standard_normal(rows.shape, dtype=np.float32)
    return rows * kept.astype(np.float32) + noise * np.sqrt(errors * kept).astype(np.float32)


def centred(rows: F32, lists: NDArray[np.int64], count: int) -> tuple[F32, F32]:
    """Return rows [n, d] without the mean of their list, and the means [count, d]."""
    sums = np.zeros((count, rows.shape[1]))
    np.add.at(sums, lists, rows)
    means = (sums / np.maximum(np.bincount(lists, minlength=count), 1)[:, None]).astype(np.float32)
    return rows - means[lists], means


def reads_for(ranks: NDArray[np.int64], recall: float) -> int | None:
    """Return how many of the best by their codes must be read, of every query as many, to find a share of the nearest.

    Args:
        ranks: [queries, k]: places, from 0 on, of the true nearest in the order of the codes.
        recall: 0 to 1.
    """
    ordered = np.sort(ranks.ravel())
    wanted = int(np.ceil(recall * len(ordered))) - 1
    return int(ordered[max(wanted, 0)]) + 1 if len(ordered) else None
