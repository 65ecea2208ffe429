"""Who leads the rounds: first all cells may serve all users, then each user gets one cell. Sans-I/O."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from fairlead_isac.collaboration.messages import Contribution, Question, Report
from fairlead_isac.collaboration.network import LEAST_PART, Agreement, SharedTask
from fairlead_isac.collaboration.sharing import Sharing, Start
from fairlead_isac.errors import IsacError

F64 = NDArray[np.float64]

#: Residuals in units of a coordinate, and how many rounds each of the two phases may take.
TOLERANCE, MOST_ROUNDS = 1e-3, 400
#: As many where a decision waits for them; the next one begins where they ended.
ROUNDS_OF_DECISION = 60
#: A target that misses less than this of its information is met.
MET = 1e-3


class Leader:
    """The rounds from the cells' reports to an agreement.

    Args:
        task: users, targets, server.
        reports: of the cells that take part.
        name, term: who leads.
        most_rounds: of each phase; then what there is is agreed upon, and says so.
        tolerance: residual at which a phase ends.
        start: `start` of an earlier leader; one of other users, targets or cells is not used.

    Raises:
        IsacError: there is no report, or two are of one cell.
    """

    def __init__(
        self,
        task: SharedTask,
        reports: Iterable[Report],
        name: str = "",
        term: int = 0,
        most_rounds: int = MOST_ROUNDS,
        tolerance: float = TOLERANCE,
        start: Start | None = None,
    ) -> None:
        listed = sorted(reports, key=lambda report: report.cell)
        self.reports = {report.cell: report for report in listed}
        if not listed or len(self.reports) < len(listed):
            raise IsacError(f"cells: {[report.cell for report in listed]}; accepted: at least one, each once")
        self.task, self.name, self.term = task, name, term
        self.most_rounds, self.tolerance = most_rounds, tolerance
        # Contributions and prices are in units of the scale, so that those of an earlier scale hold for a new one.
        begun = start if start is not None and start.fits(task, self.reports) else None
        self.rate_scale = _rate_scale(task, self.reports)
        self.sharing = Sharing(task, self.rate_scale, tuple(self.reports), begun)
        self.start: Start | None = None
        """Where the first phase ended."""
        self._ignore_unreachable()
        self.round = 0
        self.left_out: list[str] = []
        self.agreement: Agreement | None = None
        self._answers: dict[str, Contribution] = {}
        self._allowed: dict[str, list[str]] | None = None
        self._bound: float | None = None
        self._phase_began, self._hurried = 0, False
        self._stopped: list[str] = []

    @property
    def waiting_for(self) -> tuple[str, ...]:
        """Cells that have not answered in this round."""
        return tuple(cell for cell in self.sharing.values if cell not in self._answers)

    def question(self, cell: str) -> Question:
        """Return what a cell is asked in this round."""
        return Question(
            self.term,
            self.round,
            cell,
            self.name,
            self.sharing.asked(cell).tolist(),
            self.rate_scale.tolist(),
            None if self._allowed is None else self._allowed[cell],
        )

    def receive(self, answer: Contribution) -> bool:
        """Take an answer, and begin the next round if it was the last one that was missing.

        Returns:
            Whether there is a new round or an agreement. Late, double and foreign answers change nothing.
        """
        fits = len(answer.value) == self.task.coordinates and np.isfinite(answer.value).all()
        if (answer.term, answer.round) != (self.term, self.round) or not fits or self.agreement is not None:
            return False
        if answer.cell in self.sharing.values:
            self._answers[answer.cell] = answer
        return self._advance()

    def leave_out(self, cells: Iterable[str]) -> bool:
        """Go on without cells that do not answer; the users whom they serve are given to others.

        Returns:
            Whether there is a new round or an agreement.

        Raises:
            IsacError: no cell would be left.
        """
        silent = [cell for cell in cells if cell in self.sharing.values]
        if len(silent) == len(self.sharing.values):
            raise IsacError(f"cells {silent} are all silent; accepted: one that answers")
        for cell in silent:
            self.sharing.leave_out(cell)
            self.left_out.append(cell)
        if silent:
            self.reports = {cell: self.reports[cell] for cell in self.sharing.values}
            self._ignore_unreachable()
            self._allowed, self._bound, self._phase_began, self._stopped = None, None, self.round, []
        return self._advance()

    @property
    def relaxed(self) -> bool:
        """Whether all cells may still serve all users: the first of the two phases."""
        return self._allowed is None

    def hurry(self) -> None:
        """End this phase with the next round, for time is up: any round's contributions are within all limits."""
        self._hurried = True

    def _ignore_unreachable(self) -> None:
        """A user whom no cell reaches has no rate whose logarithm could be taken."""
        reached = np.array([self._reached(number) for number in range(len(self.task.users))], dtype=bool)
        self.sharing.weights, self.sharing.least = self.sharing.weights * reached, self.sharing.least * reached

    def _reached(self, number: int) -> bool:
        """Whether any cell gives a user a rate that counts."""
        user, least = self.task.users[number].name, LEAST_PART * self.rate_scale[number]
        return any(report.rate_bits_per_s.get(user, 0.0) >= least for report in self.reports.values())

    def _advance(self) -> bool:
        if self.waiting_for or self.agreement is not None:
            return False
        answers = {cell: np.array(answer.value) for cell, answer in self._answers.items()}
        self.sharing.step({cell: answers[cell] for cell in self.sharing.values})
        self.round += 1
        residual = max(self.sharing.primal, self.sharing.dual)
        if residual <= self.tolerance:
            self._end_phase()
        elif self._hurried or self.round - self._phase_began >= self.most_rounds:
            self._stop(residual)
        self._answers = {}
        return True

    def _stop(self, residual: float) -> None:
        what = "who serves whom" if self.relaxed else "who gives how much"
        why, rounds = ", at the deadline," if self._hurried else "", self.round - self._phase_began
        self._stopped.append(f"{what}: stopped{why} after {rounds} rounds with a residual of {residual:.2g}")
        self._end_phase()

    def _end_phase(self) -> None:
        self._hurried = False
        if self._allowed is None:
            self._bound = self.sharing.utility(sum(self.sharing.values.values()), self.rate_scale)
            sharing = self.sharing
            self.start = Start(self.task.names, sharing.values, sharing.average, sharing.price, sharing.penalty)
            self._allowed, self._phase_began = self._rounded(), self.round
        else:
            self.agreement = self._agree()

    def _rounded(self) -> dict[str, list[str]]:
        """Each user's cell is that which gives it the largest part of its rate; before any, that of the best link."""
        allowed: dict[str, list[str]] = {cell: [] for cell in self.sharing.values}
        for number, user in enumerate(self.task.users):
            if self._reached(number):
                best = max(
                    allowed,
                    key=lambda cell: (
                        round(self.sharing.values[cell][number], 6),
                        self.reports[cell].rate_bits_per_s.get(user.name, 0.0),
                    ),
                )
                allowed[best].append(user.name)
        return allowed

    def _agree(self) -> Agreement:
        names = [target.name for target in self.task.targets]
        users, cells = len(self.task.users), self.sharing.values
        used = {cell: self._answers[cell].compute for cell in cells}
        # Residuals may leave the sum a little above the server's: all cells sense that much less.
        scale = min(1.0, 1.0 / max(sum(used.values()), 1e-300))
        total = np.sum(list(cells.values()), axis=0)
        total[users:-1] *= scale
        shares = {cell: self._shares(cell, scale) for cell in cells}
        rates = total[:users] * self.rate_scale
        return Agreement(
            time_share=shares,
            rate_bits_per_s={user.name: float(rate) for user, rate in zip(self.task.users, rates, strict=True)},
            information={name: float(part) for name, part in zip(names, total[users:-1], strict=True)},
            serving={user: cell for cell, theirs in (self._allowed or {}).items() for user in theirs},
            sensing={name: tuple(cell for cell in shares if shares[cell].get(name, 0.0) > 1e-6) for name in names},
            compute_cycles_per_s={cell: part * scale * self.task.compute_cycles_per_s for cell, part in used.items()},
            backhaul_bits_per_s={cell: self._answers[cell].backhaul_bits_per_s for cell in cells},
            time_price={cell: self.sharing.penalty * self._answers[cell].time_price for cell in cells},
            utility=self.sharing.utility(total, self.rate_scale),
            utility_bound=self._bound,
            rounds=self.round,
            left_out=tuple(self.left_out),
            unmet=self._unmet(total),
            fallback=self._fallback(),
        )

    def _shares(self, cell: str, scale: float) -> dict[str, float]:
        sensed = {target.name for target in self.task.targets}
        spent = self._answers[cell].time_share
        return {name: share * scale if name in sensed else share for name, share in spent.items()}

    def _unmet(self, total: F64) -> dict[str, str]:
        found: dict[str, str] = {}
        for number, user in enumerate(self.task.users):
            rate = float(total[number] * self.rate_scale[number])
            if not self._reached(number):
                found[user.name] = "no cell reaches it"
            elif rate < user.min_rate_bits_per_s * (1.0 - MET):
                found[user.name] = f"rate {rate:.4g} bit/s of {user.min_rate_bits_per_s:.4g}"
        for part, target in zip(total[len(self.task.users) : -1], self.task.targets, strict=True):
            if part < 1.0 - MET:
                found[target.name] = f"{100.0 * part:.3g} % of the information that is needed"
        return found

    def _fallback(self) -> str | None:
        reasons = [f"left out because silent: {', '.join(self.left_out)}"] if self.left_out else []
        return "; ".join([*reasons, *self._stopped]) or None


def _rate_scale(task: SharedTask, reports: dict[str, Report]) -> F64:
    """About what a user will get: its best cell shared by all users of a cell."""
    each = max(1.0, len(task.users) / len(reports))
    best = [max(report.rate_bits_per_s.get(user.name, 0.0) for report in reports.values()) for user in task.users]
    return np.array([max(rate / each, 1.0) for rate in best])
