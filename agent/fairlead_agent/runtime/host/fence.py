"""Sockets that refuse to send for a lease that is gone.

The check stands right before the system call, so that bytes which waited in a buffer while the process was paused
(SIGSTOP, suspend) are not sent by a holder that has been fenced meanwhile. Between the check and the system call a
pause can still fall; only the refusal of stale epochs by whoever takes the effect catches that one.
"""

from __future__ import annotations

import asyncio
import socket
import weakref
from typing import Any, cast

from fairlead_agent.runtime.host.lease import HeldLease


class FencedSocket(socket.socket):
    """A connection that sends only while ``epoch`` is live; epoch 0: not fenced (refusals, readiness)."""

    __slots__ = ("epoch", "lease")

    lease: HeldLease
    epoch: int

    def _check(self) -> None:
        if self.epoch and self.lease.live_epoch() != self.epoch:
            raise ConnectionAbortedError(f"the lease of epoch {self.epoch} is gone")

    def send(self, *args: Any) -> int:
        self._check()
        return super().send(*args)

    def sendall(self, *args: Any) -> None:
        self._check()
        return super().sendall(*args)

    def sendmsg(self, *args: Any) -> int:
        self._check()
        return super().sendmsg(*args)


class FencedListener(socket.socket):
    """A listening socket whose connections are fenced."""

    __slots__ = ("connections", "lease")

    lease: HeldLease
    connections: weakref.WeakValueDictionary[int, FencedSocket]

    def accept(self) -> tuple[socket.socket, Any]:
        # As the standard library's accept, which would make a plain socket of the descriptor.
        descriptor, address = cast(tuple[int, Any], cast(Any, self)._accept())
        connection = FencedSocket(self.family, self.type, self.proto, fileno=descriptor)
        connection.lease, connection.epoch = self.lease, 0
        connection.setblocking(False)
        self.connections[descriptor] = connection
        return connection, address


class Fences:
    """Makes the fenced listeners of a worker and finds the fence of a connection."""

    def __init__(self, lease: HeldLease) -> None:
        self._lease = lease
        self._connections: weakref.WeakValueDictionary[int, FencedSocket] = weakref.WeakValueDictionary()

    def listen_unix(self, path: str) -> socket.socket:
        """Listen on a Unix socket that only this user may use (the host's umask is 077)."""
        return self._listen(socket.AF_UNIX, path)

    def listen_tcp(self, host: str, port: int) -> socket.socket:
        """Listen on TCP; port 0 takes a free one.

        Raises:
            OSError: the address is not this node's, or taken.
        """
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return self._listen(family, address)

    def _listen(self, family: socket.AddressFamily | int, address: Any) -> socket.socket:
        listener = FencedListener(family, socket.SOCK_STREAM)
        listener.lease, listener.connections = self._lease, self._connections
        if family != socket.AF_UNIX:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            # asyncio sets it only on sockets that say they are TCP, which an inherited listener does not: an answer in
            # two pieces would wait 40 ms for the client's acknowledgement.
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            listener.bind(address)
            listener.listen(256)
        except OSError:
            listener.close()
            raise
        listener.setblocking(False)
        return listener

    def arm(self, transport: asyncio.Transport, epoch: int) -> None:
        """Bind what is sent on a connection from now on to ``epoch``; drop the connection if another's bytes wait."""
        fence = self._of(transport)
        if fence is None:
            return
        if fence.epoch not in (0, epoch) and transport.get_write_buffer_size():
            transport.abort()
        fence.epoch = epoch

    def disarm(self, transport: asyncio.Transport) -> None:
        """Let a refusal pass, unless bytes of a lease that is gone still wait before it."""
        fence = self._of(transport)
        if fence is None:
            return
        if not transport.get_write_buffer_size():
            fence.epoch = 0
        elif fence.epoch and fence.epoch != self._lease.live_epoch():
            transport.abort()

    def _of(self, transport: asyncio.Transport) -> FencedSocket | None:
        wrapped = transport.get_extra_info("socket")
        return None if wrapped is None else self._connections.get(wrapped.fileno())
