"""Typed messages over a transport: envelopes in and out, de-duplicated, with requests that find their reply."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from fairlead_agent.bus.mailbox import Mailbox, Seen
from fairlead_agent.bus.topics import Topics
from fairlead_agent.bus.transport import Received, Transport, Unsubscribe
from fairlead_agent.messages import Body, Envelope, MessageError, decode, encode

log = structlog.get_logger(__name__)

R = TypeVar("R", bound=Body)
BodyTypes = type[Body] | tuple[type[Body], ...]
#: What a handler returns, if anything, is sent back to the envelope's source.
InboxHandler = Callable[[Envelope], Awaitable[Body | None]]
WatchHandler = Callable[[Envelope, Received], Awaitable[None]]

SEEN_MESSAGES = 4096
COMPLAIN_EVERY_S = 60.0
MAX_COMPLAINTS = 1024


class RequestTimeout(TimeoutError):
    """No reply came in time, after all attempts."""


class Bus:
    """What one node says and hears on its site.

    Args:
        transport: the way to the broker; the bus neither starts nor closes it.
        site: the site's name.
        node: this node's name: the ``source`` of all it says, and its inbox.
        incarnation: grows at each start of the node.
        clock: Unix time in seconds.
        new_id: a new unique text at each call; the ids of messages.
        inboxes: further inboxes that this node reads, e.g. the authority's.

    Handlers of one registration run one after another in the order of arrival, those of different registrations side
    by side. Delivery is at least once: duplicates that the transport makes are dropped here, but a request that is
    tried again arrives again, so handlers are idempotent by ``request_id``.
    """

    def __init__(
        self,
        transport: Transport,
        site: str,
        node: str,
        incarnation: int,
        clock: Callable[[], float],
        new_id: Callable[[], str],
        *,
        inboxes: tuple[str, ...] = (),
    ) -> None:
        self.transport = transport
        self.topics = Topics(site)
        self.node = node
        self.incarnation = incarnation
        self.malformed = 0
        self.expired = 0
        self.duplicates = 0
        self._clock = clock
        self._new_id = new_id
        self._handlers: list[tuple[BodyTypes, Mailbox[Envelope]]] = []
        self._pending: dict[str, tuple[BodyTypes, asyncio.Future[Body]]] = {}
        self._seen = Seen(SEEN_MESSAGES)
        self._complaints: dict[str, float] = {}
        self._decoded: tuple[Received, Envelope | None] | None = None
        self._closers: list[Callable[[], None]] = [
            transport.subscribe(self.topics.inbox(name), self._arrived) for name in (node, *inboxes)
        ]

    def close(self) -> None:
        """Stop listening; waiting requests are cancelled."""
        for closer in self._closers:
            closer()
        for _, future in self._pending.values():
            future.cancel()

    def payload(self, body: Body, *, expires_in_s: float | None = None, epoch: int | None = None) -> bytes:
        """The bytes of ``body`` in this node's name, e.g. for a will."""
        now_s = self._clock()
        expires = now_s + expires_in_s if expires_in_s is not None else None
        return encode(body, id=self._new_id(), source=self.node, time=now_s, expires=expires, epoch=epoch)

    async def send(
        self,
        node: str,
        body: Body,
        *,
        expires_in_s: float | None = None,
        epoch: int | None = None,
        qos: int = 1,
    ) -> None:
        """Say something to one node. OutboxFull when too much waits; MessageError when it is too large."""
        await self.publish(self.topics.inbox(node), body, expires_in_s=expires_in_s, epoch=epoch, qos=qos)

    async def publish(
        self,
        topic: str,
        body: Body,
        *,
        retain: bool = False,
        expires_in_s: float | None = None,
        epoch: int | None = None,
        qos: int = 1,
    ) -> None:
        """Say something to whoever watches ``topic``; ``retain``: also to those who come later."""
        payload = self.payload(body, expires_in_s=expires_in_s, epoch=epoch)
        await self.transport.publish(topic, payload, qos=qos, retain=retain)

    async def clear(self, topic: str) -> None:
        """Take retained state back."""
        await self.transport.publish(topic, b"", retain=True)

    def on(self, body_type: BodyTypes, handler: InboxHandler) -> Unsubscribe:
        """Call ``handler`` for messages of ``body_type`` to this node; a body that it returns goes to the source."""

        async def work(envelope: Envelope) -> None:
            answer = await handler(envelope)
            if answer is not None:
                # Who asks repeats the question until it is answered, so an answer need not survive the broker.
                await self.send(envelope.source, answer, qos=0)

        entry = (body_type, Mailbox(_name(body_type), work))
        self._handlers.append(entry)
        self._closers.append(entry[1].close)
        return lambda: self._forget(entry)

    def watch(self, pattern: str, body_type: BodyTypes, handler: WatchHandler) -> Unsubscribe:
        """Call ``handler`` for messages of ``body_type`` on topics that match ``pattern``."""
        seen = Seen(SEEN_MESSAGES)

        async def work(item: tuple[Envelope, Received]) -> None:
            await handler(*item)

        mailbox = Mailbox(pattern, work)

        async def arrived(received: Received) -> None:
            envelope = self._open(received)
            if envelope is not None and isinstance(envelope.data, body_type) and self._is_new(seen, envelope):
                await mailbox.put((envelope, received))

        unsubscribe = self.transport.subscribe(pattern, arrived)
        self._closers.extend((unsubscribe, mailbox.close))

        def stop() -> None:
            unsubscribe()
            mailbox.close()

        return stop

    async def request(
        self,
        node: str,
        body: Body,
        reply_type: type[R] | tuple[type[R], ...],
        timeout_s: float,
        *,
        attempts: int = 3,
        epoch: int | None = None,
    ) -> R:
        """Send ``body`` and wait for the reply with the same ``request_id``; said again when none comes.

        Raises:
            RequestTimeout: no reply within ``timeout_s``, over all attempts.
            TypeError: ``body`` has no ``request_id``.
            ValueError: a request with this id is under way.
        """
        request_id = getattr(body, "request_id", None)
        if not isinstance(request_id, str):
            raise TypeError(f"{type(body).__name__} has no request_id, so no reply can be told from another")
        if request_id in self._pending:
            raise ValueError(f"request {request_id!r} is under way")
        future: asyncio.Future[Body] = asyncio.get_running_loop().create_future()
        self._pending[request_id] = (reply_type, future)
        try:
            reply = await self._insist(node, body, future, timeout_s, attempts, epoch)
        finally:
            del self._pending[request_id]
        assert isinstance(reply, reply_type)
        return reply

    async def _insist(
        self, node: str, body: Body, future: asyncio.Future[Body], timeout_s: float, attempts: int, epoch: int | None
    ) -> Body:
        for _ in range(attempts):
            await self.send(node, body, epoch=epoch)
            await asyncio.wait([future], timeout=timeout_s / attempts)
            if future.done():
                return future.result()
        raise RequestTimeout(f"{type(body).__name__} to {node}: no reply within {timeout_s} s ({attempts} attempts)")

    async def _arrived(self, received: Received) -> None:
        envelope = self._open(received)
        if envelope is None or not self._is_new(self._seen, envelope):
            return
        request_id = getattr(envelope.data, "request_id", None)
        expected, future = self._pending.get(request_id or "", ((), None))
        if future is not None and isinstance(envelope.data, expected):
            if not future.done():
                future.set_result(envelope.data)
            return
        for body_type, mailbox in list(self._handlers):
            if isinstance(envelope.data, body_type):
                await mailbox.put(envelope)

    def _open(self, received: Received) -> Envelope | None:
        # Several watches may get the same message: it is parsed once.
        if self._decoded is None or self._decoded[0] is not received:
            self._decoded = (received, self._parse(received))
        return self._decoded[1]

    def _parse(self, received: Received) -> Envelope | None:
        if not received.payload:
            return None
        try:
            envelope = decode(received.payload)
        except MessageError as error:
            return self._reject(received, str(error))
        author = self._author(received.topic)
        if author is not None and envelope.source != author:
            return self._reject(received, f"source is {envelope.source!r}, only {author!r} writes here")
        if envelope.expires is not None and envelope.expires < self._clock():
            self.expired += 1
            late_s = self._clock() - envelope.expires
            self._complain(received.topic, "message has expired", source=envelope.source, late_s=round(late_s, 3))
            return None
        return envelope

    def _author(self, topic: str) -> str | None:
        prefix = f"{self.topics.root}/node/"
        return topic[len(prefix) :].split("/", 1)[0] if topic.startswith(prefix) else None

    def _reject(self, received: Received, reason: str) -> None:
        self.malformed += 1
        self._complain(received.topic, "message is malformed", reason=reason)

    def _complain(self, topic: str, event: str, **details: object) -> None:
        now_s = self._clock()
        if now_s - self._complaints.get(topic, -COMPLAIN_EVERY_S) < COMPLAIN_EVERY_S:
            return
        if len(self._complaints) >= MAX_COMPLAINTS:
            self._complaints.clear()
        self._complaints[topic] = now_s
        log.warning(event, topic=topic, node=self.node, **details)

    def _is_new(self, seen: Seen, envelope: Envelope) -> bool:
        new = seen.add((envelope.source, envelope.id))
        self.duplicates += not new
        return new

    def _forget(self, entry: tuple[BodyTypes, Mailbox[Envelope]]) -> None:
        entry[1].close()
        if entry in self._handlers:
            self._handlers.remove(entry)


def _name(body_type: BodyTypes) -> str:
    types = body_type if isinstance(body_type, tuple) else (body_type,)
    return ", ".join(one.__name__ for one in types)
