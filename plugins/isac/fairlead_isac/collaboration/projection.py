"""The nearest point of a polytope with few faces: what a cell answers when it is asked for more than it can do."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]

SWEEPS = 500
TOLERANCE = 1e-10


def project(point: F64, faces: F64, bounds: F64, prices: F64 | None = None) -> tuple[F64, F64]:
    """Return the point z >= 0 with ``faces @ z <= bounds`` that is nearest to ``point``, and the faces' prices.

    By the dual: z(theta) = [point - faces^T theta]_+, and theta >= 0 minimises |z(theta)|^2 / 2 + bounds . theta. Each
    sweep minimises exactly over one price after the other (Hildreth 1957), then tries a Newton step over all positive
    prices, which ends the search once the active set is right.

    Args:
        point: float64 [n].
        faces: float64 [m, n].
        bounds: float64 [m], all >= 0, so that z = 0 is allowed.
        prices: float64 [m] to start from, of an earlier projection.

    Returns:
        z: float64 [n], and theta: float64 [m], the multipliers.
    """
    lengths = np.maximum(np.linalg.norm(faces, axis=1), 1e-300)
    rows, limits = faces / lengths[:, None], bounds / lengths
    theta = np.zeros(len(rows)) if prices is None else np.maximum(prices * lengths, 0.0)
    for _ in range(SWEEPS):
        if _violation(point, rows, limits, theta) <= TOLERANCE * max(1.0, float(np.abs(point).max(initial=0.0))):
            break
        for face in range(len(rows)):
            others = point - rows.T @ theta + rows[face] * theta[face]
            theta[face] = _exact_price(others, rows[face], limits[face])
        theta = _newton(point, rows, limits, theta)
    return _nearest(point, rows, theta), theta / lengths


def _nearest(point: F64, rows: F64, theta: F64) -> F64:
    return np.maximum(point - rows.T @ theta, 0.0)


def _violation(point: F64, rows: F64, limits: F64, theta: F64) -> float:
    """How far complementarity is from holding."""
    gradient = limits - rows @ _nearest(point, rows, theta)
    return float(np.abs(np.minimum(theta, gradient)).max(initial=0.0))


def _exact_price(point: F64, row: F64, limit: float) -> float:
    """The least theta >= 0 with row . [point - row theta]_+ <= limit; the left side falls piecewise linearly."""
    some = row != 0.0
    knots = np.unique(np.concatenate([[0.0], np.maximum(point[some] / row[some], 0.0)]))
    loads = np.maximum(point - knots[:, None] * row, 0.0) @ row
    if loads[0] <= limit:
        return 0.0
    after = int(np.argmax(loads <= limit)) if loads[-1] <= limit else len(knots)
    start, load = knots[after - 1], loads[after - 1]
    if after < len(knots):
        return float(start + (load - limit) / (load - loads[after]) * (knots[after] - start))
    slope = float(np.square(row[point - row * (start + 1.0) > 0.0]).sum())
    return float(start + (load - limit) / slope) if slope > 0.0 else float(start)


def _newton(point: F64, rows: F64, limits: F64, theta: F64) -> F64:
    """The prices at which the same faces and the same coordinates stay active, where that is nearer."""
    positive, nearest = theta > 0.0, _nearest(point, rows, theta)
    active = rows[np.ix_(positive, nearest > 0.0)]
    gap = rows[positive] @ nearest - limits[positive]
    tried = theta.copy()
    tried[positive] += np.linalg.lstsq(active @ active.T, gap, rcond=1e-12)[0]
    tried = np.maximum(tried, 0.0)
    return tried if _violation(point, rows, limits, tried) < _violation(point, rows, limits, theta) else theta
