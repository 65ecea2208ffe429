"""Birth and death: says that this node is there, at every (re)connect, and arranges what is said when it vanishes."""

from __future__ import annotations

import structlog

from fairlead_agent.bus.bus import Bus
from fairlead_agent.bus.topics import Topics
from fairlead_agent.bus.transport import Received, Transport
from fairlead_agent.messages import Envelope, NodeStatus
from fairlead_agent.messages.envelope import encode

log = structlog.get_logger()


class Presence:
    """Publishes a node's status. Death is the MQTT will and carries the same incarnation as the birth.

    Set ``leaving`` before the transport is closed: its farewell is meant.
    """

    def __init__(self, transport: Transport, bus: Bus, topics: Topics, status: NodeStatus) -> None:
        self._transport, self._bus, self._topics = transport, bus, topics
        self.status = status
        self.leaving = False

    async def prepare(self) -> None:
        """Arrange will and birth; call before the transport starts."""
        topic = self._topics.status(self.status.node)
        death = self.status.model_copy(update={"online": False})
        payload = encode(
            death, id=f"{self.status.node}-{self.status.incarnation}-death", source=self.status.node, time=0
        )
        self._transport.set_will(topic, payload, retain=True)
        self._transport.on_connected(self._birth)
        self._bus.watch(topic, NodeStatus, self._heard)

    async def update(self, **changes: object) -> None:
        """Change the status, for instance ``draining=True``, and say so."""
        self.status = self.status.model_copy(update=changes)
        await self._birth()

    async def _birth(self) -> None:
        await self._bus.publish(self._topics.status(self.status.node), self.status, retain=True)

    async def _heard(self, envelope: Envelope, _: Received) -> None:
        status = envelope.data
        if not isinstance(status, NodeStatus) or status.online or self.leaving:
            return
        if status.incarnation > self.status.incarnation:
            return
        # The broker buried a connection of ours that has a successor: this node is alive.
        log.info("presence.premature_death", incarnation=status.incarnation)
        await self._birth()
