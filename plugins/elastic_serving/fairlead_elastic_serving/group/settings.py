"""What an instance is told about groups."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..planning.overload import DROP_AT, RESTORE_AT
from .coordinator import Timing


@dataclass(frozen=True, slots=True)
class GroupSettings:
    """How groups form, work, and come apart.

    Attributes:
        drop: whether layers may be given away at all.
        exchange: whether running requests' keys and values move to the stages that use them.
        drop_at: share of the pages held from which on waiting requests are a reason to drop, 0 to 1.
        restore_at: share of the pages without dropping, below which layers come back; below ``drop_at``.
        most_stages: of a group; None: as many as there are instances.
        microbatches: that a driver may have in flight for each stage.
        least_tokens: of a microbatch, where the other drivers keep the stages busy as well and nothing is known of
            what it costs.
        link_bytes_per_s: between two instances, until it was measured.
        latency_s: of a message between them.
        timing: deadlines.
        entry_s: for all stages of a new group to say what a driver may use.
        ahead_s: how far ahead is looked: the time from a forecast of overload to the room that a drop makes.
    """

    drop: bool = True
    exchange: bool = True
    drop_at: float = DROP_AT
    restore_at: float = RESTORE_AT
    most_stages: int | None = None
    microbatches: int = 2
    least_tokens: int = 8
    link_bytes_per_s: float = 1e9
    latency_s: float = 3e-4
    timing: Timing = field(default_factory=Timing)
    entry_s: float = 5.0
    ahead_s: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.restore_at < self.drop_at <= 1:
            raise ValueError(
                f"restore_at {self.restore_at}, drop_at {self.drop_at}: accepted: 0 < restore_at < drop_at <= 1"
            )
        if min(self.microbatches, self.least_tokens) < 1 or not self.link_bytes_per_s > 0 or not self.latency_s >= 0:
            raise ValueError(
                f"{self}: accepted: microbatches, least_tokens from 1 on, link_bytes_per_s above 0, latency_s from 0 on"
            )
        if not self.ahead_s >= 0:
            raise ValueError(f"ahead_s {self.ahead_s}: accepted: from 0 on")
        if self.most_stages is not None and self.most_stages < 2:
            raise ValueError(f"most_stages {self.most_stages}: accepted: 2 and above")
