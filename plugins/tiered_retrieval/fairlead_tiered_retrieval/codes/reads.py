"""Which exact vectors must be read, so that the nearest are among them with the bounds' probability."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def must_read(
    estimates: NDArray[np.float32], lowers: NDArray[np.float32], k: int, most: int | None = None
) -> NDArray[np.int64]:
    """Return the rows to read in one batch, the most promising first.

    A vector may be left out where its lower bound lies above the k-th smallest upper bound (as far above its estimate
    as the lower bound lies below): k vectors are then nearer than it, with the confidence of the bounds.

    Args:
        estimates: float32 [n], of codes.
        lowers: float32 [n], lower bounds of a stated confidence.
        k: nearest vectors that are asked for.
        most: reads that there may be; None: as many as the bounds want.
    """
    if len(estimates) == 0 or k < 1:
        return np.empty(0, np.int64)
    uppers = 2 * estimates - lowers
    enough = np.partition(uppers, min(k, len(uppers)) - 1)[min(k, len(uppers)) - 1]
    wanted = np.flatnonzero(lowers <= enough)
    ordered = wanted[np.argsort(estimates[wanted], kind="stable")]
    return ordered if most is None else ordered[:most]
