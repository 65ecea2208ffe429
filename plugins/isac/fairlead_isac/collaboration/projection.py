"""The nearest point of a polytope with few faces: what a cell answers when it is asked for more than it can do."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fairlead_isac.errors import IsacError

F64 = NDArray[np.float64]

#: Of a unit normal's slack; and the length below which a normal is in the span of others.
TOLERANCE, DEPENDENT = 1e-10, 1e-7


def project(point: F64, faces: F64, bounds: F64) -> tuple[F64, F64]:
    """Return the point z >= 0 with ``faces @ z <= bounds`` that is nearest to ``point``, and the faces' prices.

    The dual active-set method of Goldfarb and Idnani (1983) for the Hessian I: from the nearest z >= 0, each violated
    face is made tight in turn, letting go of what its step would give a negative price. Ends after finitely many steps.

    Args:
        point: float64 [n].
        faces: float64 [m, n].
        bounds: float64 [m], all >= 0, so that z = 0 is allowed.

    Returns:
        z: float64 [n], and the multipliers: float64 [m].

    Raises:
        IsacError: a number is not finite.
    """
    if not (np.isfinite(point).all() and np.isfinite(faces).all() and np.isfinite(bounds).all()):
        raise IsacError("projection: a coordinate, a face or a bound is not finite; accepted: finite numbers")
    search = _ActiveSet(point, faces, bounds)
    for _ in range(20 * (len(point) + len(faces))):
        if not search.tighten():
            break
    return search.result()


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
