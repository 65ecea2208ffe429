"""Says things in order, without making the one who decides wait for the network."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import structlog

from fairlead_agent.bus.bus import Bus
from fairlead_agent.bus.transport import TransportError
from fairlead_agent.messages import Body, MessageError

log = structlog.get_logger()


class Outgoing:
    """A queue in front of a bus: state machines step without awaiting, what they say leaves in the order said.

    Retained state travels with QoS 1. All else is said again by its state machine until it is answered, so it travels
    with QoS 0: a broker that keeps every message on disk before it acknowledges it would be the bottleneck.
    """

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._queue: asyncio.Queue[Callable[[], Awaitable[None]]] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to send."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="outgoing")

    async def stop(self) -> None:
        """Send what waits, then no more."""
        if self._task is None:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                await self._queue.join()
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    def post(self, node: str, body: Body, *, expires_in_s: float | None = None) -> None:
        """Say something to one node."""
        self._queue.put_nowait(lambda: self._bus.send(node, body, expires_in_s=expires_in_s, qos=0))

    def post_to(self, topic: str, body: Body, *, retain: bool = False, expires_in_s: float | None = None) -> None:
        """Say something on a topic."""
        qos = 1 if retain else 0
        self._queue.put_nowait(
            lambda: self._bus.publish(topic, body, retain=retain, expires_in_s=expires_in_s, qos=qos)
        )

    async def _run(self) -> None:
        while True:
            send = await self._queue.get()
            try:
                await send()
            except (TransportError, MessageError) as error:
                # Every message of a negotiation may be lost: who waits for it asks again.
                log.warning("outgoing.not_sent", reason=str(error))
            finally:
                self._queue.task_done()
