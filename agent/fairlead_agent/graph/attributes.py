"""All measured attributes, on one page: what they mean, their range, and from which change on they are worth telling.

Names end in their SI unit; a name without one is a share, a count or a factor. Attributes that are not in the table
(a newer peer's, a plugin's own facts) are kept as they are; those in the table are held to their range.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from fairlead_agent.graph.errors import GraphError
from fairlead_agent.graph.kinds import EdgeKind, VertexKind

#: Relative change below which an attribute that is not in the table is not told again.
DEFAULT_SIGNIFICANCE = 0.05


@dataclass(frozen=True, slots=True)
class Attribute:
    """One measured attribute."""

    name: str
    summary: str
    significance: float = DEFAULT_SIGNIFICANCE
    minimum: float = 0.0
    maximum: float = math.inf

    def check(self, value: float) -> None:
        """Hold a value to the attribute's range.

        Raises:
            GraphError: it lies outside.
        """
        if not self.minimum <= value <= self.maximum:
            raise GraphError(f"{self.name}: {value!r} is not in {self.minimum:g} to {self.maximum:g}")


def _table(*attributes: Attribute) -> dict[str, Attribute]:
    return {attribute.name: attribute for attribute in attributes}


_A = Attribute
_CELSIUS = {"minimum": -273.15, "maximum": 1000.0}

_CAPACITY = (
    _A("total_bytes", "Bytes that workloads may use in all: the profile's budget where it is below the hardware's."),
    _A("free_bytes", "Bytes that nobody uses and no bid has reserved."),
    _A("read_bytes_per_s", "Sequential read bandwidth.", significance=0.1),
    _A("write_bytes_per_s", "Sequential write bandwidth.", significance=0.1),
    _A("latency_s", "Time to the first byte of a random read.", significance=0.1),
)

VERTEX_ATTRIBUTES: dict[VertexKind, dict[str, Attribute]] = {
    VertexKind.NODE: _table(
        _A("power_watts", "What the node draws now.", significance=0.1),
        _A("idle_watts", "What it draws when nothing runs."),
        _A("core_watts", "What one busy core adds."),
        _A("thermal_headroom_celsius", "Degrees left until the hardware slows itself down.", 0.1, **_CELSIUS),
        _A("memory_pressure", "Share of time in which some task waited for memory (PSI some, 10 s).", 0.25, maximum=1),
    ),
    VertexKind.PROCESSOR: _table(
        _A("cores", "Cores that workloads may use."),
        _A("cores_free", "Cores that no instance and no reservation holds."),
        _A("speed_factor", "Below 1 where a profile slows the processor down."),
        _A("frequency_hz", "Clock frequency now.", significance=0.2),
        _A("load", "Share of the cores in use by anyone.", significance=0.25, maximum=1.0),
        _A("memory_bandwidth_bytes_per_s", "Measured with all cores; a lower bound.", significance=0.1),
        _A("flops_per_s", "Measured fused multiply-adds, counted as two.", significance=0.1),
        _A("temperature_celsius", "Hottest sensor of the package.", significance=0.1, **_CELSIUS),
    ),
    VertexKind.MEMORY: _table(*_CAPACITY),
    VertexKind.STORAGE: _table(
        *_CAPACITY,
        _A("random_read_bytes_per_s", "Bandwidth of random reads of 64 KiB.", significance=0.1),
    ),
    VertexKind.ENERGY: _table(
        _A("charge", "State of charge.", significance=0.02, maximum=1.0),
        _A("charging", "1 while it charges, else 0.", significance=0.0, maximum=1.0),
        _A("capacity_j", "Energy of a full battery."),
        _A("discharge_watts", "Power drawn from it; negative while it charges.", 0.2, minimum=-math.inf),
    ),
    VertexKind.RADIO: _table(
        _A("bandwidth_bits_per_s", "What the radio carries now, all peers together.", significance=0.1),
        _A("channel_hz", "Width of its channel.", significance=0.0),
        _A("carrier_hz", "Carrier frequency.", significance=0.0),
        _A("snr_db", "Signal to noise ratio.", significance=0.1, minimum=-200.0, maximum=200.0),
        _A("signal_dbm", "Received power.", significance=0.05, minimum=-250.0, maximum=100.0),
        _A("sensing_share", "Share of its time and spectrum given to sensing.", significance=0.05, maximum=1.0),
    ),
    VertexKind.ARTIFACT: _table(_A("size_bytes", "Size; fixed by the digest.", significance=0.0)),
    VertexKind.INSTANCE: _table(
        _A("memory_bytes", "Resident memory of its processes.", significance=0.1),
        _A("limit_bytes", "Its memory limit in force.", significance=0.0),
        _A("cores", "Cores kept busy, averaged.", significance=0.25),
        _A("throughput_per_s", "Measured, in the plugin's unit.", significance=0.1),
        _A("latency_p90_s", "Measured 90th percentile of latency.", significance=0.1),
        _A("power_watts", "Power put down to it.", significance=0.2),
    ),
}
"""By vertex kind and name."""

EDGE_ATTRIBUTES: dict[EdgeKind, dict[str, Attribute]] = {
    EdgeKind.CONTAINS: {},
    EdgeKind.LINK: _table(
        _A("bandwidth_bits_per_s", "Payload that it carries in this direction.", significance=0.1),
        _A("latency_s", "One-way delay.", significance=0.1),
        _A("jitter_s", "Standard deviation of the delay.", significance=0.25),
        _A("loss", "Share of packets lost.", significance=0.25, maximum=1.0),
        _A("throughput_bits_per_s", "Sent over it in this direction now, by anyone.", significance=0.25),
        _A("energy_j_per_bit", "What the sender spends.", significance=0.1),
    ),
    EdgeKind.CACHES: _table(_A("stored_bytes", "Bytes of the artifact that lie there already.", significance=0.05)),
    EdgeKind.RUNS: _table(_A("memory_bytes", "Budget held for the instance."), _A("cores", "Cores held for it.")),
}
"""By edge kind and name."""


def attributes_of(kind: VertexKind | EdgeKind) -> dict[str, Attribute]:
    """The declared attributes of a kind, by name."""
    return VERTEX_ATTRIBUTES[kind] if isinstance(kind, VertexKind) else EDGE_ATTRIBUTES[kind]


def significance(kind: VertexKind | EdgeKind, name: str) -> float:
    """Relative change from which on ``name`` is worth telling."""
    attribute = attributes_of(kind).get(name)
    return DEFAULT_SIGNIFICANCE if attribute is None else attribute.significance
