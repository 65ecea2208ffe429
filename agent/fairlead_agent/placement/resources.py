"""Amounts of memory per tier and of cores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fairlead_agent.messages import Estimate

#: Sums of cores are compared with this slack, because they are floating-point numbers.
CORE_SLACK = 1e-9


@dataclass(frozen=True, slots=True)
class Resources:
    """Bytes per memory tier (dram, vram, storage) and processor cores."""

    memory_bytes: Mapping[str, int] = field(default_factory=dict[str, int])
    cores: float = 0.0

    @classmethod
    def of(cls, estimate: Estimate) -> Resources:
        """What an instance with this estimate takes."""
        return cls(dict(estimate.memory_bytes), estimate.cores)

    def plus(self, other: Resources) -> Resources:
        """The sum, tier by tier."""
        tiers = self.memory_bytes.keys() | other.memory_bytes.keys()
        memory = {tier: self.tier(tier) + other.tier(tier) for tier in tiers}
        return Resources(memory, self.cores + other.cores)

    def minus(self, other: Resources) -> Resources:
        """What is left, never below zero."""
        tiers = self.memory_bytes.keys() | other.memory_bytes.keys()
        memory = {tier: max(0, self.tier(tier) - other.tier(tier)) for tier in tiers}
        return Resources(memory, max(0.0, self.cores - other.cores))

    def times(self, count: int) -> Resources:
        """The amount, ``count`` times."""
        return Resources({tier: size * count for tier, size in self.memory_bytes.items()}, self.cores * count)

    def union(self, other: Resources) -> Resources:
        """The larger of the two, tier by tier: enough for either."""
        tiers = self.memory_bytes.keys() | other.memory_bytes.keys()
        memory = {tier: max(self.tier(tier), other.tier(tier)) for tier in tiers}
        return Resources(memory, max(self.cores, other.cores))

    def intersection(self, other: Resources) -> Resources:
        """The smaller of the two, tier by tier."""
        tiers = self.memory_bytes.keys() & other.memory_bytes.keys()
        return Resources({tier: min(self.tier(tier), other.tier(tier)) for tier in tiers}, min(self.cores, other.cores))

    def within(self, room: Resources) -> bool:
        """True where ``room`` has at least this much of everything."""
        memory = all(size <= room.tier(tier) for tier, size in self.memory_bytes.items())
        return memory and self.cores <= room.cores + CORE_SLACK

    def tier(self, name: str) -> int:
        """Bytes in one tier; 0 where it is not named."""
        return self.memory_bytes.get(name, 0)

    def share(self, capacity: Resources) -> float:
        """The largest share of any tier of ``capacity`` that this takes, 0 to 1."""
        shares = [size / max(1, capacity.tier(tier)) for tier, size in self.memory_bytes.items() if size]
        return min(1.0, max(shares, default=0.0))

    def lacking(self, room: Resources) -> str:
        """What ``room`` is short of, in words; empty where it suffices."""
        parts = [
            f"{mebibytes(size)} of {tier} ({mebibytes(room.tier(tier))} free)"
            for tier, size in sorted(self.memory_bytes.items())
            if size > room.tier(tier)
        ]
        if self.cores > room.cores + CORE_SLACK:
            parts.append(f"{self.cores:g} cores ({room.cores:g} free)")
        return ", ".join(parts)


def mebibytes(size: int) -> str:
    """A size in words."""
    return f"{size / 2**20:.0f} MiB"
