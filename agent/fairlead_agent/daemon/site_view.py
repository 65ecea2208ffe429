"""What this node knows of its site: who is there, what runs where, what was decided, and the resource graph."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from fairlead_agent.bus.bus import Bus
from fairlead_agent.bus.topics import Topics
from fairlead_agent.bus.transport import Received
from fairlead_agent.daemon.graph_view import GraphView
from fairlead_agent.daemon.outgoing import Outgoing
from fairlead_agent.messages import (
    Envelope,
    GraphUpdate,
    NodeInstances,
    NodeStatus,
    PlacementRecord,
    RebirthRequest,
)

log = structlog.get_logger()


class SiteView:
    """Watches the retained state of all nodes. A node is believed only about itself."""

    def __init__(self, bus: Bus, topics: Topics, outgoing: Outgoing) -> None:
        self._bus, self._topics, self._outgoing = bus, topics, outgoing
        self.statuses: dict[str, NodeStatus] = {}
        self.instances: dict[str, NodeInstances] = {}
        self.records: dict[tuple[str, str], PlacementRecord] = {}
        self.graph = GraphView()
        self._status_listeners: list[Callable[[NodeStatus], None]] = []
        self._instance_listeners: list[Callable[[NodeInstances], None]] = []
        self._fact_listeners: list[Callable[[str, str], None]] = []
        self._record_listeners: list[Callable[[PlacementRecord], None]] = []

    def start(self) -> None:
        """Subscribe to everything retained."""
        self._bus.watch(self._topics.all_nodes("status"), NodeStatus, self._status)
        self._bus.watch(self._topics.all_nodes("graph"), GraphUpdate, self._graph)
        self._bus.watch(self._topics.all_nodes("delta"), GraphUpdate, self._graph)
        self._bus.watch(self._topics.all_nodes("instances"), NodeInstances, self._instances)
        self._bus.watch(self._topics.all_nodes("placement/+"), PlacementRecord, self._record)

    def on_status(self, listener: Callable[[NodeStatus], None]) -> None:
        """Hear of births and deaths."""
        self._status_listeners.append(listener)

    def on_instances(self, listener: Callable[[NodeInstances], None]) -> None:
        """Hear of changed instances."""
        self._instance_listeners.append(listener)

    def on_facts(self, listener: Callable[[str, str], None]) -> None:
        """Hear of nodes whose part of the graph has changed, and in words what of it is notable (else empty)."""
        self._fact_listeners.append(listener)

    def on_record(self, listener: Callable[[PlacementRecord], None]) -> None:
        """Hear of stewards' decisions."""
        self._record_listeners.append(listener)

    def online(self) -> list[NodeStatus]:
        """The nodes that are there now."""
        return [status for status in self.statuses.values() if status.online]

    def record(self, workload: str) -> PlacementRecord | None:
        """The latest decision on a workload, whoever was its steward then."""
        found = [record for (name, _), record in self.records.items() if name == workload]
        return max(found, key=lambda record: (record.generation, record.decided_at, record.seq), default=None)

    async def _status(self, envelope: Envelope, received: Received) -> None:
        status = envelope.data
        if not isinstance(status, NodeStatus) or not self._is_own_word(status.node, received):
            return
        known = self.statuses.get(status.node)
        if known is not None and status.incarnation < known.incarnation:
            return  # a stale will must not kill a newer session
        self.statuses[status.node] = status
        for listener in self._status_listeners:
            listener(status)

    async def _instances(self, envelope: Envelope, received: Received) -> None:
        report = envelope.data
        if not isinstance(report, NodeInstances) or not self._is_own_word(report.node, received):
            return
        known = self.instances.get(report.node)
        if known is not None and (report.incarnation, report.seq) < (known.incarnation, known.seq):
            return
        self.instances[report.node] = report
        for listener in self._instance_listeners:
            listener(report)

    async def _graph(self, envelope: Envelope, received: Received) -> None:
        update = envelope.data
        if not isinstance(update, GraphUpdate) or not self._is_own_word(update.node, received):
            return
        merged = self.graph.merge(update)
        if merged.gap:
            self._outgoing.post(update.node, RebirthRequest(node=update.node, seen_seq=merged.seen_seq))
        if merged.changed:
            for listener in self._fact_listeners:
                listener(update.node, merged.notable)

    async def _record(self, envelope: Envelope, received: Received) -> None:
        record = envelope.data
        if not isinstance(record, PlacementRecord) or not self._is_own_word(record.steward, received):
            return
        self.records[(record.workload, record.steward)] = record
        for listener in self._record_listeners:
            listener(record)

    def _is_own_word(self, node: str, received: Received) -> bool:
        """Topics of a node are written by that node alone; anything else is dropped."""
        levels = received.topic.split("/")
        if len(levels) > 4 and levels[4] == node:
            return True
        log.warning("site_view.foreign_word", topic=received.topic, node=node)
        return False
