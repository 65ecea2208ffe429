"""The gate before a plugin's application: only the holder of a live lease answers."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

from fairlead_agent.runtime.host.fence import Fences
from fairlead_agent.runtime.host.lease import HeldLease

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

EPOCH_HEADER = b"fairlead-epoch"
NODE_HEADER = b"fairlead-node"
#: The host's own word, with the reason: the application was not asked, so another holder may be.
REFUSED_HEADER = b"fairlead-refused"
#: The application was asked, but its answer is void: the lease ran out meanwhile.
CUT_HEADER = b"fairlead-cut"
_OWN_HEADERS = (EPOCH_HEADER, NODE_HEADER, REFUSED_HEADER, CUT_HEADER)
_LATENCIES_KEPT = 512


class LeaseLostError(ConnectionAbortedError):
    """Raised into an application that goes on answering after its lease is gone."""


class ClientGoneError(ConnectionError):
    """Raised into an application that goes on answering after its client has gone (as ASGI 2.4 asks)."""


class Gate:
    """Counts, admits and cuts requests. One per worker; lives on the data loop."""

    def __init__(self, lease: HeldLease, fences: Fences, *, node: str, metrics: Callable[[], bytes | None]) -> None:
        self.application: Application | None = None
        self.draining = False
        self.answered = 0
        self.refused = 0
        self.cut = 0
        self.latencies_s: deque[float] = deque(maxlen=_LATENCIES_KEPT)
        self._lease = lease
        self._fences = fences
        self._node = node.encode()
        self._metrics = metrics
        self._running: set[Exchange] = set()

    @property
    def in_flight(self) -> int:
        return len(self._running)

    async def serve(self, scope: Scope, receive: Receive, send: Send, transport: asyncio.Transport) -> None:
        """Handle one HTTP request of one connection."""
        plain = _Reply(self, send, transport)
        if scope["path"] == "/-/ready":
            return await self._ready(plain)
        if scope["path"] == "/-/metrics":
            return await self._expose(plain)
        refusal = self._refusal(scope)
        if refusal:
            self.refused += 1
            return await plain.json(*refusal, REFUSED_HEADER)
        return await self._run(scope, receive, send, transport)

    def cut_stale(self) -> None:
        """Break off every exchange whose lease is gone. Called on the data loop when a lease runs out."""
        live = self._lease.live_epoch()
        for exchange in [each for each in self._running if each.epoch != live]:
            exchange.cut()

    def stamp(self, message: Message, epoch: int) -> None:
        """Put the epoch and the node on a response."""
        kept = [pair for pair in message.get("headers", ()) if pair[0].lower() not in _OWN_HEADERS]
        message["headers"] = [*kept, (EPOCH_HEADER, str(epoch).encode()), (NODE_HEADER, self._node)]

    def disarm(self, transport: asyncio.Transport) -> None:
        """Let an answer of the host itself pass the fence."""
        self._fences.disarm(transport)

    def held_epoch(self) -> int:
        """The epoch held now or last."""
        return self._lease.epoch

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        live = self._lease.live_epoch()
        if not live:
            return 503, "this instance holds no live lease"
        asked = dict(scope["headers"]).get(EPOCH_HEADER)
        if asked is not None and not (asked.isdigit() and len(asked) < 20):
            return 400, f"header Fairlead-Epoch is {asked[:40]!r}, accepted is a whole number"
        if asked is not None and int(asked) != live:
            return 409, f"this instance holds epoch {live}, the request is for epoch {int(asked)}"
        if self.draining:
            return 503, "this instance is draining"
        return None if self.application else (503, "this instance has no application yet")

    async def _run(self, scope: Scope, receive: Receive, send: Send, transport: asyncio.Transport) -> None:
        assert self.application is not None
        exchange = Exchange(self, self._lease, _Reply(self, send, transport))
        self._fences.arm(transport, exchange.epoch)
        self._running.add(exchange)
        try:
            await self.application(scope, receive, exchange.send)
        except (Exception, asyncio.CancelledError) as error:
            if not (exchange.lost or exchange.gone or await exchange.refuse_failed(error)):
                raise
        finally:
            self._running.discard(exchange)
        if exchange.lost:
            await exchange.refuse_lost()

    async def _ready(self, reply: _Reply) -> None:
        ready = bool(self._lease.live_epoch() and self.application and not self.draining)
        await reply.json(200 if ready else 503, "" if ready else "not ready")

    async def _expose(self, reply: _Reply) -> None:
        text = self._metrics()
        if text is None:
            return await reply.json(404, "this plugin has no metrics")
        return await reply.body(200, text, b"text/plain; version=0.0.4; charset=utf-8")


class _Reply:
    """One connection's way out: the application's messages, or a short answer of the host itself."""

    def __init__(self, gate: Gate, send: Send, transport: asyncio.Transport) -> None:
        self.send = send
        self._gate = gate
        self._transport = transport

    async def json(self, status: int, error: str, mark: bytes | None = None) -> None:
        answer: dict[str, Any] = {"epoch": self._gate.held_epoch()}
        if error:
            answer["error"] = error
        said = [(mark, error.encode("ascii", "replace"))] if mark is not None else []
        await self.body(status, json.dumps(answer).encode(), b"application/json", said)

    async def body(
        self, status: int, body: bytes, content_type: bytes, said: Sequence[tuple[bytes, bytes]] = ()
    ) -> None:
        self._gate.disarm(self._transport)
        headers = [(b"content-type", content_type), (b"content-length", str(len(body)).encode())]
        start: Message = {"type": "http.response.start", "status": status, "headers": headers}
        self._gate.stamp(start, self._gate.held_epoch())
        start["headers"] += said
        await self.send(start)
        await self.send({"type": "http.response.body", "body": body})

    @property
    def is_closed(self) -> bool:
        return self._transport.is_closing()

    def abort(self) -> None:
        self._transport.abort()


class Exchange:
    """One admitted request: its answer is bound to the epoch under which it was admitted."""

    def __init__(self, gate: Gate, lease: HeldLease, reply: _Reply) -> None:
        self.epoch = lease.live_epoch()
        self.lost = False
        self.gone = False
        self._gate = gate
        self._lease = lease
        self._reply = reply
        self._started = False
        self._over = False
        self._task = asyncio.current_task()
        self._began_s = time.monotonic()

    async def send(self, message: Message) -> None:
        """Send for the application while the lease lives.

        Raises:
            LeaseLostError: it does not any more.
            ClientGoneError: nobody hears the answer.
        """
        if self.lost or self._lease.live_epoch() != self.epoch:
            self.lost = True
            raise LeaseLostError(f"the lease of epoch {self.epoch} is gone")
        if self._reply.is_closed:
            self.gone = True
            raise ClientGoneError("the client has gone")
        if message["type"] == "http.response.start":
            self._gate.stamp(message, self.epoch)
            self._started = True
        await self._reply.send(message)
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self._finish()

    def cut(self) -> None:
        """The lease is gone: drop what waits in the buffer, close, and end the application's work for it."""
        if self._over or self.lost:
            return
        self.lost = True
        if self._started:
            self._reply.abort()
        if self._task is not None:
            self._task.cancel()

    async def refuse_lost(self) -> None:
        """Answer an exchange that lost its lease: an explicit error if nothing was sent, else a broken connection."""
        if self._task is not None:
            self._task.uncancel()
        if self._over:
            return None
        self._over = True
        self._gate.cut += 1
        if self._started:
            return self._reply.abort()
        why = f"the lease of epoch {self.epoch} ran out before the answer"
        return await self._reply.json(503, why, CUT_HEADER)

    async def refuse_failed(self, error: BaseException) -> bool:
        """Answer 500 for an application that raised before it answered; False: it is too late for that."""
        if self._started or not isinstance(error, Exception):
            return False
        logging.getLogger("fairlead.worker").error("the application raised", exc_info=error)
        await self._reply.json(500, f"the application raised {type(error).__name__}: {error}")
        return True

    def _finish(self) -> None:
        self._over = True
        if self._lease.live_epoch() == self.epoch:
            self._gate.answered += 1
            self._gate.latencies_s.append(time.monotonic() - self._began_s)
