"""A cell's part of the rounds, and all cells in one process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import numpy as np

from fairlead_isac.collaboration.leader import MOST_ROUNDS, ROUNDS_OF_DECISION, TOLERANCE, Leader
from fairlead_isac.collaboration.local import LocalProblem
from fairlead_isac.collaboration.messages import Contribution, Question, Report
from fairlead_isac.collaboration.network import Agreement, CellLinks, SharedTask
from fairlead_isac.collaboration.sharing import Start
from fairlead_isac.errors import IsacError


class CellParty:
    """Answers a leader's questions; keeps nothing between them but a warm start.

    Args:
        task: users, targets, server.
        links: what the cell can do.
    """

    def __init__(self, task: SharedTask, links: CellLinks) -> None:
        self.task, self.links = task, links
        self._local: LocalProblem | None = None
        self._scale: list[float] = []

    def report(self, term: int = 0) -> Report:
        """Return what the cell reaches."""
        names = {user.name for user in self.task.users}
        rates = {name: rate for name, rate in self.links.rate_bits_per_s.items() if name in names}
        seen = {name: sight.information for name, sight in self.links.sights.items()}
        return Report(term, self.links.name, rates, seen)

    def answer(self, question: Question) -> Contribution:
        """Return the contribution that is nearest to what is asked.

        Raises:
            IsacError: the question has another number of coordinates or of users than the task.
        """
        sizes = (len(question.asked), len(question.rate_scale))
        if sizes != (self.task.coordinates, len(self.task.users)):
            raise IsacError(
                f"question: {sizes[0]} coordinates and {sizes[1]} users; "
                f"accepted: {self.task.coordinates} and {len(self.task.users)}"
            )
        local = self._problem(question.rate_scale)
        allowed = None if question.allowed is None else set(question.allowed)
        mask = None if allowed is None else np.array([user.name in allowed for user in self.task.users], dtype=bool)
        value = local.answer(np.array(question.asked), mask)
        return Contribution(
            question.term,
            question.round,
            self.links.name,
            value.tolist(),
            local.shares(value),
            local.compute_of(value),
            local.backhaul_of(value),
            local.time_price,
        )

    def _problem(self, rate_scale: list[float]) -> LocalProblem:
        if self._local is None or rate_scale != self._scale:
            self._local, self._scale = LocalProblem(self.task, self.links, np.array(rate_scale)), rate_scale
        return self._local


class Agreeing:
    """Lets all cells agree in one process, again and again: each time begins where the last one ended.

    Args:
        most_rounds, tolerance: as for `Leader`.
        deadline_s: for one agreement, half of it for each of the two phases; None: the rounds alone bound it. Where it
            is over, the contributions of the next round are agreed upon, which are within all limits.
        clock: in seconds.

    Raises:
        IsacError: a deadline that is not above 0.
    """

    def __init__(
        self,
        most_rounds: int = ROUNDS_OF_DECISION,
        tolerance: float = TOLERANCE,
        deadline_s: float | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        if deadline_s is not None and not deadline_s > 0.0:
            raise IsacError(f"deadline_s = {deadline_s!r}; accepted: seconds above 0, or None")
        self.most_rounds, self.tolerance, self.deadline_s, self._clock = most_rounds, tolerance, deadline_s, clock
        self._start: Start | None = None

    def __call__(self, task: SharedTask, cells: Iterable[CellLinks]) -> Agreement:
        """Agree.

        Raises:
            IsacError: there is no cell, or two of one name.
        """
        began, listed = self._clock(), list(cells)
        parties = {links.name: CellParty(task, links) for links in listed}
        reports = [CellParty(task, links).report() for links in listed]
        rounds, tolerance = self.most_rounds, self.tolerance
        leader = Leader(task, reports, most_rounds=rounds, tolerance=tolerance, start=self._start)
        while leader.agreement is None:
            if self.deadline_s is not None and self._clock() - began > self.deadline_s * (1.0 - leader.relaxed / 2.0):
                leader.hurry()
            for cell in leader.waiting_for:
                leader.receive(parties[cell].answer(leader.question(cell)))
        self._start = leader.start
        return leader.agreement


def agree(
    task: SharedTask, cells: Iterable[CellLinks], most_rounds: int = MOST_ROUNDS, tolerance: float = TOLERANCE
) -> Agreement:
    """Let all cells agree once; see `Agreeing`."""
    return Agreeing(most_rounds, tolerance)(task, cells)
