"""Keeps a link to every peer that is known, for as long as it is known: dials, accepts, and tries again.

Who the peers are comes from outside: from the worker's host, or from the environment that torchrun sets.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from torch.distributed import TCPStore

from ..errors import ElasticServingError
from .door import Dial, Door, LinkSettings, dial, dials
from .link import Inbox, Link
from .torch_link import TorchLink

POLL_S, REST_S = 0.05, 0.5
"""Between two looks for dials and lost links: while a known peer is not linked, and while all are."""
AGAIN_S = 0.5
"""Pause after an attempt that failed."""


class Meeting:
    """Makes an instance's links.

    Args:
        me: name of the instance; no two that ever lived share one.
        inbox: where the links deliver.
        settings: of links.
    """

    def __init__(self, me: str, inbox: Inbox, settings: LinkSettings | None = None) -> None:
        self.me = me
        self.settings = settings or LinkSettings()
        self.door = Door(me, self.settings)
        self._inbox = inbox
        self._known: dict[str, str] = {}
        self._links: dict[str, TorchLink] = {}
        self._trying: dict[str, float] = {}
        self._asked: list[tuple[Dial, float]] = []
        self._lock = threading.Lock()
        self._ended, self._news = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"meeting-{me}", daemon=True)
        self._thread.start()

    def know(self, doors: Mapping[str, str]) -> None:
        """Say who the peers are: name and door (host:port). Links to whoever is not named any more are closed."""
        with self._lock:
            self._known = {name: address for name, address in doors.items() if name != self.me}
            gone = [self._links.pop(name) for name in list(self._links) if name not in self._known]
        self._news.set()
        for link in gone:
            link.close()

    @property
    def links(self) -> dict[str, Link]:
        """Links that stand, by peer."""
        with self._lock:
            return {name: link for name, link in self._links.items() if link.lost is None}

    def close(self) -> None:
        """Close all links and make no further one."""
        self._ended.set()
        self._news.set()
        self._thread.join()
        with self._lock:
            links, self._links = list(self._links.values()), {}
        for link in links:
            link.close()

    def _run(self) -> None:
        while True:
            self._news.wait(REST_S if self._complete() else POLL_S)
            self._news.clear()
            if self._ended.is_set():
                return
            now = time.monotonic()
            self._asked += [(asked, now + self.settings.join_s) for asked in self.door.dials()]
            for asked in self._expected(now):
                self._attempt(asked.peer, lambda asked=asked: self.door.accept(asked, self._inbox))
            for name, address in self._missing(now).items():
                self._attempt(
                    name,
                    lambda name=name, address=address: dial(address, name, self.me, self._inbox, self.settings),
                )

    def _complete(self) -> bool:
        with self._lock:
            return all(self._stands(name) is not None for name in self._known)

    def _expected(self, now: float) -> list[Dial]:
        """Take out the dials of peers that are known; others are kept for a while: they may be before their news."""
        with self._lock:
            found = [asked for asked, _ in self._asked if asked.peer in self._known]
            self._asked = [item for item in self._asked if item[0].peer not in self._known and item[1] > now]
        return found

    def _missing(self, now: float) -> dict[str, str]:
        """Return the peers that have to be dialed now."""
        with self._lock:
            found = {
                name: address
                for name, address in self._known.items()
                if dials(self.me, name) and self._stands(name) is None and self._trying.get(name, 0.0) <= now
            }
            self._trying |= dict.fromkeys(found, float("inf"))
        return found

    def _attempt(self, peer: str, make: Callable[[], TorchLink]) -> None:
        """Make a link in a thread of its own: whoever does not answer holds nobody else up."""

        def work() -> None:
            link = None
            # Nobody there yet, or any more: it is tried again for as long as the peer is known.
            with contextlib.suppress(RuntimeError, ValueError, OSError):
                link = make()
            with self._lock:
                self._trying[peer] = time.monotonic() + AGAIN_S
                wanted = peer in self._known and not self._ended.is_set()
                if link is not None and wanted:
                    self._links[peer] = link
            if link is not None and not wanted:
                link.close()

        threading.Thread(target=work, name=f"link-to-{peer}", daemon=True).start()

    def _stands(self, name: str) -> TorchLink | None:
        link = self._links.get(name)
        return link if link is not None and link.lost is None else None


@dataclass(frozen=True, slots=True)
class Torchrun:
    """The place of this process among those that torchrun started."""

    rank: int
    ranks: int
    address: str
    port: int

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Torchrun:
        """Read RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT; raises ElasticServingError where one is missing."""
        names = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
        missing = [name for name in names if not environment.get(name)]
        if missing:
            raise ElasticServingError(
                f"environment: {', '.join(missing)} not set; accepted: what `python -m torch.distributed.run` sets"
            )
        rank, ranks, address, port = (environment[name] for name in names)
        return cls(int(rank), int(ranks), address, int(port))

    def doors(self, name: str, address: str, timeout_s: float = 60.0) -> dict[str, str]:
        """Tell all others this instance's name and door, and return theirs, by name.

        Raises RuntimeError if they do not all tell in time.
        """
        # torchrun's own agent serves the store, unless it says that the first rank does.
        served = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
        store = TCPStore(
            self.address,
            self.port,
            None,
            not served and self.rank == 0,
            timedelta(seconds=timeout_s),
            wait_for_workers=False,
        )
        store.set(f"fairlead/door/{self.rank}", f"{name}\n{address}")
        told = [store.get(f"fairlead/door/{rank}").decode().partition("\n")[::2] for rank in range(self.ranks)]
        # Where the first rank serves the store, it stays until everybody has read.
        if store.add("fairlead/read", 1) < self.ranks and not served and self.rank == 0:
            _until(lambda: store.add("fairlead/read", 0) >= self.ranks, timeout_s)
        return dict(told)


def _until(done: Callable[[], bool], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while not done() and time.monotonic() < deadline:
        time.sleep(POLL_S)
