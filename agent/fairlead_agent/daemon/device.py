"""This device within its profile: what workloads may use, what plugins are told, and what the graph says. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from fairlead_agent.config import AgentProfile
from fairlead_agent.config.profile import SimulatedLink
from fairlead_agent.daemon.readings import Measured as MeasuredOnce
from fairlead_agent.daemon.readings import Readings
from fairlead_agent.graph import Edge, EdgeKind, Measured, Vertex, VertexKind
from fairlead_agent.placement.resources import Resources
from fairlead_agent.plugin.facts import BatteryFacts, GpuFacts, LinkFacts, MemoryFacts, NodeFacts, ProcessorFacts

#: MemAvailable is an estimate of the kernel; off by about this share of it.
AVAILABLE_UNCERTAINTY = 0.05


@dataclass(frozen=True, slots=True)
class Device:
    """A node's hardware as read, cut down to its profile and filled up with what the profile pretends."""

    node: str
    profile: AgentProfile
    readings: Readings
    measured: MeasuredOnce = field(default_factory=MeasuredOnce)
    measured_links: Mapping[str, Mapping[str, float]] = field(default_factory=dict[str, Mapping[str, float]])
    """By peer: bandwidth, delay, loss and throughput by attribute, as something on this node measured them."""

    # --- capacity ----------------------------------------------------------------------------------------------

    def capacity(self, claimed: Resources) -> Resources:
        """What workloads may use in all, given what they have claimed already.

        Claimed memory is not available any more, or soon will not be, but is capacity of workloads all the same.
        """
        memory = {"dram": self._dram_capacity(claimed), "storage": self._storage_capacity(claimed)}
        if gpus := self._gpus():
            memory["vram"] = max(gpu.memory_free_bytes for gpu in gpus) + claimed.tier("vram")
        return Resources(memory, self.cores())

    def cores(self) -> float:
        """Cores that workloads may use."""
        budget = self.profile.budget.cores
        return float(self.readings.cores) if budget is None else min(budget, float(self.readings.cores))

    def dram_total_bytes(self) -> int:
        """Main memory that workloads may use at the most."""
        total = max(0, self.readings.memory_total_bytes - self.profile.policy.memory_reserve)
        budget = self.profile.budget.dram
        return total if budget is None else min(budget, total)

    def _dram_capacity(self, claimed: Resources) -> int:
        available = max(0, self.readings.memory_available_bytes - self.profile.policy.memory_reserve)
        return min(self.dram_total_bytes(), available + claimed.tier("dram"))

    def storage_total_bytes(self) -> int:
        """Disk that workloads may use at the most."""
        total = self.readings.storage_total_bytes or 0
        budget = self.profile.budget.storage
        return total if budget is None else min(budget, total)

    def _storage_capacity(self, claimed: Resources) -> int:
        free = self.readings.storage_free_bytes or 0
        return min(self.storage_total_bytes(), free + claimed.tier("storage"))

    # --- what plugins are told ---------------------------------------------------------------------------------

    def facts(self, free: Resources) -> NodeFacts:
        """The node for a plugin's estimate, with ``free`` for it to use."""
        power = self.profile.power
        return NodeFacts(
            node=self.node,
            profile=self.profile.name,
            labels=dict(self.profile.labels),
            processor=self._processor(free.cores),
            memory=tuple(self._memory(free)),
            gpus=self._gpus(),
            battery=self._battery(),
            thermal_headroom_celsius=self.readings.thermal_headroom_celsius,
            memory_pressure=self.readings.memory_pressure,
            watts_idle=power.idle_watts,
            watts_per_core=power.core_watts,
            links=self.links(),
        )

    def links(self) -> tuple[LinkFacts, ...]:
        """The links that the profile states, with what was measured of them in its place."""
        return tuple(self._link(link) for link in self.profile.simulated.links)

    def _link(self, link: SimulatedLink) -> LinkFacts:
        measured = self.measured_links.get(link.peer, {})
        return LinkFacts(
            peer=link.peer,
            bandwidth_bits_per_s=measured.get("bandwidth_bits_per_s", link.bandwidth),
            latency_s=measured.get("latency_s", link.latency),
            loss=measured.get("loss"),
            throughput_bits_per_s=measured.get("throughput_bits_per_s"),
            simulated=measured.keys().isdisjoint(("bandwidth_bits_per_s", "latency_s")),
        )

    def refusal(self) -> str:
        """Why the owner's policy lets no new workload in now; empty where it does."""
        policy, battery = self.profile.policy, self._battery()
        if battery is not None and not battery.charging and battery.charge < policy.battery_min:
            return f"battery at {battery.charge:.0%}, policy.battery_min is {policy.battery_min:.0%}"
        pressure = self.readings.memory_pressure
        if pressure is not None and pressure > policy.memory_pressure_max:
            return f"memory pressure {pressure:.0%}, policy.memory_pressure_max is {policy.memory_pressure_max:.0%}"
        return ""

    def _processor(self, cores_free: float) -> ProcessorFacts:
        readings, simulated = self.readings, self.profile.simulated
        return ProcessorFacts(
            architecture=readings.architecture,
            model=readings.model,
            features=readings.features,
            cores=self.cores(),
            cores_free=min(cores_free, self.cores()),
            speed_factor=simulated.speed_factor,
            memory_bandwidth_bytes_per_s=simulated.memory_bandwidth or self.measured.memory_bandwidth_bytes_per_s,
            load=readings.load,
        )

    def _memory(self, free: Resources) -> Iterator[MemoryFacts]:
        yield MemoryFacts(tier="dram", total_bytes=self.dram_total_bytes(), free_bytes=free.tier("dram"))
        yield MemoryFacts(
            tier="storage",
            total_bytes=self.storage_total_bytes(),
            free_bytes=free.tier("storage"),
            read_bytes_per_s=self.measured.storage_read_bytes_per_s,
        )
        for gpu in self._gpus()[:1]:
            yield MemoryFacts(
                tier="vram",
                total_bytes=gpu.memory_total_bytes,
                free_bytes=free.tier("vram"),
                simulated=gpu.simulated,
            )

    def _gpus(self) -> tuple[GpuFacts, ...]:
        """Real ones first: the first one's memory is the node's vram."""
        real = tuple(
            _gpu_facts(gpu.name, gpu.total_bytes, gpu.total_bytes - gpu.used_bytes) for gpu in self.readings.gpus
        )
        return real + tuple(
            _gpu_facts(gpu.name, gpu.memory, gpu.memory, simulated=True) for gpu in self.profile.simulated.gpus
        )

    def _battery(self) -> BatteryFacts | None:
        pretended, readings = self.profile.simulated.battery, self.readings
        if pretended is not None:
            return BatteryFacts(charge=pretended.charge, charging=pretended.charging, simulated=True)
        if readings.battery_charge is None:
            return None
        return BatteryFacts(charge=readings.battery_charge, charging=readings.battery_charging)

    # --- what the graph says -----------------------------------------------------------------------------------

    def entries(self, free: Resources) -> Iterator[Vertex | Edge]:
        """The node's vertices and edges, instances excepted."""
        yield self._node_vertex()
        parts = [*self._parts(free)]
        yield from parts
        for part in parts:
            yield Edge(self.node, EdgeKind.CONTAINS, part.id)
        for link in self.links():
            measured = self._all(
                bandwidth_bits_per_s=link.bandwidth_bits_per_s,
                latency_s=link.latency_s,
                loss=link.loss,
                throughput_bits_per_s=link.throughput_bits_per_s,
            )
            yield Edge(self.node, EdgeKind.LINK, link_target(link.peer), measured, simulated=link.simulated)

    def _node_vertex(self) -> Vertex:
        power, readings = self.profile.power, self.readings
        measured = self._all(
            idle_watts=power.idle_watts,
            core_watts=power.core_watts,
            power_watts=readings.power_watts,
            thermal_headroom_celsius=readings.thermal_headroom_celsius,
            memory_pressure=readings.memory_pressure,
        )
        labels = {f"label.{name}": value for name, value in self.profile.labels.items()}
        return Vertex(self.node, VertexKind.NODE, measured, {"profile": self.profile.name, **labels})

    def _parts(self, free: Resources) -> Iterator[Vertex]:
        readings, simulated = self.readings, self.profile.simulated
        cores = self._all(
            cores=self.cores(),
            cores_free=min(free.cores, self.cores()),
            speed_factor=simulated.speed_factor,
            load=readings.load,
            temperature_celsius=readings.temperature_celsius,
            memory_bandwidth_bytes_per_s=simulated.memory_bandwidth or self.measured.memory_bandwidth_bytes_per_s,
        )
        properties = {"architecture": readings.architecture, "model": readings.model}
        # A profile that slows the processor down only pretends to have the slower one.
        slowed = simulated.speed_factor < 1 or simulated.memory_bandwidth is not None
        yield Vertex(f"{self.node}/cpu0", VertexKind.PROCESSOR, cores, properties, simulated=slowed)
        yield self._tier("dram", VertexKind.MEMORY, self.dram_total_bytes(), free.tier("dram"))
        yield self._tier("storage", VertexKind.STORAGE, self.storage_total_bytes(), free.tier("storage"))
        for number, gpu in enumerate(self._gpus()):
            yield from self._gpu(number, gpu)
        if (battery := self._battery()) is not None:
            charge = self._all(charge=battery.charge, charging=float(battery.charging))
            yield Vertex(f"{self.node}/battery", VertexKind.ENERGY, charge, simulated=battery.simulated)

        for radio in readings.radios:
            yield Vertex(f"{self.node}/{radio.name}", VertexKind.RADIO, self._all(**radio.facts), {"mode": radio.mode})

    def _tier(self, name: str, kind: VertexKind, total: int, free: int) -> Vertex:
        speed = self.measured.storage_read_bytes_per_s if kind is VertexKind.STORAGE else None
        measured = self._all(total_bytes=total, read_bytes_per_s=speed)
        measured["free_bytes"] = self._at(free, free * AVAILABLE_UNCERTAINTY)
        return Vertex(f"{self.node}/{name}", kind, measured, {"tier": name})

    def _gpu(self, number: int, gpu: GpuFacts) -> Iterator[Vertex]:
        name = f"{self.node}/gpu{number}"
        yield Vertex(
            name, VertexKind.PROCESSOR, {}, {"architecture": "gpu", "model": gpu.name}, simulated=gpu.simulated
        )
        measured = self._all(total_bytes=gpu.memory_total_bytes, free_bytes=gpu.memory_free_bytes)
        yield Vertex(f"{name}-vram", VertexKind.MEMORY, measured, {"tier": "vram"}, simulated=gpu.simulated)

    def _all(self, **values: float | None) -> dict[str, Measured]:
        return {name: self._at(value) for name, value in values.items() if value is not None}

    def _at(self, value: float, uncertainty: float = 0.0) -> Measured:
        return Measured(float(value), self.readings.at_unix_s, uncertainty)


def _gpu_facts(name: str, total: int, free: int, *, simulated: bool = False) -> GpuFacts:
    return GpuFacts(name=name, memory_total_bytes=total, memory_free_bytes=free, simulated=simulated)


def link_target(name: str) -> str:
    """The vertex at the other end of a profile's link: 'gateway' is the control plane, where clients come in."""
    return "control-plane" if name == "gateway" else name
