"""How many iterations fit a deadline: native code counts iterations and reads no clock, so a pace is measured once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fairlead_isac.solvers.allocation import allocate
from fairlead_isac.solvers.checks import above_zero
from fairlead_isac.solvers.illumination import illuminate

REPEATS = 9


@dataclass(frozen=True, slots=True)
class Pace:
    """What a decision takes on this machine, for questions of one size.

    Attributes:
        fixed_s: seconds before and after the iterations.
        iteration_s: seconds of an iteration.
    """

    fixed_s: float
    iteration_s: float

    def iterations(self, deadline_s: float, share: float = 0.5) -> int:
        """Return the ``most_iterations`` that a share of the deadline holds, one at least.

        The other half is for what the machine does meanwhile; a decision that needs more answers with its best point.

        Raises:
            IsacError: a deadline or share that is not above zero.
        """
        room = above_zero("deadline_s", deadline_s) * above_zero("share", share) - self.fixed_s
        return max(1, int(room / self.iteration_s))

    @classmethod
    def of_beams(cls, users: int, antennas: int, clock: Callable[[], float]) -> Pace:
        """Measure ``illuminate`` on channels of that size, by a clock in seconds (``time.perf_counter``)."""
        rng = np.random.default_rng(0)
        channels = rng.standard_normal((users, antennas)) + 1j * rng.standard_normal((users, antennas))
        question = (channels, np.ones(antennas), np.full(users, 3.0), 100.0, 1.0)
        return _measured(lambda most: illuminate(*question, most_iterations=most), clock)

    @classmethod
    def of_blocks(cls, users: int, blocks: int, clock: Callable[[], float]) -> Pace:
        """Measure ``allocate`` on gains of that size, by a clock in seconds (``time.perf_counter``)."""
        rng = np.random.default_rng(0)
        gains, power = rng.exponential(1.0, (users, blocks)), float(blocks)
        information = 0.6 * power * (blocks - 1) ** 2 / 4
        return _measured(lambda most: allocate(gains, np.ones(users), power, information, most_iterations=most), clock)


def _measured(decide: Callable[[int], Any], clock: Callable[[], float]) -> Pace:
    """The least of some repeats, of one iteration and of as many as there are."""
    short, long, used = np.inf, np.inf, 1
    for _ in range(REPEATS):
        began = clock()
        decide(1)
        between = clock()
        used = decide(1000).iterations
        ended = clock()
        short, long = min(short, between - began), min(long, ended - between)
    each = max((long - short) / max(used - 1, 1), 1e-9)
    return Pace(max(short - each, 0.0), each)
