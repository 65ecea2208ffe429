"""What a plugin's light hooks are told of their node: live facts, some of them private to it.

Facts about hardware that a profile only pretends to have carry ``simulated = True``.
"""

from __future__ import annotations

from pydantic import Field

from fairlead_agent.messages.base import Frozen


class ProcessorFacts(Frozen):
    """The node's processor, within what the profile allows."""

    architecture: str = Field(description="x86_64, aarch64, ...")
    model: str = ""
    features: tuple[str, ...] = Field(default=(), description="Instruction sets as in /proc/cpuinfo.")
    cores: float = Field(description="Cores that the profile lets workloads use.")
    cores_free: float
    speed_factor: float = Field(default=1.0, gt=0, description="Below 1 where a profile slows the processor down.")
    memory_bandwidth_bytes_per_s: float | None = Field(default=None, description="Measured, a lower bound.")
    load: float | None = Field(default=None, description="Share of the cores in use by anyone, 0 to 1.")


class MemoryFacts(Frozen):
    """One memory tier."""

    tier: str = Field(description="dram, vram or storage.")
    total_bytes: int
    free_bytes: int = Field(description="Not used by anyone and not reserved by a bid.")
    read_bytes_per_s: float | None = None
    simulated: bool = False


class GpuFacts(Frozen):
    """One GPU."""

    name: str
    memory_total_bytes: int
    memory_free_bytes: int
    simulated: bool = False


class BatteryFacts(Frozen):
    """The battery of a mobile node."""

    charge: float = Field(ge=0, le=1)
    charging: bool
    simulated: bool = False


class LinkFacts(Frozen):
    """The link from this node to a peer, as this node measured it or its profile states it."""

    peer: str
    bandwidth_bits_per_s: float
    latency_s: float
    loss: float | None = Field(default=None, ge=0, le=1, description="Share of packets lost; null: not measured.")
    throughput_bits_per_s: float | None = Field(default=None, ge=0, description="Sent now; null: not measured.")
    simulated: bool = False


class NodeFacts(Frozen):
    """A node as ``estimate`` and ``probe`` see it."""

    node: str
    profile: str = ""
    labels: dict[str, str] = Field(default_factory=dict)
    processor: ProcessorFacts
    memory: tuple[MemoryFacts, ...]
    gpus: tuple[GpuFacts, ...] = ()
    battery: BatteryFacts | None = None
    thermal_headroom_celsius: float | None = None
    memory_pressure: float | None = Field(default=None, description="PSI 'some' avg10, 0 to 1.")
    watts_idle: float | None = None
    watts_per_core: float | None = Field(default=None, description="Extra power of one busy core.")
    links: tuple[LinkFacts, ...] = ()
    artifacts: tuple[str, ...] = Field(default=(), description="Digests of artifacts that lie on this node.")
    software: dict[str, str] = Field(
        default_factory=dict, description="What a plugin's probe() found, e.g. {'kernels': 'native:avx512'}."
    )

    def tier(self, name: str) -> MemoryFacts | None:
        """The memory tier of that name, or None where the node has none."""
        return next((tier for tier in self.memory if tier.tier == name), None)
