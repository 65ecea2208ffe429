"""The transport over MQTT: aiomqtt with a session that survives the loss of its broker."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable

import aiomqtt
import structlog

from fairlead_agent.bus.address import BrokerAddress
from fairlead_agent.bus.backoff import Backoff
from fairlead_agent.bus.outbox import Outbox, Outgoing
from fairlead_agent.bus.patterns import check_topic
from fairlead_agent.bus.session import (
    MAX_INFLIGHT,
    MqttSession,
    SessionOptions,
    SilentBroker,
    leaves,
    speaks_only_older,
    tls_context,
)
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
from fairlead_agent.messages import MAX_MESSAGE_BYTES

log = structlog.get_logger(__name__)

Sleep = Callable[[float], Awaitable[None]]

FAREWELL_S = 2.0
#: A connection that did not last this long counts as a failed attempt, so that two clients with one id do not
#: throw each other out without pause.
STABLE_S = 5.0


class MqttTransport:
    """A client of one MQTT broker.

    Args:
        address: the broker and this client's login.
        client_id: the client's id with the broker; stable over restarts.
        keepalive_s: silence after which either side holds the other for dead.
        backoff: pauses between attempts to connect.
        draw: source of the pauses' jitter.
        sleep: waits for a number of seconds.
        outbox: holds what is not yet acknowledged.
        incoming_max: messages that wait for their handlers.

    MQTT 5 is used where the broker has it, else 3.1.1. The first connection starts a clean session, so that a restarted
    agent does not read what was meant for its predecessor; later ones resume it.
    """

    def __init__(
        self,
        address: BrokerAddress,
        client_id: str,
        *,
        keepalive_s: int = 15,
        timeout_s: float = 5.0,
        backoff: Backoff | None = None,
        draw: random.Random | None = None,
        sleep: Sleep = asyncio.sleep,
        outbox: Outbox | None = None,
        incoming_max: int = 1000,
    ) -> None:
        self._address = address
        self._options = SessionOptions(client_id, keepalive_s, timeout_s)
        self._backoff = backoff or Backoff()
        self._draw = draw or random.Random()
        self._sleep = sleep
        self._outbox = outbox if outbox is not None else Outbox()
        self._incoming: asyncio.Queue[tuple[MqttSession, aiomqtt.Message]] = asyncio.Queue(incoming_max)
        self._subscriptions = Subscriptions()
        self._callbacks: list[Connected] = []
        self._will: Will | None = None
        self._session: MqttSession | None = None
        self._v5 = True
        self._clean = True
        self._closing = False
        self._fresh: list[str] = []
        self._gone: list[str] = []
        self._wake_sender = asyncio.Event()
        self._wake_subscriber = asyncio.Event()
        self._drained = asyncio.Event()
        self._drained.set()
        self._subscribed = asyncio.Event()
        self._subscribed.set()
        self._tasks: list[asyncio.Task[None]] = []
        self.connects = 0
        self.oversized = 0

    def __repr__(self) -> str:
        return f"MqttTransport({self._options.client_id!r}, {self._address}, connected={self.connected})"

    @property
    def connected(self) -> bool:
        """True between the broker's welcome and the loss of the connection."""
        return self._session is not None and self._session.alive

    @property
    def protocol(self) -> str:
        """The MQTT version in use (or tried next)."""
        return "5" if self._v5 else "3.1.1"

    async def start(self) -> None:
        """Begin to connect, and return at once."""
        if self._closing:
            raise TransportClosed(f"{self._options.client_id}: a closed transport cannot be started again")
        if not self._tasks:
            self._tasks = [asyncio.create_task(self._live()), asyncio.create_task(self._dispatch())]

    async def close(self) -> None:
        """Send what waits (for a moment), publish the will as a farewell, and disconnect."""
        if self._closing:
            return
        if self.connected:
            if self._will is not None:
                with contextlib.suppress(Exception):
                    await self.publish(self._will.topic, self._will.payload, retain=self._will.retain)
            await self.flush(FAREWELL_S)
        self._closing = True
        own = asyncio.current_task()
        tasks = [task for task in self._tasks if task is not own]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def publish(self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> None:
        """Put a message into the outbox; see :class:`~fairlead_agent.bus.transport.Transport`."""
        if self._closing:
            raise TransportClosed(f"{topic}: the transport is closed")
        self._outbox.put(check_topic(topic), check_payload(topic, payload), qos, retain)
        self._drained.clear()
        self._wake_sender.set()

    async def flush(self, timeout_s: float) -> bool:
        """Wait until all that was published and subscribed is acknowledged. False: not within ``timeout_s``."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._subscribed.wait()
                await self._drained.wait()
        return self._drained.is_set() and self._subscribed.is_set()

    def subscribe(self, pattern: str, handler: Handler) -> Unsubscribe:
        """Call ``handler`` for every message that matches ``pattern``."""
        self._subscriptions.add(pattern, handler)
        self._fresh.append(pattern)
        self._subscribed.clear()
        self._wake_subscriber.set()
        return lambda: self._unsubscribe(pattern, handler)

    def on_connected(self, callback: Connected) -> Unsubscribe:
        """Call ``callback`` after every (re)connect, once the subscriptions stand."""
        self._callbacks.append(callback)
        return lambda: self._callbacks.remove(callback) if callback in self._callbacks else None

    def set_will(self, topic: str, payload: bytes, retain: bool = True) -> None:
        """Choose the farewell; it reaches the broker with the next connect."""
        self._will = Will(check_topic(topic), check_payload(topic, payload), retain)

    def _unsubscribe(self, pattern: str, handler: Handler) -> None:
        if self._subscriptions.remove(pattern, handler):
            self._gone.append(pattern)
            self._wake_subscriber.set()

    async def _live(self) -> None:
        loop = asyncio.get_running_loop()
        attempt = 0
        while not self._closing:
            began_s = loop.time()
            try:
                await self._connection()
                failures: list[Exception] = []
            except Exception as error:
                failures = list(leaves(error))
            self._outbox.rewind()
            self._subscribed.clear()
            stable = self._lasted(began_s, loop.time())
            if self._v5 and any(speaks_only_older(failure) for failure in failures):
                self._v5 = False
                continue
            if self._clean and any(isinstance(failure, SilentBroker) for failure in failures):
                # Brokers older than MQTT 5 have been seen to hang instead of refusing it.
                self._v5 = not self._v5
            attempt = 0 if stable else attempt + 1
            await self._pause(failures, attempt)

    async def _pause(self, failures: list[Exception], attempt: int) -> None:
        pause_s = self._backoff.delay_s(attempt, self._draw)
        expected = all(isinstance(failure, aiomqtt.MqttError | OSError) for failure in failures)
        log.log(
            logging.INFO if expected else logging.ERROR,
            "no connection to the broker",
            broker=str(self._address),
            client_id=self._options.client_id,
            reason="; ".join(dict.fromkeys(str(failure) or type(failure).__name__ for failure in failures)),
            retry_in_s=round(pause_s, 2),
        )
        await self._sleep(pause_s)

    def _lasted(self, began_s: float, ended_s: float) -> bool:
        lasted = self._session is not None and ended_s - began_s >= STABLE_S
        self._session = None
        return lasted

    async def _connection(self) -> None:
        session = await self._join()
        self._session = session
        self._clean = False
        self.connects += 1
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._receive(session))
                tasks.create_task(self._keep_subscribed(session))
                tasks.create_task(self._send(session))
        finally:
            await session.leave()

    async def _join(self) -> MqttSession:
        tls = await asyncio.to_thread(tls_context, self._address) if self._address.tls else None
        if self._clean:
            # A short clean session wipes the predecessor's. The lasting one must not start clean: MQTT 3.1.1 then ends
            # it with the connection, and mosquitto 2.0 never writes it to disk.
            wiping = MqttSession(self._address, self._options, None, tls, v5=self._v5, clean=True)
            await wiping.enter()
            await wiping.leave()
        session = MqttSession(self._address, self._options, self._will, tls, v5=self._v5, clean=False)
        await session.enter()
        return session

    async def _receive(self, session: MqttSession) -> None:
        async for message in session.messages:
            await self._incoming.put((session, message))

    async def _dispatch(self) -> None:
        while not self._closing:
            session, message = await self._incoming.get()
            payload = bytes(message.payload)
            if len(payload) > MAX_MESSAGE_BYTES:
                self.oversized += 1
                log.warning("message is too large", topic=str(message.topic), payload_bytes=len(payload))
            else:
                await self._subscriptions.dispatch(Received(str(message.topic), payload, message.retain))
            if session.alive:
                session.acknowledge(message)

    async def _keep_subscribed(self, session: MqttSession) -> None:
        self._subscribed.clear()
        self._fresh, self._gone = [], []
        await self._request(session, self._subscriptions.patterns)
        self._settle_subscriptions()
        for callback in list(self._callbacks):
            try:
                await callback()
            except Exception:
                log.exception("callback after connecting failed")
        while True:
            _raise_swallowed_cancellation()
            await self._wake_subscriber.wait()
            self._wake_subscriber.clear()
            fresh, self._fresh = list(dict.fromkeys(self._fresh)), []
            gone, self._gone = self._gone, []
            wanted = set(self._subscriptions.patterns)
            await self._request(session, [pattern for pattern in fresh if pattern in wanted])
            for pattern in set(gone) - wanted:
                await session.unsubscribe(pattern)
            self._settle_subscriptions()

    def _settle_subscriptions(self) -> None:
        if not self._fresh:
            self._subscribed.set()

    async def _request(self, session: MqttSession, patterns: list[str]) -> None:
        for pattern in await session.subscribe_all(patterns):
            log.warning("the broker refused a subscription", pattern=pattern, client_id=self._options.client_id)

    async def _send(self, session: MqttSession) -> None:
        window = asyncio.Semaphore(MAX_INFLIGHT)
        async with asyncio.TaskGroup() as tasks:
            while True:
                await window.acquire()
                tasks.create_task(self._send_one(session, await self._next(), window))

    async def _next(self) -> Outgoing:
        while (entry := self._outbox.take()) is None:
            self._wake_sender.clear()
            await self._wake_sender.wait()
        return entry

    async def _send_one(self, session: MqttSession, entry: Outgoing, window: asyncio.Semaphore) -> None:
        await session.publish(entry.topic, entry.payload, qos=entry.qos, retain=entry.retain)
        window.release()
        self._outbox.done(entry)
        if not len(self._outbox):
            self._drained.set()


def _raise_swallowed_cancellation() -> None:
    # asyncio.wait_for, which aiomqtt uses, loses a cancellation that meets its result (Python before 3.12): the
    # connection would wait for this task for ever.
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
