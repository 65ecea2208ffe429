"""What groups are measured by."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

SPANS_KEPT = 1 << 16
LEAST_IDLE_S = 2e-5
"""Looking whether there is something to do is not waiting."""
Span = tuple[float, float]
"""From when to when, on the instance's clock."""


def _spans() -> deque[Span]:
    return deque(maxlen=SPANS_KEPT)


@dataclass(slots=True)
class GroupTelemetry:
    """What was measured.

    Attributes:
        drops, restores, recoveries: plans that were entered, and faults.
        idle_s: for which this stage waited while it was in a group, whoever had work in flight.
        grouped_s: spent in groups.
        moved_tokens: of exchanges, of one run of layers each.
        fetched_layers: that came back from peers; the others came from disk.
        read_layers: those.
        lost_requests: that were computed again after a fault.
        flights: of this driver's last microbatches, from the first stage to what the last one made of them.
        idles: the last waits of this stage while it was in a group.
        groups: the last times in groups.
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
    flights: deque[Span] = field(default_factory=_spans)
    idles: deque[Span] = field(default_factory=_spans)
    groups: deque[Span] = field(default_factory=_spans)

    def rested(self, began_s: float, ended_s: float) -> None:
        """Count a wait of a stage in a group."""
        if ended_s - began_s >= LEAST_IDLE_S:
            self.idle_s += ended_s - began_s
            self.idles.append((began_s, ended_s))
