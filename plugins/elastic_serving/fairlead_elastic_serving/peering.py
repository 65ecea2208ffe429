"""How replicas of a workload find each other: each asks the others, whom its host names, for their door.

A door is where links are dialed (`links.door`). It is told over the workload's own data socket, with the epoch of the
lease that the peer is said to hold, so that nobody links to an instance that was fenced meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import httpcore
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from fairlead_agent.plugin import Peer

PATH = "/elastic/door"
#: Between two looks at peers: of whom one did not answer, and of whom all did.
AGAIN_S, STEADY_S = 0.5, 5.0
_TIMEOUTS = {"connect": 2.0, "read": 2.0, "write": 2.0, "pool": 2.0}


@dataclass(frozen=True, slots=True)
class DoorSign:
    """What an instance says of itself to its peers.

    Attributes:
        name: replicas in their order, and no two instances that ever lived alike.
        door: host:port where links are dialed.
        model: what must be alike for instances to serve as one: config, arithmetic, pages.
    """

    name: str
    door: str
    model: str

    @classmethod
    def parse(cls, text: bytes) -> DoorSign:
        """Read what `route` serves; raises ValueError."""
        fields = json.loads(text)
        if not isinstance(fields, dict) or set(fields) != {"name", "door", "model"}:
            raise ValueError(f"{fields!r}: accepted: name, door, model")
        return cls(**{name: str(value) for name, value in fields.items()})

    def route(self) -> Route:
        """Return the route by which peers ask for it."""

        async def told(request: Request) -> Response:
            return JSONResponse(asdict(self))

        return Route(PATH, told)


class Peers(Protocol):
    """The part of a worker's context that names peers."""

    def peers(self) -> AsyncIterator[tuple[Peer, ...]]:
        """The instances of the workload: once at first, then at every change."""
        ...


class Peering:
    """A thread that keeps asking the peers that there are for their doors.

    Args:
        sign: of this instance.
        peers: names peers.
        know: hears of the doors of all peers that answer and fit, by name, whenever they change.
        warn: hears of peers that do not fit.
    """

    def __init__(
        self,
        sign: DoorSign,
        peers: Peers,
        know: Callable[[Mapping[str, str]], None],
        warn: Callable[..., object],
    ) -> None:
        self._sign, self._peers, self._know, self._warn = sign, peers, know, warn
        self._seen: tuple[Peer, ...] = ()
        self._told: dict[str, str] = {}
        self._unfit: set[str] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="peering", daemon=True)

    def start(self) -> None:
        """Ask from now on."""
        # Made here, so that whoever closes at once finds it.
        self._task = self._loop.create_task(self._work())
        self._thread.start()

    def close(self) -> None:
        """Ask no more."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._task.cancel)
            self._thread.join()

    def _run(self) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            self._loop.run_until_complete(self._task)
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    async def _work(self) -> None:
        changed = asyncio.Event()
        watching = asyncio.create_task(self._watch(changed))
        try:
            while True:
                missing = await self._ask_all()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(changed.wait(), AGAIN_S if missing else STEADY_S)
                changed.clear()
        finally:
            watching.cancel()

    async def _watch(self, changed: asyncio.Event) -> None:
        async for peers in self._peers.peers():
            self._seen = peers
            changed.set()

    async def _ask_all(self) -> bool:
        """Ask every peer; returns whether one did not answer."""
        reached = [peer for peer in self._seen if peer.address is not None]
        async with httpcore.AsyncConnectionPool() as pool:
            signs = await asyncio.gather(*(self._ask(pool, peer) for peer in reached))
        doors = {sign.name: sign.door for sign in signs if sign is not None and self._fits(sign)}
        if doors != self._told:
            self._told = doors
            self._know(doors)
        return None in signs

    async def _ask(self, pool: httpcore.AsyncConnectionPool, peer: Peer) -> DoorSign | None:
        headers = [("Fairlead-Epoch", str(peer.epoch))]
        extensions: dict[str, Any] = {"timeout": _TIMEOUTS}
        try:
            answer = await pool.request("GET", f"{peer.address}{PATH}", headers=headers, extensions=extensions)
            return DoorSign.parse(answer.content) if answer.status == 200 else None
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException, ValueError):
            return None  # not there yet, or any more

    def _fits(self, sign: DoorSign) -> bool:
        if sign.model != self._sign.model and sign.name not in self._unfit:
            self._unfit.add(sign.name)
            self._warn("a peer serves in another way and is left alone", peer=sign.name, has=sign.model)
        return sign.model == self._sign.model
