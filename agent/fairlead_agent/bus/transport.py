"""What the bus needs of a message broker: the one interface over MQTT and the in-memory network."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from fairlead_agent.messages import MAX_MESSAGE_BYTES


class TransportError(Exception):
    """A message cannot be taken; the text says why, on one line."""


class OutboxFull(TransportError):
    """More messages wait to be sent than the outbox holds. The caller decides what to give up."""


class PayloadTooLarge(TransportError):
    """The payload is larger than any receiver accepts."""


class TransportClosed(TransportError):
    """The transport was closed."""


@dataclass(frozen=True, slots=True)
class Received:
    """A message as it arrived. ``retain``: it is the topic's last state, not news."""

    topic: str
    payload: bytes
    retain: bool = False


@dataclass(frozen=True, slots=True)
class Will:
    """What the broker says in a client's name when the client vanishes."""

    topic: str
    payload: bytes
    retain: bool = True


Handler = Callable[[Received], Awaitable[None]]
Connected = Callable[[], Awaitable[None]]
Unsubscribe = Callable[[], None]


class Transport(Protocol):
    """A client of one broker. Delivery is at least once: handlers see duplicates and must not mind.

    Handlers run one after another, in the order of arrival; a handler that waits for another message hands its work
    to a task of its own (:class:`~fairlead_agent.bus.bus.Bus` does that).
    """

    @property
    def connected(self) -> bool:
        """True between the broker's welcome and the loss of the connection."""
        ...

    async def start(self) -> None:
        """Begin to connect, and return at once: a broker that is away is no error."""
        ...

    async def close(self) -> None:
        """Send what waits (for a moment), publish the will as a farewell, and disconnect."""
        ...

    async def publish(self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> None:
        """Put a message into the outbox; of retained messages for one topic only the latest waits.

        Raises:
            OutboxFull: the outbox is full.
            PayloadTooLarge: more than :data:`~fairlead_agent.messages.MAX_MESSAGE_BYTES` bytes.
            TopicError: a topic that MQTT does not allow.
            TransportClosed: after :meth:`close`.
        """
        ...

    async def flush(self, timeout_s: float) -> bool:
        """Wait until the broker has acknowledged all that was published and subscribed. False: not in ``timeout_s``."""
        ...

    def subscribe(self, pattern: str, handler: Handler) -> Unsubscribe:
        """Call ``handler`` for every message that matches; also before :meth:`start`. Retained state comes first."""
        ...

    def on_connected(self, callback: Connected) -> Unsubscribe:
        """Call ``callback`` after every (re)connect, once the subscriptions stand: the moment to announce oneself."""
        ...

    def set_will(self, topic: str, payload: bytes, retain: bool = True) -> None:
        """Choose the farewell; it reaches the broker with the next connect."""
        ...


def check_payload(topic: str, payload: bytes) -> bytes:
    """Return ``payload`` when it is small enough.

    Raises:
        PayloadTooLarge: it is not.
    """
    if len(payload) > MAX_MESSAGE_BYTES:
        raise PayloadTooLarge(f"{topic}: payload of {len(payload)} bytes, at most {MAX_MESSAGE_BYTES} are sent")
    return payload
