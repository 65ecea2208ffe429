"""Do the broker's rules hold? On MQTT 3.1.1 a denied publish looks like a good one, so the only proof is to try."""

from __future__ import annotations

import asyncio
import contextlib

from fairlead_agent.bus.address import BrokerAddress
from fairlead_agent.bus.broker.base import BrokerError
from fairlead_agent.bus.mqtt import MqttTransport
from fairlead_agent.bus.topics import Topics
from fairlead_agent.bus.transport import Received

FORGED = b"forged"
PROBE = "selftest"


async def violations(
    intruder: BrokerAddress, victim: BrokerAddress, site: str, *, timeout_s: float = 10.0
) -> list[str]:
    """Try what one node must not do to another; return what succeeded, in words. Empty: the rules hold.

    Args:
        intruder: a node's login, made for this test; its user name is its node id.
        victim: another one.
        site: the site whose topics are tried.
        timeout_s: for the part that must succeed.

    Raises:
        BrokerError: a node cannot even say what it may, so nothing is proved.
    """
    attack = _Attack(intruder, victim, Topics(site))
    try:
        async with asyncio.timeout(timeout_s):
            return await attack.run()
    except TimeoutError:
        raise BrokerError(f"self-test of {victim}: no message came through within {timeout_s} s") from None
    finally:
        await attack.close()


class _Attack:
    def __init__(self, intruder: BrokerAddress, victim: BrokerAddress, topics: Topics) -> None:
        self._a, self._b = intruder.username or "", victim.username or ""
        self._topics = topics
        self._intruder = MqttTransport(intruder, self._a)
        self._victim = MqttTransport(victim, self._b)
        self._mark = b""
        self._marked = asyncio.Event()
        self._found: list[str] = []

    async def run(self) -> list[str]:
        topics = self._topics
        self._victim.subscribe(topics.all_nodes(PROBE), self._hear)
        self._victim.subscribe(topics.all_desired(), self._hear)
        self._intruder.subscribe(topics.inbox(self._b), self._read)
        self._intruder.subscribe(topics.inbox(self._a), self._read)
        await self._victim.start()
        await self._intruder.start()
        # Each round ends with a mark. A client's messages are handled in order, so when the second mark is here, the
        # forgeries before it would be too; the first one shows that the reader's subscriptions stand.
        for forgeries in ([], [f"{topics.root}/node/{self._b}/{PROBE}", topics.desired(PROBE)]):
            await self._until_marked(self._intruder, forgeries, f"{topics.root}/node/{self._a}/{PROBE}")
        for forgeries in ([], [topics.inbox(self._b)]):
            await self._until_marked(self._victim, forgeries, topics.inbox(self._a))
        return sorted(set(self._found))

    async def close(self) -> None:
        await self._intruder.close()
        await self._victim.close()

    async def _hear(self, received: Received) -> None:
        self._note(received, "publish to")

    async def _read(self, received: Received) -> None:
        self._note(received, "read")

    def _note(self, received: Received, deed: str) -> None:
        if received.payload == FORGED:
            self._found.append(f"{self._a} could {deed} {received.topic}")
        elif received.payload == self._mark:
            self._marked.set()

    async def _until_marked(self, sender: MqttTransport, forgeries: list[str], allowed: str) -> None:
        self._mark = f"{allowed} {len(forgeries)}".encode()
        self._marked.clear()
        while not self._marked.is_set():
            for topic in forgeries:
                await sender.publish(topic, FORGED)
            await sender.publish(allowed, self._mark)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._marked.wait(), 0.2)
