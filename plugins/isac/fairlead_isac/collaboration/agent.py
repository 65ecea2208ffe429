"""A cell as an agent: it exchanges messages over a transport that may lose, double, delay and reorder them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fairlead_isac.collaboration.cell import CellParty
from fairlead_isac.collaboration.leader import MOST_ROUNDS, TOLERANCE, Leader
from fairlead_isac.collaboration.messages import Contribution, Question, Report, Settled, from_json, to_json
from fairlead_isac.collaboration.network import Agreement, CellLinks, SharedTask
from fairlead_isac.collaboration.sharing import Start
from fairlead_isac.errors import IsacError

#: Ticks without a word after which a cell is left out; a leader gets twice as many before the next one takes over.
PATIENCE = 24
#: Ticks between two sayings of what has no answer.
AGAIN = 2

Send = Callable[[str, str], None]


class CellAgent:
    """One cell's process in one period's agreement. Sans-I/O: what it sends goes to ``send``; time is a tick.

    The leader of a term is the cell whose turn it is, in the order of names. Cells report to it; it asks all of them
    in rounds and says again what was lost. A cell that does not answer for PATIENCE ticks is left out; when a leader is
    silent, the next cell leads a new term. Cells that are cut off from each other each agree among themselves; when
    they hear of each other again, the agreement of the higher term holds.

    Args:
        links: what this cell can do.
        cells: names of all cells, this one's among them.
        task: users, targets, server: the same for all.
        send: called with a cell's name and a text; it may lose the text.
        patience: see above.
        tolerance, most_rounds: of the rounds, where this cell leads.
        start: `start` of this cell's agent in the period before.

    Raises:
        IsacError: this cell is not among the cells.
    """

    def __init__(
        self,
        links: CellLinks,
        cells: Sequence[str],
        task: SharedTask,
        send: Send,
        patience: int = PATIENCE,
        tolerance: float = TOLERANCE,
        most_rounds: int = MOST_ROUNDS,
        start: Start | None = None,
    ) -> None:
        self.name, self.cells, self.task = links.name, tuple(sorted(cells)), task
        if self.name not in self.cells:
            raise IsacError(f"cells {self.cells}: {self.name!r} is missing; accepted: all cells, this one among them")
        self.party, self.patience = CellParty(task, links), patience
        self.tolerance, self.most_rounds = tolerance, most_rounds
        self.term, self.start = 0, start
        self.agreement: Agreement | None = None
        self.refused: str | None = None
        """Why the last message that made no sense made none."""
        self._send, self._silence = send, 0
        self._reports: dict[str, Report] = {}
        self._leader: Leader | None = None
        self._answered: tuple[tuple[int, int], str] = ((-1, -1), "")

    @property
    def leads(self) -> bool:
        """Whether it is this cell's turn."""
        return self.cells[self.term % len(self.cells)] == self.name

    def tick(self) -> None:
        """Let time pass: say again what has no answer, lose patience."""
        self._silence += 1
        if self.agreement is not None:
            return
        if self.leads:
            self._lead()
        elif self._silence > 2 * self.patience:
            self._enter(self.term + 1)
        elif self._silence % AGAIN == 1:
            self._send(self.cells[self.term % len(self.cells)], to_json(self.party.report(self.term)))

    def receive(self, text: str) -> None:
        """Take a message; one that makes no sense is noted in ``refused`` and changes nothing."""
        try:
            message = from_json(text)
            if message.term < self.term:
                self._correct(message)
                return
            if message.term > self.term:
                self._enter(message.term)
            self._take(message)
        except IsacError as error:
            self.refused = str(error)

    def _take(self, message: Report | Question | Contribution | Settled) -> None:
        if isinstance(message, Settled):
            self._silence, self.agreement = 0, message.agreement
        elif isinstance(message, Question):
            self._silence = 0
            self._send(message.leader, self._answer(message))
        elif not self.leads:
            return
        elif self.agreement is not None:
            self._send(message.cell, to_json(Settled(self.term, self.name, self.agreement)))
        elif isinstance(message, Report):
            self._reports.setdefault(message.cell, message)
        elif self._leader is not None and self._leader.receive(message):
            self._silence = 0
            self._ask()

    def _answer(self, question: Question) -> str:
        """The same question, said again, gets the same answer."""
        asked = (question.term, question.round)
        if asked != self._answered[0]:
            self._answered = (asked, to_json(self.party.answer(question)))
        return self._answered[1]

    def _correct(self, message: Report | Question | Contribution | Settled) -> None:
        """Tell who speaks in an old term of the agreement, if there is one; else its own silence moves it on."""
        sender = message.leader if isinstance(message, Question | Settled) else message.cell
        if self.agreement is not None and sender != self.name:
            self._send(sender, to_json(Settled(self.term, self.name, self.agreement)))

    def _enter(self, term: int) -> None:
        self.term, self._silence, self._leader, self.agreement = term, 0, None, None
        self._reports = {}

    def _lead(self) -> None:
        if self._leader is not None:
            if self._silence > self.patience:
                self._silence = 0
                self._leader.leave_out([cell for cell in self._leader.waiting_for if cell != self.name])
            if self._silence % AGAIN == 0:
                self._ask()
            return
        self._reports[self.name] = self.party.report(self.term)
        if len(self._reports) == len(self.cells) or self._silence > self.patience:
            missing = sorted(set(self.cells) - set(self._reports))
            self._leader = Leader(
                self.task, self._reports.values(), self.name, self.term, self.most_rounds, self.tolerance, self.start
            )
            self._leader.left_out.extend(missing)
            self._silence = 0
            self._ask()

    def _ask(self) -> None:
        """Ask all that have not answered; its own answer may end the round at once."""
        leader = self._leader
        assert leader is not None
        while leader.agreement is None and self.name in leader.waiting_for:
            leader.receive(self.party.answer(leader.question(self.name)))
        if leader.agreement is not None:
            self.agreement, self.start = leader.agreement, leader.start
            self._tell()
            return
        for cell in leader.waiting_for:
            self._send(cell, to_json(leader.question(cell)))

    def _tell(self) -> None:
        assert self.agreement is not None
        for cell in self.cells:
            if cell != self.name:
                self._send(cell, to_json(Settled(self.term, self.name, self.agreement)))
