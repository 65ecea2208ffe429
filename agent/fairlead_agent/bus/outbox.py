"""Messages on their way to the broker: bounded, in order, kept until they are acknowledged."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from fairlead_agent.bus.transport import OutboxFull


@dataclass(slots=True)
class Outgoing:
    """A message in the outbox. ``sent``: it is under way and not yet acknowledged."""

    number: int
    topic: str
    payload: bytes
    qos: int
    retain: bool
    sent: bool = False


class Outbox:
    """A bounded queue whose entries leave only when they are acknowledged.

    Args:
        max_messages: most messages that wait or are under way.
        max_bytes: most bytes of their payloads.
    """

    def __init__(self, max_messages: int = 10_000, max_bytes: int = 64 << 20) -> None:
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._entries: OrderedDict[int, Outgoing] = OrderedDict()
        self._waiting: OrderedDict[int, Outgoing] = OrderedDict()
        self._states: dict[str, int] = {}
        self._bytes = 0
        self._next = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def payload_bytes(self) -> int:
        """Bytes of all payloads held."""
        return self._bytes

    def put(self, topic: str, payload: bytes, qos: int, retain: bool) -> Outgoing:
        """Add a message at the end. A waiting retained message for the same topic is replaced.

        Raises:
            OutboxFull: there is no room.
        """
        stale = self._waiting.get(self._states.get(topic, -1)) if retain else None
        self._check_room(topic, len(payload), stale)
        if stale is not None:
            self._remove(stale)
        entry = Outgoing(self._next, topic, payload, qos, retain)
        self._next += 1
        self._entries[entry.number] = self._waiting[entry.number] = entry
        self._bytes += len(payload)
        if retain:
            self._states[topic] = entry.number
        return entry

    def take(self) -> Outgoing | None:
        """The next message to send, which is then under way; None when none waits."""
        if not self._waiting:
            return None
        _, entry = self._waiting.popitem(last=False)
        entry.sent = True
        return entry

    def done(self, entry: Outgoing) -> None:
        """The broker has acknowledged ``entry``."""
        if entry.number in self._entries:
            self._remove(entry)

    def rewind(self) -> None:
        """The connection is lost: whatever was under way waits again, except state that newer state replaces."""
        for entry in [entry for entry in self._entries.values() if entry.sent]:
            if entry.retain and self._states.get(entry.topic) != entry.number:
                self._remove(entry)
            entry.sent = False
        self._waiting = OrderedDict(self._entries)

    def _remove(self, entry: Outgoing) -> None:
        del self._entries[entry.number]
        self._waiting.pop(entry.number, None)
        self._bytes -= len(entry.payload)
        if self._states.get(entry.topic) == entry.number:
            del self._states[entry.topic]

    def _check_room(self, topic: str, size: int, stale: Outgoing | None) -> None:
        messages = len(self._entries) + 1 - (stale is not None)
        held = self._bytes + size - (len(stale.payload) if stale else 0)
        if messages > self._max_messages or held > self._max_bytes:
            raise OutboxFull(
                f"{topic}: {len(self._entries)} messages ({self._bytes} bytes) wait for the broker, "
                f"at most {self._max_messages} ({self._max_bytes} bytes) may"
            )
