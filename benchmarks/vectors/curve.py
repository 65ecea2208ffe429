"""Recall of answers, and queries per second read off a measured curve at a recall."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Point(NamedTuple):
    """One setting of an engine: recall (0 to 1) and queries per second."""

    recall: float
    qps: float


def recall_at(found: NDArray[np.integer], truth: NDArray[np.integer], k: int) -> float:
    """Return the share of the true nearest k that was found, over all queries.

    Args:
        found: ids [n, at least k], -1 where there is none; the order does not matter.
        truth: ids [n, at least k], the nearest first.
        k: how many count.
    """
    hits = (found[:, :k, None] == truth[:, None, :k]).any(axis=1)
    return float(hits.mean())


def frontier(points: Sequence[Point]) -> list[Point]:
    """Return the points that no other beats in both, by rising recall."""
    best: list[Point] = []
    for point in sorted(points, key=lambda one: (-one.recall, -one.qps)):
        if not best or point.qps > best[-1].qps:
            best.append(point)
    return best[::-1]


def qps_at(points: Sequence[Point], recall: float) -> float | None:
    """Return the queries per second at a recall, None where no setting reaches it.

    Between two settings the logarithm of the speed is taken as linear in recall; where the fastest setting has more
    recall than asked, its speed is taken.
    """
    curve = frontier(points)
    above = next((index for index, point in enumerate(curve) if point.recall >= recall), None)
    if above is None:
        return None
    high = curve[above]
    if above == 0 or high.recall == recall:
        return high.qps
    low = curve[above - 1]
    share = (recall - low.recall) / (high.recall - low.recall)
    return math.exp((1 - share) * math.log(low.qps) + share * math.log(high.qps))
