"""Agreements one after the other among cells that come and go: who calls for one, and who takes part. Sans-I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from fairlead_isac.collaboration.agent import PATIENCE, CellAgent
from fairlead_isac.collaboration.letters import MOST_PERIOD, MOST_TARGETS, MOST_TEXTS, Call, Letter
from fairlead_isac.collaboration.network import Agreement, CellLinks, SharedTarget, SharedTask
from fairlead_isac.collaboration.sharing import Start

#: From an agreement to the next call: of the same cells and targets, and of others.
PERIOD_S, SOON_S = 2.0, 0.2
#: Between two letters to a cell to which there is nothing else to say, and after which silence a cell is not there.
HERE_S, SILENT_S = 0.4, 1.6
#: A period without an agreement is called anew after this; an agreement that is older does not hold any more.
GIVE_UP_S, HOLD_S = 10.0, 20.0
#: Coarser than where one process solves all: links are measured anew in the next period.
TOLERANCE, MOST_ROUNDS = 3e-3, 200


@dataclass(frozen=True, slots=True)
class Offer:
    """What a cell brings into the next agreement: its users and its own targets, and what it can do for them."""

    task: SharedTask
    links: CellLinks


@dataclass(frozen=True, slots=True)
class Agreed:
    """An agreement that is in force.

    Attributes:
        period: in which it was made.
        at_s: when this cell heard of it.
        cells: that take part, by name.
        agreement: targets are named ``cell.request``.
    """

    period: int
    at_s: float
    cells: tuple[str, ...]
    agreement: Agreement


@dataclass(frozen=True, slots=True)
class _Heard:
    at_s: float
    targets: Mapping[str, float]


class Exchange:
    """One cell's side of it. Time is an argument, letters are taken and handed out.

    The first by name of the cells that hear each other calls for an agreement each period, and at once where cells or
    targets are others than before. Each cell lets a `CellAgent` speak for it; what agents say in another period is
    dropped and counted.

    Args:
        name: of this cell.
        patience: of agents, in ticks.
        period_s, silent_s: see `PERIOD_S`, `SILENT_S`.
    """

    def __init__(
        self, name: str, patience: int = PATIENCE, period_s: float = PERIOD_S, silent_s: float = SILENT_S
    ) -> None:
        self.name, self.patience, self.period_s, self.silent_s = name, patience, period_s, silent_s
        self.agreed: Agreed | None = None
        self.period, self.opener = 0, ""
        self.dropped = 0
        """Agents' messages of another period."""
        self._highest = 0
        self._heard: dict[str, _Heard] = {}
        self._named: frozenset[str] = frozenset()
        self._offer: Offer | None = None
        self._agent: CellAgent | None = None
        self._call: Call | None = None
        self._opened_s, self._ended_s = 0.0, 0.0
        self._taken: tuple[str, int, int] | None = None
        self._opened_for: object = None
        self._spoke: set[str] = set()
        self._start: Start | None = None
        self._out: dict[str, deque[str]] = {}
        self._wrote_s: dict[str, float] = {}

    def alive(self, now: float) -> tuple[str, ...]:
        """Other cells that were heard lately, by name."""
        return tuple(sorted(cell for cell, heard in self._heard.items() if now - heard.at_s <= self.silent_s))

    def silence_s(self, cell: str, now: float) -> float | None:
        """How long a cell has been silent; None: it was never heard."""
        heard = self._heard.get(cell)
        return None if heard is None else now - heard.at_s

    def tick(self, now: float, offer: Offer | None, named: Collection[str]) -> None:
        """Let time pass.

        Args:
            now: seconds.
            offer: as it is now; None: this cell takes part in nothing and says nothing.
            named: the other cells that there are, whether or not they were heard.
        """
        self._offer, self._named = offer, frozenset(named)
        for gone in set(self._heard) - self._named:
            del self._heard[gone]
        alive = self.alive(now)
        if offer is None or not alive:
            self._agent, self.agreed, self._opened_for = None, None, None
            return
        if self.name < alive[0] and self._due(now, alive, offer):
            self._open(now, alive, offer)
        if self._agent is not None:
            self._agent.tick()
            self._take(now)
        if self.agreed is not None and now - self.agreed.at_s > HOLD_S:
            self.agreed = None

    def reset(self) -> None:
        """Forget the period that runs and its agreement."""
        self._agent, self.agreed, self._opened_for, self._start = None, None, None, None

    def hear(self, now: float, letter: Letter) -> None:
        """Take a letter of a cell that is known."""
        self._heard[letter.cell] = _Heard(now, dict(letter.targets))
        # Nobody gets there by counting: room is left to go on after what makes no sense.
        self._highest = max(self._highest, letter.period if letter.period < MOST_PERIOD // 2 else 0)
        if letter.call is not None:
            self._follow(now, letter, letter.call)
        if not letter.texts:
            return
        if self._agent is None or (letter.opener, letter.period) != (self.opener, self.period):
            self.dropped += len(letter.texts)
            return
        self._spoke.add(letter.cell)
        for text in letter.texts:
            self._agent.receive(text)
        self._take(now)

    def letter(self, cell: str, now: float, replica: int, epoch: int) -> Letter | None:
        """What is to be posted to a cell now, from a replica that holds a lease of an epoch; None: nothing."""
        out = self._out.setdefault(cell, deque(maxlen=MOST_TEXTS))
        due = now - self._wrote_s.get(cell, -HERE_S) >= HERE_S
        if self._offer is None or not (out or due):
            return None
        texts = tuple(out)
        out.clear()
        self._wrote_s[cell] = now
        calls = self._call is not None and self.opener == self.name and cell in self._call.cells
        return Letter(
            cell=self.name,
            replica=replica,
            epoch=epoch,
            opener=self.opener,
            period=self.period,
            targets=_told(self._offer),
            call=self._call if calls and cell not in self._spoke else None,
            texts=texts,
        )

    # --- periods -----------------------------------------------------------------------------------------------

    def _due(self, now: float, alive: tuple[str, ...], offer: Offer) -> bool:
        """Whether to call for the next agreement."""
        if self._agent is None or self.opener != self.name:
            return True
        if self._agent.agreement is None:
            return now - self._opened_s > GIVE_UP_S
        # The agreement must be told before what comes next.
        rest = self.period_s if self._opened_for == self._about(alive, offer) else min(SOON_S, self.period_s)
        return now - self._ended_s >= rest

    def _about(self, alive: tuple[str, ...], offer: Offer) -> object:
        return alive, self._targets(alive, offer)

    def _targets(self, alive: tuple[str, ...], offer: Offer) -> tuple[tuple[str, float], ...]:
        """Of all cells, with their deadlines."""
        theirs = {cell: self._heard[cell].targets for cell in alive}
        return tuple(
            (shared_name(cell, target), deadline)
            for cell, targets in sorted({self.name: _told(offer), **theirs}.items())
            for target, deadline in sorted(targets.items())
        )

    def _open(self, now: float, alive: tuple[str, ...], offer: Offer) -> None:
        targets = tuple(SharedTarget(name, 1.0, deadline) for name, deadline in self._targets(alive, offer))
        task = replace(offer.task, targets=targets)
        self._opened_s, self._opened_for = now, self._about(alive, offer)
        self._enter(self.name, self._highest + 1, Call.of((self.name, *alive), task), task, offer)

    def _follow(self, now: float, letter: Letter, call: Call) -> None:
        """Take part where a cell calls that goes before this one."""
        calls = letter.cell == letter.opener and letter.cell < self.name and self.name in call.cells
        if not calls or letter.period <= self.period or self._offer is None:
            return
        self._enter(letter.opener, letter.period, call, call.task(), self._offer)

    def _enter(self, opener: str, period: int, call: Call, task: SharedTask, offer: Offer) -> None:
        if self._agent is not None and self._agent.start is not None:
            self._start = self._agent.start
        self.opener, self.period, self._call = opener, period, call
        self._highest = max(self._highest, period)
        # The call goes out at once.
        self._spoke, self._out, self._wrote_s = set(), {}, {}
        sights = {shared_name(self.name, name): sight for name, sight in offer.links.sights.items()}
        self._agent = CellAgent(
            replace(offer.links, name=self.name, sights=sights),
            call.cells,
            task,
            self._send,
            self.patience,
            TOLERANCE,
            MOST_ROUNDS,
            self._start,
        )

    def _send(self, cell: str, text: str) -> None:
        if cell in self._named:
            self._out.setdefault(cell, deque(maxlen=MOST_TEXTS)).append(text)

    def _take(self, now: float) -> None:
        agent = self._agent
        if agent is None or agent.agreement is None:
            return
        # What is said again is no new agreement; one of a later leader's is.
        if self._taken != (self.opener, self.period, agent.term):
            self._taken = (self.opener, self.period, agent.term)
            cells = tuple(cell for cell in agent.cells if cell not in agent.agreement.left_out)
            self.agreed, self._ended_s = Agreed(self.period, now, cells, agent.agreement), now


def _told(offer: Offer) -> dict[str, float]:
    """Targets and deadlines that others are told of; those beyond get what was promised, see `own_part`."""
    return {target.name: target.deadline_s for target in offer.task.targets[:MOST_TARGETS]}


def shared_name(cell: str, target: str) -> str:
    """A cell's own target among those of all cells."""
    return f"{cell}.{target}"


def own_part(agreed: Agreement, links: CellLinks) -> Agreement:
    """An agreement as one cell's stage sees it: its own targets by their own names, and users as they were agreed.

    A target that came later than the agreement, or that was promised more than was agreed, gets what was promised
    (1 / information of the cell's whole time), as far as sensing's largest share allows.
    """
    cell = links.name
    shares = dict(agreed.time_share.get(cell, {}))
    sensing = {
        name: max(shares.get(shared_name(cell, name), 0.0), 1.0 / sight.information)
        for name, sight in links.sights.items()
        if sight.information > 0.0
    }
    taken = sum(sensing.values())
    scale = min(1.0, links.most_sensing / taken) if taken > 0.0 else 1.0
    got = {name: share * scale for name, share in sensing.items()}
    served = {name: share for name, share in shares.items() if name in links.rate_bits_per_s}
    unmet = {name: agreed.unmet[name] for name in links.rate_bits_per_s if name in agreed.unmet}
    short = {name: f"{100 * scale:.3g} % of its time is left" for name in got if scale < 1.0 - 1e-9}
    return replace(
        agreed,
        time_share={cell: {**served, **got}},
        information={name: share * links.sights[name].information for name, share in got.items()},
        sensing=dict.fromkeys(got, (cell,)),
        unmet={**unmet, **short},
    )
