"""A client of the embedded broker: its subscriptions, and the messages on their way to it."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from fairlead_agent.bus.broker.embedded_store import EmbeddedStore, Queued
from fairlead_agent.bus.patterns import matches

if TYPE_CHECKING:
    from fairlead_agent.bus.broker.embedded_handler import EmbeddedHandler

#: Messages under way to one client that it has not acknowledged.
WINDOW = 20
MAX_QUEUED = 100_000


class EmbeddedClient:
    """One client id. It outlives connections where the session is persistent."""

    def __init__(self, name: str, user: str, store: EmbeddedStore, *, persistent: bool) -> None:
        self.name = name
        self.user = user
        self.persistent = persistent
        self.patterns: dict[str, int] = {}
        self.handler: EmbeddedHandler | None = None
        self.gone_at_s: float | None = None
        self.dropped = 0
        self._store = store
        self._queue: deque[Queued] = deque()
        self._under_way: dict[int, Queued] = {}
        self._packet_id = 0
        self._news = asyncio.Event()

    @property
    def connected(self) -> bool:
        """True while a connection stands."""
        return self.handler is not None

    def qos_for(self, topic: str) -> int | None:
        """The highest QoS of the subscriptions that match; None where none does."""
        found = [qos for pattern, qos in self.patterns.items() if matches(pattern, topic)]
        return max(found) if found else None

    def put(self, message: Queued) -> None:
        """Queue a message; QoS 0 and clean sessions lose it while they are away."""
        if not self.connected and (not self.persistent or message.qos == 0):
            return
        if len(self._queue) >= MAX_QUEUED:
            self.dropped += 1
            return
        if self.persistent and message.qos:
            self._store.enqueue(self.name, message)
        self._queue.append(message)
        self._news.set()

    def restore(self, messages: list[Queued]) -> None:
        """Take over what an earlier run of the broker kept."""
        self._queue.extend(messages)

    def acknowledge(self, packet_id: int) -> None:
        """The client has a message."""
        message = self._under_way.pop(packet_id, None)
        if message is not None:
            self._store.acknowledged(message)
        self._news.set()

    def rewind(self) -> None:
        """The connection is lost: what is not acknowledged goes out again, in order."""
        self._queue.extendleft(reversed(self._under_way.values()))
        self._under_way.clear()

    async def deliver(self, handler: EmbeddedHandler) -> None:
        """Send what is queued, for as long as the connection stands."""
        # A client that came again has another handler, which delivers now.
        while self.handler is handler:
            if self._queue and len(self._under_way) < WINDOW:
                await self._send(handler, self._queue.popleft())
            else:
                self._news.clear()
                await self._news.wait()

    async def _send(self, handler: EmbeddedHandler, message: Queued) -> None:
        packet_id = None
        if message.qos:
            packet_id = self._next_packet_id()
            self._under_way[packet_id] = message
        again, message.sent = message.sent, True
        await handler.send_publish(message, packet_id, again=again)

    def _next_packet_id(self) -> int:
        while True:
            self._packet_id = self._packet_id % 65_535 + 1
            if self._packet_id not in self._under_way:
                return self._packet_id
