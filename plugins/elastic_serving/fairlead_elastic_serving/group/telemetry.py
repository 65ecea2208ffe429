"""What groups are measured by."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class GroupTelemetry:
    """What was measured.

    Attributes:
        drops, restores, recoveries: plans that were entered, and faults.
        idle_s: for which this stage waited while its own group had work in flight.
        grouped_s: spent in groups.
        moved_tokens: of exchanges, of one run of layers each.
        fetched_layers: that came back from peers; the others came from disk.
        read_layers: those.
        lost_requests: that were computed again after a fault.
    """

    drops: int = 0
    restores: int = 0
    recoveries: int = 0
    idle_s: float = 0.0
    grouped_s: float = 0.0
    moved_tokens: int = 0
    fetched_layers: int = 0
    read_layers: int = 0
    lost_requests: int = 0
