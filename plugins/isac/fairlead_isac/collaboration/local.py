"""One cell's part of the common problem: all that it can do is a polytope, and it answers with the nearest point."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fairlead_isac.collaboration.network import LEAST_PART, CellLinks, SharedTask
from fairlead_isac.collaboration.projection import project

F64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Needs:
    """What a full share of a cell's time takes for each target (float64 [targets]): backhaul bit/s and cycles/s.

    Samples must be at the edge and processed within a deadline D: bits / u + cycles / f <= D. D is split between the
    two so that the sum of what they take of the whole backhaul C and of the whole server F is least:
    the backhaul's part is sqrt(bits / C) / (sqrt(bits / C) + sqrt(cycles / F)).
    """

    backhaul: F64
    compute: F64


def needs(task: SharedTask, links: CellLinks) -> Needs:
    """Return what sensing takes of backhaul and server; 0 for targets that the cell does not see."""
    found = [links.sights.get(target.name) for target in task.targets]
    bits = np.array([0.0 if sight is None else sight.bits for sight in found])
    cycles = np.array([0.0 if sight is None else sight.cycles for sight in found])
    deadline = np.array([target.deadline_s for target in task.targets])
    sending = np.sqrt(bits / links.backhaul_bits_per_s)
    working = np.sqrt(cycles / task.compute_cycles_per_s)
    both = np.maximum(sending + working, 1e-300)
    # u = bits / (part D) with part = sending / both, and sending^2 = bits / C; so for f.
    return Needs(
        sending * both * links.backhaul_bits_per_s / deadline,
        working * both * task.compute_cycles_per_s / deadline,
    )


class LocalProblem:
    """A cell's polytope in scaled coordinates: rates, information of targets, computing.

    A coordinate of a contribution is 1 where it is all that the task's scale holds: `rate_scale` bit/s of a user, a
    target's needed information, the whole server.

    Args:
        task: the common part.
        links: what the cell can do.
        rate_scale: float64 [users], bit/s.
    """

    def __init__(self, task: SharedTask, links: CellLinks, rate_scale: F64) -> None:
        self.task, self.links = task, links
        wanted = np.array([target.information for target in task.targets])
        sights = [links.sights.get(target.name) for target in task.targets]
        rate = np.array([links.rate_bits_per_s.get(user.name, 0.0) for user in task.users]) / rate_scale
        seen = np.array([0.0 if sight is None else sight.information for sight in sights]) / wanted
        self._full = np.concatenate([rate, seen])
        self._can = self._full >= LEAST_PART
        #: Share of the cell's time for one unit of each coordinate.
        self.time = np.divide(1.0, self._full, out=np.zeros_like(self._full), where=self._can)
        taken = needs(task, links)
        users = len(task.users)
        self.compute = self.time[users:] * taken.compute / task.compute_cycles_per_s
        backhaul = np.concatenate([rate_scale * self._can[:users], self.time[users:] * taken.backhaul])
        self.backhaul = backhaul / links.backhaul_bits_per_s
        self._faces, self._bounds = self._polytope()
        self._can[users:] &= links.most_sensing > 0.0
        self._prices: F64 = np.zeros(4)

    def _polytope(self) -> tuple[F64, F64]:
        """Time, backhaul, sensing's most, and computing that is at least what sensing takes."""
        users = len(self.task.users)
        sensing = self.time.copy()
        sensing[:users] = 0.0
        rows = [(self.time, 1.0), (self.backhaul, 1.0), (sensing, self.links.most_sensing)]
        faces = np.zeros((4, len(self.time) + 1))
        for number, (row, _) in enumerate(rows):
            faces[number, :-1] = row
        faces[3, users:-1], faces[3, -1] = self.compute, -1.0
        return faces, np.array([*(bound for _, bound in rows), 0.0])

    def answer(self, asked: F64, allowed: NDArray[np.bool_] | None = None) -> F64:
        """Return the contribution nearest to what is asked; its computing may be more than it takes, see `compute_of`.

        Whatever the projection comes to, time, backhaul and sensing's share are kept.

        Args:
            asked: float64 [coordinates], scaled.
            allowed: bool [users]: whom the cell may serve; None: all.
        """
        may = self._can.copy()
        if allowed is not None:
            may[: len(allowed)] &= allowed
        kept = np.concatenate([may, [True]])
        value = np.zeros(len(kept))
        value[kept], self._prices = project(asked[kept], self._faces[:, kept], self._bounds, self._prices)
        return self._within(value)

    def _within(self, value: F64) -> F64:
        """The same contribution, scaled down as far as its limits ask for: what is outside by rounding comes inside."""
        taken, most = self._faces[:3] @ value, self._bounds[:3]
        over = np.divide(taken, most, out=np.ones(3), where=(most > 0.0) & (taken > most))
        value = value / float(over.max())
        value[-1] = max(value[-1], self.compute_of(value))
        return value

    @property
    def time_price(self) -> float:
        """Multiplier of the cell's time in its last answer, in units of the scaled coordinates."""
        return float(self._prices[0])

    def compute_of(self, value: F64) -> float:
        """Share of the edge server that a contribution's sensing takes."""
        return float(self.compute @ value[len(self.task.users) : -1])

    def backhaul_of(self, value: F64) -> float:
        """Bit/s that a contribution takes of the cell's backhaul."""
        return float(self.backhaul @ value[:-1]) * self.links.backhaul_bits_per_s

    def shares(self, value: F64) -> dict[str, float]:
        """Return the share of the cell's time of each user and target that gets one."""
        names = [each.name for each in (*self.task.users, *self.task.targets)]
        spent = self.time * value[:-1]
        return {name: float(share) for name, share in zip(names, spent, strict=True) if share > 0.0}
