"""The transport in memory: the same contract as MQTT over a simulated network, in virtual or in real time."""

from __future__ import annotations

import asyncio
import contextlib
import random

import structlog

from fairlead_agent.bus.clock import LoopClock, Scheduler, VirtualClock
from fairlead_agent.bus.network import Faults, SimMessage, SimNetwork, SimPort
from fairlead_agent.bus.outbox import Outbox
from fairlead_agent.bus.patterns import check_topic
from fairlead_agent.bus.subscriptions import Subscriptions
from fairlead_agent.bus.transport import (
    Connected,
    Handler,
    Received,
    TransportClosed,
    Unsubscribe,
    Will,
    check_payload,
)

__all__ = ["Faults", "MemoryBroker", "MemoryTransport", "SimNetwork", "VirtualClock", "drive"]

log = structlog.get_logger(__name__)

#: Rounds of the event loop between two virtual events: the longest chain of tasks that one delivery wakes.
SETTLE_ROUNDS = 25


class MemoryBroker:
    """A broker in this process.

    Args:
        clock: a :class:`VirtualClock` for virtual time (see :func:`drive`); default: real time.
        draw: the only source of chance; default: seed 0.
        faults: what the network does to deliveries.
        will_delay_s: from losing a client to its will.
        queue_offline: messages for clients that are cut off are kept.
    """

    def __init__(
        self,
        clock: Scheduler | None = None,
        draw: random.Random | None = None,
        faults: Faults | None = None,
        *,
        will_delay_s: float = 0.0,
        queue_offline: bool = True,
    ) -> None:
        self.network: SimNetwork[bytes] = SimNetwork(
            clock if clock is not None else LoopClock(),
            draw if draw is not None else random.Random(0),
            faults,
            will_delay_s=will_delay_s,
            queue_offline=queue_offline,
        )

    def transport(self, client_id: str, *, outbox: Outbox | None = None) -> MemoryTransport:
        """A client of this broker."""
        return MemoryTransport(self, client_id, outbox=outbox)


class MemoryTransport:
    """A client of a :class:`MemoryBroker`; behaves as :class:`~fairlead_agent.bus.mqtt.MqttTransport` does."""

    def __init__(self, broker: MemoryBroker, client_id: str, *, outbox: Outbox | None = None) -> None:
        self._network = broker.network
        self._client_id = client_id
        self._outbox = outbox if outbox is not None else Outbox()
        self._subscriptions = Subscriptions()
        self._callbacks: list[Connected] = []
        self._incoming: asyncio.Queue[Received | None] = asyncio.Queue()
        self._drained = asyncio.Event()
        self._drained.set()
        self._port: SimPort[bytes] | None = None
        self._will: Will | None = None
        self._closed = False
        self._task: asyncio.Task[None] | None = None

    @property
    def connected(self) -> bool:
        """True while the network lets this client speak with the broker."""
        return self._port is not None and self._port.connected

    async def start(self) -> None:
        """Connect."""
        if self._closed:
            raise TransportClosed(f"{self._client_id}: a closed transport cannot be started again")
        if self._port is None:
            self._port = self._network.connect(self._client_id, self._arrived)
            self._port.on_state = self._state_changed
            self._port.will = _spoken(self._will)
            self._task = asyncio.create_task(self._dispatch())
            self._state_changed(True)

    async def close(self) -> None:
        """Publish the will as a farewell and leave."""
        if self._closed:
            return
        if self._will is not None and self.connected:
            with contextlib.suppress(Exception):
                await self.publish(self._will.topic, self._will.payload, retain=self._will.retain)
        self._closed = True
        if self._port is not None:
            self._port.close()
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def publish(self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> None:
        """Put a message into the outbox; see :class:`~fairlead_agent.bus.transport.Transport`."""
        if self._closed:
            raise TransportClosed(f"{topic}: the transport is closed")
        self._outbox.put(check_topic(topic), check_payload(topic, payload), qos, retain)
        self._drained.clear()
        self._pump()

    async def flush(self, timeout_s: float) -> bool:
        """Wait until the broker has taken all. False: not within ``timeout_s`` of real time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._drained.wait()
        return self._drained.is_set()

    def subscribe(self, pattern: str, handler: Handler) -> Unsubscribe:
        """Call ``handler`` for every message that matches ``pattern``."""
        self._subscriptions.add(pattern, handler)
        if self._port is not None and self._port.open:
            self._port.subscribe(pattern)
        return lambda: self._unsubscribe(pattern, handler)

    def on_connected(self, callback: Connected) -> Unsubscribe:
        """Call ``callback`` after every (re)connect."""
        self._callbacks.append(callback)
        return lambda: self._callbacks.remove(callback) if callback in self._callbacks else None

    def set_will(self, topic: str, payload: bytes, retain: bool = True) -> None:
        """Choose the farewell; it reaches the broker with the next connect."""
        self._will = Will(check_topic(topic), check_payload(topic, payload), retain)

    def _unsubscribe(self, pattern: str, handler: Handler) -> None:
        if self._subscriptions.remove(pattern, handler) and self._port is not None:
            self._port.unsubscribe(pattern)

    def _state_changed(self, connected: bool) -> None:
        if connected and self._port is not None:
            self._port.will = _spoken(self._will)
            for pattern in self._subscriptions.patterns:
                if pattern not in self._port.patterns:
                    self._port.subscribe(pattern)
            self._pump()
            self._incoming.put_nowait(None)

    def _pump(self) -> None:
        while self.connected and self._port is not None and (entry := self._outbox.take()) is not None:
            self._port.publish(entry.topic, entry.payload, entry.retain)
            self._outbox.done(entry)
        if not len(self._outbox):
            self._drained.set()

    def _arrived(self, message: SimMessage[bytes]) -> None:
        self._incoming.put_nowait(Received(message.topic, message.payload, message.retain))

    async def _dispatch(self) -> None:
        while True:
            received = await self._incoming.get()
            if received is not None:
                await self._subscriptions.dispatch(received)
                continue
            for callback in list(self._callbacks):
                try:
                    await callback()
                except Exception:
                    log.exception("callback after connecting failed")


async def drive(clock: VirtualClock, until_s: float) -> None:
    """Move virtual time to ``until_s``; after every event the tasks that it woke run until they wait again."""
    await _settle()
    while clock.due(until_s):
        clock.step()
        await _settle()
    clock.run_until(until_s)


async def _settle() -> None:
    for _ in range(SETTLE_ROUNDS):
        await asyncio.sleep(0)


def _spoken(will: Will | None) -> tuple[str, bytes, bool] | None:
    return (will.topic, will.payload, will.retain) if will else None
