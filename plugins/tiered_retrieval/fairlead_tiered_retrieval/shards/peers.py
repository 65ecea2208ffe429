"""The other instances of a sharded workload: who they are, and how they are asked over their data sockets."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Protocol

import httpx

from fairlead_agent.plugin import Peer

from ..service.application import SHARD_HEADER
from ..service.errors import ApiError
from .partition import Holder


class PeerLost(ConnectionError):
    """A peer did not answer, or is no holder any more."""


class NamesPeers(Protocol):
    """The part of a worker's context that names peers."""

    @property
    def epoch(self) -> int:
        """Of this instance's lease."""
        ...

    def peers(self) -> AsyncIterator[tuple[Peer, ...]]:
        """The instances of the workload: once at first, then at every change."""
        ...


class Peers:
    """Follows the agent's word on who the others are, and sends them requests with the epoch of their lease.

    Args:
        replica: of this instance.
        named: by whom the others are named.
        transport: of httpx, for tests.
    """

    def __init__(self, replica: int, named: NamesPeers, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self.replica, self._named = replica, named
        self._others: tuple[Holder, ...] = ()
        self._transport = transport
        self._http: httpx.AsyncClient | None = None
        self._watching: asyncio.Task[None] | None = None
        self._known, self._appeared = asyncio.Event(), asyncio.Event()

    async def start(self) -> None:
        """Follow from now on; returns when the others were named for the first time."""
        limits = httpx.Limits(max_connections=256, max_keepalive_connections=64)
        self._http = httpx.AsyncClient(transport=self._transport, limits=limits, timeout=None)
        self._watching = asyncio.create_task(self._watch(), name="peers")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._known.wait(), 2.0)

    @contextlib.asynccontextmanager
    async def following(self, joined: Callable[[], Awaitable[object]]) -> AsyncGenerator[None]:
        """Follow as long as an application lives; `joined` is begun once the others are named."""
        await self.start()
        joining = asyncio.ensure_future(joined())
        try:
            yield
        finally:
            joining.cancel()
            await asyncio.gather(joining, return_exceptions=True)
            await self.close()

    async def close(self) -> None:
        """Follow no more."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        if self._http is not None:
            await self._http.aclose()

    async def appeared(self, timeout_s: float) -> bool:
        """Wait until there is another instance; False where none came in time."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._appeared.wait(), timeout_s)
        return self._appeared.is_set()

    def holders(self) -> Sequence[Holder]:
        """All instances, this one first."""
        return (Holder(self.replica, 0, None), *self._others)

    @property
    def epoch(self) -> int:
        """Of this instance's lease."""
        return self._named.epoch

    def known(self) -> list[list[int]]:
        """The others that this instance passes writes on to: replica and epoch of each."""
        return [[holder.replica, holder.epoch] for holder in self._others]

    async def call(self, peer: Holder, method: str, path: str, body: Any, timeout_s: float, role: str) -> Any:
        """Ask a peer; it answers for what it holds itself.

        Raises:
            PeerLost: it cannot be reached, or does not hold its lease any more.
            ApiError: it refuses the request: its own words.
        """
        assert self._http is not None and peer.address is not None
        headers = {"Fairlead-Epoch": str(peer.epoch), SHARD_HEADER: role}
        try:
            answer = await self._http.request(
                method, peer.address + path, json=body, headers=headers, timeout=timeout_s
            )
        except httpx.TransportError as error:
            raise PeerLost(f"replica {peer.replica}: {type(error).__name__} {error}".strip()) from None
        return _read(peer, answer)

    async def _watch(self) -> None:
        async for peers in self._named.peers():
            self._others = tuple(
                Holder(peer.replica, peer.epoch, peer.address)
                for peer in peers
                if peer.replica != self.replica and peer.address is not None
            )
            self._known.set()
            if self._others:
                self._appeared.set()


def _read(peer: Holder, answer: httpx.Response) -> Any:
    try:
        body = answer.json()
    except ValueError:
        raise PeerLost(f"replica {peer.replica} answered {answer.status_code} without JSON") from None
    if answer.status_code < 400:
        return body
    said = body.get("error") if isinstance(body, dict) else None
    if not isinstance(said, dict) or answer.status_code in (409, 429, 503):
        raise PeerLost(f"replica {peer.replica} answered {answer.status_code}: {said}")
    raise ApiError(
        answer.status_code,
        said.get("message", ""),
        field=said.get("field"),
        value=said.get("value"),
        accepted=said.get("accepted"),
        kind=said.get("type"),
    )
