"""The leader's part of ADMM: what all cells' contributions together are worth, and what each is asked for next."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fairlead_isac.collaboration.network import SHORTFALL_PRICE, SharedTask

F64 = NDArray[np.float64]

#: How unequal residuals may be before the penalty changes (Boyd et al. 2011, section 3.4.1), and by how much.
UNEQUAL, CHANGE = 2.0, 1.5
CHANGES_EVERY, CHANGES_UNTIL = 3, 100
#: Over-relaxation (section 3.4.3): of the cells' new mean, the rest being the old common average.
RELAXATION = 1.6


@dataclass(frozen=True, slots=True, eq=False)
class Start:
    """Where an earlier agreement's rounds ended: a near one begins there and takes fewer.

    Attributes:
        names: of users and targets, in order.
        values: of each cell, float64 [coordinates].
        average, price: float64 [coordinates].
        penalty: of the augmented Lagrangian.
    """

    names: tuple[str, ...]
    values: dict[str, F64]
    average: F64
    price: F64
    penalty: float

    def fits(self, task: SharedTask, cells: Iterable[str]) -> bool:
        """Whether users, targets and cells are the same."""
        return self.names == task.names and set(self.values) == set(cells)


class Sharing:
    """The sharing problem: minimise g(sum of z_b) with each z_b in its cell's polytope.

    Boyd et al. 2011, section 7.3, in scaled form. With the cells' mean z, their common average zeta and its price
    upsilon, a cell is asked for z_b - z + zeta - upsilon; a cell's answer is a projection and knows no penalty.
    -g is sum of weight log(rate) minus SHORTFALL_PRICE times what misses of least rates and of needed information, as
    long as computing is within the server's.

    Args:
        task: the common part.
        rate_scale: float64 [users], bit/s.
        cells: names.
        start: of an earlier agreement of the same names; None: from nothing.
    """

    def __init__(self, task: SharedTask, rate_scale: F64, cells: tuple[str, ...], start: Start | None = None) -> None:
        self.weights = np.array([user.weight for user in task.users])
        self.least = np.array([user.min_rate_bits_per_s for user in task.users]) / rate_scale
        self.users, self.size = len(task.users), task.coordinates
        self.values = {cell: np.zeros(self.size) for cell in cells}
        self.average, self.price, self.penalty = np.zeros(self.size), np.zeros(self.size), 1.0
        if start is not None:
            self.values = {cell: start.values[cell] for cell in cells}
            self.average, self.price, self.penalty = start.average, start.price, start.penalty
        self.primal = self.dual = np.inf
        self.steps = 0

    def asked(self, cell: str) -> F64:
        """Return what a cell is asked for: float64 [coordinates]."""
        return self.values[cell] - self._mean() + self.average - self.price

    def leave_out(self, cell: str) -> None:
        """Go on without a cell."""
        del self.values[cell]

    def step(self, answers: dict[str, F64]) -> None:
        """Take the answers of all cells that are left and update average and price."""
        moved = [answers[cell] - self.values[cell] for cell in self.values]
        self.values = {cell: answers[cell] for cell in self.values}
        cells, mean = len(self.values), self._mean()
        ahead = RELAXATION * mean + (1.0 - RELAXATION) * self.average
        self.average = self._best(cells * (ahead + self.price), self.penalty / cells) / cells
        self.price = self.price + ahead - self.average
        self.primal = cells * float(np.abs(mean - self.average).max())
        self.dual = self.penalty * float(np.abs(moved).max())
        self.steps += 1
        self._balance()

    def _mean(self) -> F64:
        return np.mean(list(self.values.values()), axis=0)

    def _best(self, near: F64, stiffness: float) -> F64:
        """argmin_y g(y) + stiffness / 2 |y - near|^2, by coordinate."""
        push = SHORTFALL_PRICE / stiffness
        rates, seen = near[: self.users], near[self.users : -1]
        free = _log_step(rates, self.weights / stiffness)
        pushed = np.minimum(_log_step(rates + push, self.weights / stiffness), self.least)
        rate = np.where(free >= self.least, free, pushed)
        enough = np.where(seen >= 1.0, seen, np.minimum(1.0, seen + push))
        return np.concatenate([rate, enough, [min(near[-1], 1.0)]])

    def _balance(self) -> None:
        """Keep both residuals alike; only for some time, so that the iteration converges."""
        if self.steps > CHANGES_UNTIL or self.steps % CHANGES_EVERY:
            return
        factor = CHANGE if self.primal > UNEQUAL * self.dual else 1.0
        factor = 1.0 / CHANGE if self.dual > UNEQUAL * self.primal else factor
        self.penalty *= factor
        self.price = self.price / factor

    def utility(self, total: F64, rate_scale: F64) -> float:
        """-g of a sum of contributions, with rates in bit/s; a user whom nobody can serve counts with 1 bit/s."""
        rates, seen = total[: self.users], total[self.users : -1]
        earned = float(self.weights @ np.log(np.maximum(rates * rate_scale, 1.0)))
        missing = np.maximum(self.least - rates, 0.0).sum() + np.maximum(1.0 - seen, 0.0).sum()
        return earned - SHORTFALL_PRICE * float(missing)


def _log_step(near: F64, weight: F64) -> F64:
    """argmin_y -weight log y + |y - near|^2 / 2."""
    root = np.sqrt(near * near + 4.0 * weight)
    # For near < 0 the sum cancels.
    return np.where(near >= 0.0, (near + root) / 2.0, 2.0 * weight / np.maximum(root - near, 1e-300))
