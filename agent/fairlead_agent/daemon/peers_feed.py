"""Tells instances who else serves their workload."""

from __future__ import annotations

import asyncio
import contextlib

from fairlead_agent.bus.bus import Bus
from fairlead_agent.bus.transport import Received, Unsubscribe
from fairlead_agent.messages import Envelope, InstanceReport, InstanceState, NodeInstances
from fairlead_agent.plugin.context import Peer
from fairlead_agent.runtime.instance import Instance, InstanceError
from fairlead_agent.runtime.supervisor import Supervisor


class PeersFeed:
    """Listens to all nodes' reports while an instance runs here, and not otherwise."""

    def __init__(self, bus: Bus, supervisor: Supervisor) -> None:
        self._bus, self._supervisor = bus, supervisor
        self._reports: dict[str, NodeInstances] = {}
        self._told: dict[int, tuple[Peer, ...]] = {}
        self._unsubscribe: Unsubscribe | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        supervisor.subscribe(self._changed)

    def _changed(self, _: InstanceReport) -> None:
        running = any(not instance.ended for instance in self._supervisor.instances())
        if running and self._unsubscribe is None:
            self._unsubscribe = self._bus.watch(self._bus.topics.all_nodes("instances"), NodeInstances, self._heard)
        elif not running and self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None
            self._told.clear()
        self._tell()

    async def _heard(self, envelope: Envelope, _: Received) -> None:
        if isinstance(envelope.data, NodeInstances):
            self._reports[envelope.data.node] = envelope.data
            self._tell()

    def _tell(self) -> None:
        for instance in self._supervisor.instances():
            if instance.state is not InstanceState.READY:
                continue
            peers = self.peers_of(instance)
            if self._told.get(id(instance)) != peers:
                self._told[id(instance)] = peers
                task = asyncio.get_running_loop().create_task(self._show(instance, peers))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    def peers_of(self, instance: Instance) -> tuple[Peer, ...]:
        """The other ready instances of the same workload, as their nodes report them."""
        return tuple(
            Peer(
                workload=report.key.workload,
                replica=report.key.replica,
                node=node.node,
                epoch=report.epoch,
                address=report.address,
            )
            for node in sorted(self._reports.values(), key=lambda node: node.node)
            for report in node.instances
            if report.state is InstanceState.READY
            and report.key.workload == instance.key.workload
            and (report.key, node.node) != (instance.key, self._bus.node)
        )

    async def _show(self, instance: Instance, peers: tuple[Peer, ...]) -> None:
        # An instance that ends meanwhile needs no peers.
        with contextlib.suppress(InstanceError):
            await self._supervisor.show_peers(instance.key, peers, instance.spec.negotiation)
