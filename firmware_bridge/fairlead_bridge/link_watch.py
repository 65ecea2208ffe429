"""Link changes as they happen, over netlink."""

from __future__ import annotations

import asyncio
import errno
from collections import deque
from dataclasses import dataclass
from types import TracebackType
from typing import Literal

from fairlead_bridge.clock import Moment, now
from fairlead_bridge.netlink import (
    RECEIVE_BYTES,
    RTMGRP_IPV4_ADDRESS,
    RTMGRP_IPV6_ADDRESS,
    RTMGRP_LINK,
    AddressMessage,
    LinkMessage,
    Message,
    open_socket,
    parse,
)

ChangeKind = Literal["link", "link_gone", "address", "address_gone", "events_lost"]


@dataclass(frozen=True, slots=True)
class LinkChange:
    """One change. ``events_lost`` says that the kernel dropped some, and that it goes on dropping until what
    is still queued has been taken: read all links again after that.

    ``link`` is set for changes of a link (new, up, down, another MTU), ``address`` for those of an address.
    """

    at: Moment
    kind: ChangeKind
    index: int
    link: LinkMessage | None = None
    address: str = ""


class LinkWatch:
    """An asynchronous iterator of ``LinkChange``: it hears what happens from its creation on, until ``close()``.

    Its creation raises OSError where the system forbids the socket (Android does so to untrusted apps).
    """

    def __init__(self) -> None:
        self._socket = open_socket(RTMGRP_LINK | RTMGRP_IPV4_ADDRESS | RTMGRP_IPV6_ADDRESS)
        self._socket.setblocking(False)
        self._ready: deque[LinkChange] = deque()
        self._waiting: asyncio.Task[tuple[bytes, tuple[int, int]]] | None = None

    def __aiter__(self) -> LinkWatch:
        return self

    async def __anext__(self) -> LinkChange:
        while not self._ready:
            if self._socket.fileno() < 0:
                raise StopAsyncIteration
            self._ready.extend(await self._receive())
        return self._ready.popleft()

    async def __aenter__(self) -> LinkWatch:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop hearing; a task that waits for the next change sees the end of the iteration."""
        if self._waiting is not None:
            self._waiting.get_loop().remove_reader(self._socket.fileno())
            self._waiting.cancel()
        self._socket.close()

    async def _receive(self) -> list[LinkChange]:
        try:
            data, sender = await self._datagram()
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            return [LinkChange(now(), "events_lost", 0)]
        # Port 0 is the kernel: another process may send to this socket, and must not be believed.
        return [_change(message) for message in parse(data)] if sender[0] == 0 else []

    async def _datagram(self) -> tuple[bytes, tuple[int, int]]:
        loop = asyncio.get_running_loop()
        self._waiting = loop.create_task(loop.sock_recvfrom(self._socket, RECEIVE_BYTES))
        try:
            return await self._waiting
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._socket.fileno() < 0 and task is not None and not task.cancelling():
                raise StopAsyncIteration from None
            raise
        finally:
            self._waiting = None


def _change(message: Message) -> LinkChange:
    if isinstance(message, AddressMessage):
        return LinkChange(now(), "address_gone" if message.gone else "address", message.index, address=message.address)
    return LinkChange(now(), "link_gone" if message.gone else "link", message.index, link=message)
