"""Listens to a site's bus as one more client, so that what is measured is not changed by measuring it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from fairlead_agent.bus.address import BrokerAddress
from fairlead_agent.bus.mqtt import MqttTransport
from fairlead_agent.bus.topics import Topics
from fairlead_agent.bus.transport import Received
from fairlead_agent.messages import Envelope, NodeInstances, decode

CONNECT_S = 30.0


class Observer:
    """Keeps everything that concerns negotiations; it is read when the negotiation is over.

    Args:
        address: the broker, with a login that may read all inboxes.
        site: the site's name.
        steward: who negotiates.
    """

    def __init__(self, address: BrokerAddress, site: str, steward: str) -> None:
        self._transport = MqttTransport(address, client_id=address.username or "observer")
        self._topics, self._steward = Topics(site), steward
        self._heard: list[bytes] = []
        self._news = asyncio.Condition()
        self._reports: dict[str, NodeInstances] = {}

    async def start(self) -> None:
        """Subscribe, and wait until the subscriptions stand.

        Raises:
            TimeoutError: the broker does not answer.
        """
        topics = self._topics
        for pattern in (topics.inbox("+"), topics.call(self._steward), topics.placement(self._steward, "+")):
            self._transport.subscribe(pattern, self._keep)
        self._transport.subscribe(topics.all_nodes("instances"), self._report)
        await self._transport.start()
        if not await self._transport.flush(CONNECT_S):
            raise TimeoutError(f"the broker did not answer within {CONNECT_S:g} s")

    async def stop(self) -> None:
        """Listen no more."""
        await self._transport.close()

    def take(self) -> list[Envelope]:
        """What was heard since the last call."""
        heard, self._heard = self._heard, []
        return [decode(payload) for payload in heard if payload]

    async def until(self, condition: Callable[[Iterable[NodeInstances]], bool], timeout_s: float) -> None:
        """Wait until the nodes' newest reports fulfil a condition.

        Raises:
            TimeoutError: they did not.
        """
        async with asyncio.timeout(timeout_s), self._news:
            await self._news.wait_for(lambda: condition(self._reports.values()))

    async def _keep(self, received: Received) -> None:
        self._heard.append(received.payload)

    async def _report(self, received: Received) -> None:
        self._heard.append(received.payload)
        report = decode(received.payload).data
        if isinstance(report, NodeInstances):
            async with self._news:
                self._reports[report.node] = report
                self._news.notify_all()
