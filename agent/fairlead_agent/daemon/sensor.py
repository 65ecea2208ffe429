"""Keeps this node's part of the resource graph: reads, and publishes what is worth telling."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import structlog

from fairlead_agent.bus.bus import Bus
from fairlead_agent.config import AgentProfile
from fairlead_agent.daemon.clocks import boottime, unix_time
from fairlead_agent.daemon.device import Device, link_target
from fairlead_agent.daemon.outgoing import Outgoing
from fairlead_agent.daemon.readings import DeviceReader, measure_once
from fairlead_agent.graph import Edge, EdgeKind, GraphError, Measured, Vertex, VertexKind, instance_id
from fairlead_agent.graph.attributes import VERTEX_ATTRIBUTES
from fairlead_agent.graph.update import ShardUpdate
from fairlead_agent.graph.writer import ShardWriter
from fairlead_agent.messages import Envelope, GraphUpdate, InstanceReport, RebirthRequest
from fairlead_agent.placement.resources import Resources
from fairlead_agent.plugin.facts import NodeFacts

log = structlog.get_logger()

#: The retained snapshot is renewed at most this often; in between, changes travel alone.
SNAPSHOT_INTERVAL_S = 10.0


class Sensor:
    """Reads the device every ``interval_s`` seconds. ``claimed`` says what workloads have claimed now."""

    def __init__(
        self,
        bus: Bus,
        outgoing: Outgoing,
        profile: AgentProfile,
        reader: DeviceReader,
        claimed: Callable[[], Resources],
        interval_s: float,
    ) -> None:
        self._bus, self._outgoing, self._reader = bus, outgoing, reader
        self._claimed, self._interval_s = claimed, interval_s
        self._writer = ShardWriter(bus.node, bus.incarnation)
        self._snapshot_at = 0.0
        self._task: asyncio.Task[None] | None = None
        self._instances: set[str] = set()
        self._radio_sources: dict[str, str] = {}
        """By vertex: the instance that runs the radio."""
        self._link_sources: dict[str, str] = {}
        """By peer: the instance that measured the link last."""
        self.device = Device(bus.node, profile, reader.read())

    async def measure(self, path: Path, state_dir: Path) -> None:
        """Measure what takes a second, once in the life of the state folder."""
        measured = await asyncio.to_thread(measure_once, path, state_dir)
        self.device = replace(self.device, measured=measured)

    def start(self) -> None:
        """Read and publish from now on."""
        self._bus.on(RebirthRequest, self._reborn)
        self._task = asyncio.get_running_loop().create_task(self._run(), name="sensor")

    async def stop(self) -> None:
        """Read no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def capacity(self, claimed: Resources) -> Resources:
        """What workloads may use in all."""
        return self.device.capacity(claimed)

    def facts(self, free: Resources | None) -> NodeFacts:
        """The node for a plugin; ``None``: with what nobody has claimed."""
        return self.device.facts(self._free() if free is None else free)

    def renew(self, profile: AgentProfile) -> None:
        """Cut the device down to another profile from now on, and tell what has changed by it."""
        self.device = replace(self.device, profile=profile)
        self.publish()

    def refresh(self) -> None:
        """Read now: an estimate is about to be made."""
        self.device = replace(self.device, readings=self._reader.read())

    def instances(self, reports: tuple[InstanceReport, ...]) -> None:
        """Put the instances into the graph."""
        vertices = {vertex.id: vertex for report in reports for vertex in (self._instance(report),)}
        gone = self._instances - vertices.keys()
        self._writer.remove(*gone, *(Edge(self._bus.node, EdgeKind.RUNS, key).key for key in gone))
        self._instances = set(vertices)
        self._forget_links(gone)
        edges = [Edge(self._bus.node, EdgeKind.RUNS, key) for key in vertices]
        self._stage([*vertices.values(), *edges])
        self.publish()

    def fact(self, vertex: str, attribute: str, value: float, uncertainty: float, *, source: str = "") -> None:
        """A plugin measured something. It may speak of this node's vertices and links only.

        Args:
            vertex: its id, or the key of an edge.
            attribute: its name, which ends in its SI unit.
            value: what was measured.
            uncertainty: one standard deviation.
            source: the instance that measured; what it said of links ends with it, and so do radios that it runs,
                whose vertices are called ``NODE/radio-NAME``.
        """
        if self._measured_link(vertex, attribute, value, source):
            self.publish()
            return
        self._name_radio(vertex, source)
        try:
            self._writer.measure(vertex, attribute, Measured(value, unix_time(), uncertainty))
        except GraphError as error:
            log.warning("sensor.fact_refused", vertex=vertex, attribute=attribute, reason=str(error))
            return
        self.publish()

    def _measured_link(self, edge: str, attribute: str, value: float, source: str) -> bool:
        """A link of this node: what was measured takes the place of what the profile states, also in bids."""
        for link in self.device.links():
            key = Edge(self._bus.node, EdgeKind.LINK, link_target(link.peer)).key
            if edge == key and _is_of_a_link(attribute, value):
                known = dict(self.device.measured_links)
                known[link.peer] = {**known.get(link.peer, {}), attribute: value}
                self.device = replace(self.device, measured_links=known)
                self._link_sources[link.peer] = source
                return True
        return False

    def _name_radio(self, vertex: str, source: str) -> None:
        """The vertex of a radio that an instance runs, at its first word of it."""
        running = self._writer.get(source) if source else None
        new = vertex.startswith(f"{self._bus.node}/radio-") and self._writer.get(vertex) is None
        if not new or not isinstance(running, Vertex):
            return
        self._radio_sources[vertex] = source
        radio = Vertex(vertex, VertexKind.RADIO, {}, {"instance": source}, simulated=running.simulated)
        self._stage([radio, Edge(self._bus.node, EdgeKind.CONTAINS, vertex)])

    def _forget_links(self, gone: Iterable[str]) -> None:
        """Instances have ended: of links that they measured, what the profile states counts again; radios are gone."""
        silent = [vertex for vertex, source in self._radio_sources.items() if source in set(gone)]
        for vertex in silent:
            del self._radio_sources[vertex]
            self._writer.remove(vertex, Edge(self._bus.node, EdgeKind.CONTAINS, vertex).key)
        peers = {peer for peer, source in self._link_sources.items() if source in set(gone)}
        if peers:
            known = {peer: found for peer, found in self.device.measured_links.items() if peer not in peers}
            self.device = replace(self.device, measured_links=known)
            self._link_sources = {p: source for p, source in self._link_sources.items() if p not in peers}

    def publish(self) -> None:
        """Tell what is staged; now and then, everything."""
        self._stage(list(self.device.entries(self._free())))
        update = self._writer.flush()
        if update is not None:
            self._outgoing.post_to(self._bus.topics.delta(self._bus.node), message(update))
        if update is not None and boottime() - self._snapshot_at > SNAPSHOT_INTERVAL_S:
            self.publish_all()

    def publish_all(self) -> None:
        """The retained snapshot, for those who come later."""
        self._snapshot_at = boottime()
        self._outgoing.post_to(self._bus.topics.graph(self._bus.node), message(self._writer.snapshot()), retain=True)

    async def _run(self) -> None:
        while True:
            try:
                self.refresh()
                self.publish()
            except Exception:
                # A sensor that breaks must not end the node's word on everything else.
                log.exception("sensor.step_failed")
            await asyncio.sleep(self._interval_s)

    async def _reborn(self, _: Envelope) -> None:
        self.publish_all()

    def _free(self) -> Resources:
        claimed = self._claimed()
        return self.capacity(claimed).minus(claimed)

    def _stage(self, values: list[Vertex | Edge]) -> None:
        try:
            self._writer.put(*values)
        except GraphError as error:
            log.warning("sensor.not_told", reason=str(error))

    def _instance(self, report: InstanceReport) -> Vertex:
        numbers = {
            "memory_bytes": report.memory_bytes,
            "limit_bytes": report.limit_bytes,
            "throughput_per_s": report.throughput_per_s,
            "latency_p90_s": report.latency_p90_s,
        }
        measured = {name: Measured(float(n), unix_time()) for name, n in numbers.items() if n is not None}
        properties = {
            "workload": report.key.workload,
            "replica": report.key.replica,
            "variant": report.variant,
            "state": report.state.value,
            "epoch": report.epoch,
        }
        key = instance_id(self._bus.node, report.key.workload, report.key.replica)
        told = self._told_by_plugin(key, report.epoch)
        return Vertex(key, VertexKind.INSTANCE, {**told, **measured}, properties, simulated=report.simulated)

    def _told_by_plugin(self, key: str, epoch: int) -> dict[str, Measured]:
        """What the plugin said of the same instance; of one that ended it says nothing any more."""
        known = self._writer.get(key)
        if not isinstance(known, Vertex) or known.properties.get("epoch") != epoch:
            return {}
        ours = VERTEX_ATTRIBUTES[VertexKind.INSTANCE]
        return {name: measured for name, measured in known.measured.items() if name not in ours}


def _is_of_a_link(attribute: str, value: float) -> bool:
    """Whether a link may have this value: nothing bids over one that carries nothing or takes no time."""
    if attribute in ("bandwidth_bits_per_s", "latency_s"):
        return 0 < value < math.inf
    return (attribute == "loss" and 0 <= value <= 1) or (attribute == "throughput_bits_per_s" and 0 <= value < math.inf)


def message(update: ShardUpdate) -> GraphUpdate:
    """An update as it travels."""
    return GraphUpdate.model_validate(update.to_mapping())
