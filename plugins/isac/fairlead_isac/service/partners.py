"""The other replicas' cells: a thread that follows who there is, posts letters and takes those that were posted.

Slots never wait for it: they leave what they measured and read the agreement that is in force.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import time
from collections.abc import Callable
from typing import Any

import httpx

from fairlead_agent.plugin import Peer

from ..collaboration.exchange import Agreed, Exchange, Offer
from ..collaboration.letters import MOST_TARGETS, Letter
from ..collaboration.network import CellLinks, SharedTask
from .book import Entry
from .counters import Counters
from .estimate import Estimate
from .seat import Seat
from .tracks import Tracks

PATH = "/cells/messages"
TICK_S, TIMEOUT_S = 0.05, 2.0
#: Posts to one cell that may be under way at once: a lost one must not hold up what comes after it.
IN_FLIGHT = 4
#: Letters that may wait to be read, and after which time a cell's offer is no word of its state any more.
WAITING, STALE_S = 256, 2.0
ALONE = "no other cell is there: it decides alone"


class Partners:
    """Lets this cell agree with the others.

    Args:
        seat: which cell this is.
        counters: of letters.
        note: hears of each agreement: reason, fallback, what was agreed.
        warn: hears of what fails.
        present: whether the cell takes part: not while its radio is gone.
        clock: monotonic seconds.
        tracks: estimates of targets that are exchanged; None: none are.
        unix: Unix seconds.
        exchange: the cell's side of agreements; None: with the default patience.
        transport: of httpx, for tests.
    """

    def __init__(
        self,
        seat: Seat,
        counters: Counters,
        note: Callable[[str, str | None, dict[str, Any]], None],
        warn: Callable[..., object] = lambda event, **values: None,
        present: Callable[[], bool] = lambda: True,
        clock: Callable[[], float] = time.monotonic,
        tracks: Tracks | None = None,
        unix: Callable[[], float] = time.time,
        exchange: Exchange | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._seat, self._counters, self._note, self._warn = seat, counters, note, warn
        self._present, self._clock, self._transport = present, clock, transport
        self._tracks, self._unix = tracks, unix
        self.name = seat.name_of(seat.replica)
        self._exchange = Exchange(self.name) if exchange is None else exchange
        self._offer: tuple[float, Offer] | None = None
        self._peers: dict[str, Peer] = {}
        self._ever, self._unreached = set[str](), set[str]()
        self._inbox: queue.Queue[Letter] = queue.Queue(WAITING)
        self._posting: dict[asyncio.Task[None], str] = {}
        self._noted: Agreed | None = None
        self._alone = False
        self._loop = asyncio.new_event_loop()
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._thread = threading.Thread(target=self._run, name="cells", daemon=True)

    def start(self) -> None:
        """Follow and agree from now on."""
        self._thread.start()

    def close(self) -> None:
        """Fall silent."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._cancel)
            self._thread.join(10)

    # --- for the slots -----------------------------------------------------------------------------------------

    @property
    def agreed(self) -> Agreed | None:
        """The agreement that is in force; None: this cell decides alone."""
        return self._exchange.agreed

    def reached(self) -> dict[str, Peer]:
        """The other cells that have an address, by name."""
        return dict(self._peers)

    def offer(self, task: SharedTask, links: CellLinks) -> None:
        """Leave what this cell can do now, for the next agreement."""
        self._offer = (self._clock(), Offer(task, links))

    def refine(self, entry: Entry, estimate: Estimate) -> Estimate:
        """An estimate with what other cells add to it."""
        return estimate if self._tracks is None else self._tracks.refine(entry, estimate)

    def missing(self) -> dict[str, str]:
        """Cells that were there, and do not take part in the agreement that is in force, and why."""
        agreed, now = self.agreed, self._clock()
        found = {cell: self._why(cell, now) for cell in sorted(self._ever)}
        taking = () if agreed is None else agreed.cells
        return {cell: why for cell, why in found.items() if cell not in taking}

    def body(self) -> dict[str, Any]:
        """As JSON."""
        agreed, now = self.agreed, self._clock()
        shares = {} if agreed is None else agreed.agreement.time_share.get(self.name, {})
        return {
            "cell": self.name,
            "with": [] if agreed is None else [cell for cell in agreed.cells if cell != self.name],
            "left_out": self.missing(),
            "reason": "agreed" if agreed is not None else "not agreed yet" if self._peers else ALONE,
            "period": None if agreed is None else agreed.period,
            "age_s": None if agreed is None else now - agreed.at_s,
            "rounds": None if agreed is None else agreed.agreement.rounds,
            "serving": {} if agreed is None else dict(agreed.agreement.serving),
            "time_share": dict(shares),
            "unmet": {} if agreed is None else dict(agreed.agreement.unmet),
        }

    # --- for the route -----------------------------------------------------------------------------------------

    def receive(self, letter: Letter) -> str:
        """Take a letter; returns why it was dropped, empty: it was not."""
        peer = self._peers.get(letter.cell)
        if peer is None or peer.replica != letter.replica:
            self._counters.add("letters_unknown")
            known = ", ".join(self._peers) or "none"
            return f"replica {letter.replica} as {letter.cell!r} is no cell that is known here; known: {known}"
        if peer.epoch != letter.epoch:
            self._counters.add("letters_of_another_epoch")
            return f"epoch {letter.epoch} of {letter.cell!r}; its lease is of epoch {peer.epoch}"
        try:
            self._inbox.put_nowait(letter)
        except queue.Full:
            self._counters.add("letters_overflowed")
            return f"{WAITING} letters are waiting"
        self._counters.add("letters_heard")
        if self._tracks is not None:
            self._tracks.hear(letter.cell, letter.estimates)
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._woken.set)
        return ""

    # --- the thread --------------------------------------------------------------------------------------------

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _run(self) -> None:
        self._task = self._loop.create_task(self._work())
        with contextlib.suppress(asyncio.CancelledError):
            self._loop.run_until_complete(self._task)
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    async def _work(self) -> None:
        watching = asyncio.create_task(self._watch())
        limits = httpx.Limits(max_connections=64, max_keepalive_connections=64)
        try:
            async with httpx.AsyncClient(transport=self._transport, limits=limits, timeout=TIMEOUT_S) as http:
                await self._follow(http)
        finally:
            running = [watching, *self._posting]
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def _watch(self) -> None:
        async for peers in self._seat.host.peers():
            others = [peer for peer in peers if peer.replica != self._seat.replica]
            named = {self._seat.name_of(peer.replica): peer for peer in others}
            self._ever = self._ever | set(named)
            self._unreached = {cell for cell, peer in named.items() if peer.address is None}
            self._peers = {cell: peer for cell, peer in named.items() if peer.address is not None}
            self._woken.set()

    async def _follow(self, http: httpx.AsyncClient) -> None:
        due = self._clock()
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), max(0.001, due - self._clock()))
            self._woken.clear()
            try:
                due = self._step(due)
                for cell, peer in self._peers.items():
                    self._flush(http, cell, peer)
            except Exception as error:  # what one cell says must not end the talks with the others
                self._counters.add("failed_agreements")
                self._warn("an agreement failed", reason=f"{type(error).__name__}: {error}")
                self._exchange.reset()
                due = self._clock() + TICK_S

    def _step(self, due: float) -> float:
        """Read what came, and let time pass where it is time; returns when it is next."""
        dropped = self._exchange.dropped
        with contextlib.suppress(queue.Empty):
            while True:
                self._exchange.hear(self._clock(), self._inbox.get_nowait())
        now = self._clock()
        if now >= due:
            due = now + TICK_S
            self._exchange.tick(now, self._current(now), self._peers)
        if self._exchange.dropped > dropped:
            self._counters.add("messages_of_another_period", self._exchange.dropped - dropped)
        self._tell()
        return due

    def _current(self, now: float) -> Offer | None:
        """What the slots left, while they do and the radio is there."""
        offer = self._offer
        return offer[1] if offer is not None and now - offer[0] <= STALE_S and self._present() else None

    def _flush(self, http: httpx.AsyncClient, cell: str, peer: Peer) -> None:
        if sum(to == cell for to in self._posting.values()) >= IN_FLIGHT:
            return
        letter = self._exchange.letter(cell, self._clock(), self._seat.replica, self._seat.host.epoch)
        if letter is not None:
            if self._tracks is not None:
                lines = list(self._tracks.lines(self._unix()).items())[:MOST_TARGETS]
                letter = letter.model_copy(update={"estimates": dict(lines)})
            task = self._loop.create_task(self._post(http, peer, letter))
            self._posting[task] = cell
            task.add_done_callback(self._posted)

    def _posted(self, task: asyncio.Task[None]) -> None:
        del self._posting[task]
        self._woken.set()

    async def _post(self, http: httpx.AsyncClient, peer: Peer, letter: Letter) -> None:
        """What is lost is said again by agents; so a letter that cannot be posted is counted and no more."""
        headers = {"Fairlead-Epoch": str(peer.epoch), "Content-Type": "application/json"}
        try:
            answer = await http.post(f"{peer.address}{PATH}", content=letter.model_dump_json(), headers=headers)
            if answer.status_code >= 400:
                self._counters.add("letters_unsent")
        except httpx.HTTPError:
            self._counters.add("letters_unsent")

    # --- what is told ------------------------------------------------------------------------------------------

    def _tell(self) -> None:
        agreed = self._exchange.agreed
        if agreed is not None and agreed is not self._noted:
            self._counters.add("agreements")
            others = [cell for cell in agreed.cells if cell != self.name]
            said = f"agreed with {', '.join(others) or 'nobody'} after {agreed.agreement.rounds} rounds"
            self._note(said + self._left_out(), agreed.agreement.fallback, self.body())
        elif agreed is None and (self._noted is not None or not self._alone):
            self._note((ALONE if not self._peers else "not agreed: it decides alone") + self._left_out(), None, {})
        self._noted, self._alone = agreed, agreed is None

    def _left_out(self) -> str:
        return "".join(f"; without {cell}: {why}" for cell, why in self.missing().items())

    def _why(self, cell: str, now: float) -> str:
        if cell in self._unreached:
            return "its node has no address that others reach"
        if cell not in self._peers:
            return "it is not there any more"
        silence = self._exchange.silence_s(cell, now)
        if silence is None:
            return "it was never heard"
        return f"silent for {silence:.1f} s" if silence > self._exchange.silent_s else "it takes part in the next one"
