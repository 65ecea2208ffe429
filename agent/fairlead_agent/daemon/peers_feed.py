"""Tells instances who else serves their workload."""

from __future__ import annotations

import asyncio
import contextlib

from fairlead_agent.bus.bus import Bus
from fairlead_agent.bus.transport import Received, Unsubscribe
from fairlead_agent.messages import Envelope, InstanceReport, InstanceState, NodeInstances, NodeStatus
from fairlead_agent.plugin.context import Peer
from fairlead_agent.runtime.instance import Instance, InstanceError
from fairlead_agent.runtime.supervisor import Supervisor


class PeersFeed:
    """Listens to all nodes' reports while an instance runs here, and not otherwise.

    What a node reported stays when it dies. Its instances are peers until their leases have ended: they may serve so
    long, also without their agent, and whoever left them out before would write past them.

    Args:
        bus: where nodes report.
        supervisor: of the instances here, whose leases' lengths are those of their workloads.
    """

    def __init__(self, bus: Bus, supervisor: Supervisor) -> None:
        self._bus, self._supervisor = bus, supervisor
        self._reports: dict[str, NodeInstances] = {}
        self._incarnations: dict[str, int] = {}
        self._lost_at: dict[str, float] = {}
        self._told: dict[int, tuple[Peer, ...]] = {}
        self._unsubscribe: list[Unsubscribe] = []
        self._tasks: set[asyncio.Task[None]] = set()
        supervisor.subscribe(self._changed)

    def _changed(self, _: InstanceReport) -> None:
        running = any(not instance.ended for instance in self._supervisor.instances())
        if running and not self._unsubscribe:
            topics = self._bus.topics
            self._unsubscribe = [
                self._bus.watch(topics.all_nodes("instances"), NodeInstances, self._heard),
                self._bus.watch(topics.all_nodes("status"), NodeStatus, self._status),
            ]
        elif not running and self._unsubscribe:
            for unsubscribe in self._unsubscribe:
                unsubscribe()
            self._unsubscribe.clear()
            self._told.clear()
        self._tell()

    async def _status(self, envelope: Envelope, _: Received) -> None:
        status = envelope.data
        # A stale will says nothing about an agent that was started after it.
        if not isinstance(status, NodeStatus) or status.incarnation < self._incarnations.get(status.node, 0):
            return
        self._incarnations[status.node] = status.incarnation
        if status.online:
            self._lost_at.pop(status.node, None)
            self._tell()
        elif status.node not in self._lost_at:
            loop = asyncio.get_running_loop()
            self._lost_at[status.node] = loop.time()
            for ttl_s in {instance.spec.ttl_s for instance in self._supervisor.instances()}:
                # A timer may come a little early. Instances that start later hear of it with the next report.
                loop.call_later(ttl_s + 0.01, self._tell)

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
        """The other ready instances of the same workload, as their nodes report them: of a replica the newest."""
        found: dict[int, Peer] = {}
        for node in sorted(self._reports.values(), key=lambda node: node.node):
            for report in node.instances:
                if not self._is_peer(instance, node.node, report):
                    continue
                key = report.key
                before = found.get(key.replica)
                if before is None or before.epoch < report.epoch:
                    found[key.replica] = Peer(
                        workload=key.workload,
                        replica=key.replica,
                        node=node.node,
                        epoch=report.epoch,
                        address=report.address,
                    )
        return tuple(found.values())

    def _is_peer(self, instance: Instance, node: str, report: InstanceReport) -> bool:
        return (
            report.state is InstanceState.READY
            and report.key.workload == instance.key.workload
            and (report.key, node) != (instance.key, self._bus.node)
            and not self._is_gone(node, instance.spec.ttl_s)
        )

    def _is_gone(self, node: str, ttl_s: float) -> bool:
        lost_at = self._lost_at.get(node)
        return lost_at is not None and asyncio.get_running_loop().time() - lost_at >= ttl_s

    async def _show(self, instance: Instance, peers: tuple[Peer, ...]) -> None:
        # An instance that ends meanwhile needs no peers.
        with contextlib.suppress(InstanceError):
            await self._supervisor.show_peers(instance.key, peers, instance.spec.negotiation)
