"""The numbers of placement, in one place."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PlacementSettings:
    """Defaults of a site; all times in seconds.

    Raises:
        ValueError: a value that would make leases unsafe or negotiations endless, with what is accepted.
    """

    ttl_s: float = 15.0
    """Lease TTL where the workload names none; 3 s in a local fleet."""
    drift: float = 500e-6
    """Bound on the relative error of any clock's rate (rho)."""
    margin_s: float = 0.25
    """Added to the authority's wait: reading clocks and acting on them takes time."""
    bid_deadline_s: float = 1.0
    bid_hold_s: float = 10.0
    """How long a bidder keeps its reservation."""
    award_retry_s: float = 0.5
    award_attempts: int = 4
    request_retry_s: float = 1.0
    """An unanswered request to the authority is repeated after this."""
    release_poll_s: float = 0.5
    """How often an epoch is asked for while the old holder drains."""
    cancel_retry_s: float = 2.0
    candidate_timeout_s: float = 30.0
    """A bidder drops what it prepared when its steward was silent for this long."""
    standby_timeout_s: float = 900.0
    """A move is given up when its new instance is not in standby by then."""
    claim_grace_s: float = 3.0
    """A live lease that its online node does not report for this long is called back."""
    restart_grace_s: float = 8.0
    """How long an instance that crashed may take to be started again by its agent before another node is asked."""
    drain_s: float = 30.0
    """Longest time that an instance may drain."""
    retry_min_s: float = 1.0
    retry_max_s: float = 60.0
    exclusion_s: float = 60.0
    """How long a variant that failed on a node is not awarded there again."""
    concurrent_negotiations: int = 8
    debounce_s: float = 2.0
    review_interval_s: float = 30.0
    """Least time between two renegotiations of one workload; doubles while they change nothing."""
    review_interval_max_s: float = 600.0
    urgent_interval_s: float = 5.0
    """Least time between two of them where a link has changed notably."""
    dwell_s: float = 60.0
    """Least time that a replica stays where it is; doubles with each move within the history."""
    history_s: float = 3600.0
    """How long a move is remembered against the next one."""
    gain: float = 0.2
    """A move must improve the score by more than this share."""
    amortisation_s: float = 600.0
    """Over how long the seconds that a move costs are spread."""
    missed_s: float = 10.0
    """An objective counts as missed when reports say so for this long."""

    def __post_init__(self) -> None:
        if not 0 <= self.drift < 0.1:
            raise ValueError(f"drift: {self.drift} is not accepted; a share of at least 0 and below 0.1 is")
        if self.ttl_s <= 0 or self.margin_s < 0:
            raise ValueError(f"ttl_s {self.ttl_s} must be above 0 and margin_s {self.margin_s} at least 0")

    def hold_s(self, ttl_s: float) -> float:
        """How long, on its own clock, the authority waits after a renewal before it grants to another node.

        The holder stops after ``ttl_s`` of a clock that may be slow by ``drift``, while the waiting clock may be fast
        by as much: TTL (1 + rho) / (1 - rho) + margin.
        """
        return ttl_s * (1 + self.drift) / (1 - self.drift) + self.margin_s
