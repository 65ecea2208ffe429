"""The nearest point of a polytope with few faces: what a cell answers when it is asked for more than it can do."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fairlead_isac.errors import IsacError

F64 = NDArray[np.float64]

#: Of a unit normal's slack; and the length below which a normal is in the span of others.
TOLERANCE, DEPENDENT = 1e-10, 1e-7
#: Of Newton's method on the prices; and what keeps its systems regular where two faces are alike.
MOST_NEWTONS, REGULAR = 12, 1e-13


def project(point: F64, faces: F64, bounds: F64, start: F64 | None = None) -> tuple[F64, F64]:
    """Return the point z >= 0 with ``faces @ z <= bounds`` that is nearest to ``point``, and the faces' prices.

    Newton's method on the faces' prices from those of a similar point (Bertsekas 1982: prices that are to stay at 0 are
    held there), which mostly ends after one or two steps. Where it does not, the dual active-set method of Goldfarb and
    Idnani (1983) for the Hessian I: from the nearest z >= 0, each violated face is made tight in turn, letting go of
    what its step would give a negative price. Rounding may make it turn in circles where faces are nearly alike, so its
    steps are counted too: z is then near, and may be a little outside.

    Args:
        point: float64 [n].
        faces: float64 [m, n].
        bounds: float64 [m], all >= 0, so that z = 0 is allowed.
        start: prices to begin with, float64 [m]; None: 0.

    Returns:
        z: float64 [n], and the multipliers: float64 [m].

    Raises:
        IsacError: a number is not finite.
    """
    if not (np.isfinite(point).all() and np.isfinite(faces).all() and np.isfinite(bounds).all()):
        raise IsacError("projection: a coordinate, a face or a bound is not finite; accepted: finite numbers")
    found = _newton(point, faces, bounds, start)
    if found is not None:
        return found
    search = _ActiveSet(point, faces, bounds)
    while search.steps < most_steps(len(point), len(faces)) and search.tighten():
        pass
    return search.result()


def most_steps(coordinates: int, faces: int) -> int:
    """Return how often the active-set method may move: three times what each constraint takes when it comes once."""
    return 3 * (coordinates + faces)


def _newton(point: F64, faces: F64, bounds: F64, start: F64 | None) -> tuple[F64, F64] | None:
    """The dual's gradient is bounds - faces z at z = max(point - faces^T prices, 0); None where it does not vanish."""
    lengths = np.maximum(np.sqrt((faces * faces).sum(axis=1)), 1e-300)
    normals, least = faces / lengths[:, None], bounds / lengths
    tolerance = 0.01 * TOLERANCE * max(1.0, float(np.abs(point).max(initial=0.0)))
    prices = np.zeros(len(least)) if start is None else start * lengths
    for _ in range(MOST_NEWTONS + 1):
        z = np.maximum(point - prices @ normals, 0.0)
        gradient = least - normals @ z
        if float(np.abs(np.minimum(prices, gradient)).max(initial=0.0)) <= tolerance:
            return z, prices / lengths
        free = (prices > 0.0) | (gradient < 0.0)
        rows = normals[free] * (z > 0.0)
        curvature = rows @ rows.T
        curvature.flat[:: len(rows) + 1] += REGULAR
        prices = prices.copy()
        prices[free] = np.maximum(prices[free] - np.linalg.solve(curvature, gradient[free]), 0.0)
    return None


class _ActiveSet:
    """Normals n_i with n_i . z >= d_i, of which some are tight; z is optimal for these alone."""

    def __init__(self, point: F64, faces: F64, bounds: F64) -> None:
        self.lengths = np.maximum(np.linalg.norm(faces, axis=1), 1e-300)
        self.size = len(point)
        self.normals = np.concatenate([np.eye(self.size), -faces / self.lengths[:, None]])
        self.least = np.concatenate([np.zeros(self.size), -bounds / self.lengths])
        self.tight: list[int] = np.flatnonzero(point < 0.0).tolist()
        self.prices = -point[self.tight]
        self.z = np.maximum(point, 0.0)
        self.steps = 0
        self.tolerance = TOLERANCE * max(1.0, float(np.abs(point).max(initial=0.0)))

    def tighten(self) -> bool:
        """Make the most violated one tight; False where none is violated."""
        slack = self.normals @ self.z - self.least
        slack[self.tight] = 0.0
        new = int(np.argmin(slack))
        if slack[new] >= -self.tolerance:
            return False
        price = 0.0
        for _ in range(len(self.tight) + 1):
            taken, price_step, whole = self._step(new)
            price += price_step
            if whole:
                self.tight.append(new)
                self.prices = np.append(self.prices, price)
                break
            if taken is None:
                break
            self.prices = np.delete(self.prices, self.tight.index(taken))
            self.tight.remove(taken)
        return True

    def _step(self, new: int) -> tuple[int | None, float, bool]:
        """Go towards the new one; what had to be let go (None: nothing), the step, whether it is tight now."""
        self.steps += 1
        normal, basis = self.normals[new], self.normals[self.tight]
        # Only independent normals become tight, so that their Gram matrix is regular.
        share = np.linalg.solve(basis @ basis.T, basis @ normal) if self.tight else np.zeros(0)
        direction = normal - share @ basis if self.tight else normal
        steepness = float(direction @ direction)
        missing = float(self.least[new] - normal @ self.z)
        full = missing / steepness if steepness > DEPENDENT**2 else np.inf
        falling = share > 1e-14
        limits = np.where(falling, self.prices / np.where(falling, share, 1.0), np.inf)
        until = float(limits.min(initial=np.inf))
        step = min(full, until)
        if not np.isfinite(step):
            return None, 0.0, False
        self.prices = np.maximum(self.prices - step * share, 0.0)
        if np.isfinite(full):
            self.z = self.z + step * direction
        return (None, step, True) if full <= until else (self.tight[int(np.argmin(limits))], step, False)

    def result(self) -> tuple[F64, F64]:
        """The point and the faces' multipliers."""
        prices = np.zeros(len(self.normals))
        prices[self.tight] = self.prices
        return np.maximum(self.z, 0.0), prices[self.size :] / self.lengths
