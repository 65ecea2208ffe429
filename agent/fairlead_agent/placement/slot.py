"""One replica as its steward sees it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from fairlead_agent.messages import LeaseKey, LeaseState
from fairlead_agent.placement.choose import RankedOffer
from fairlead_agent.placement.pursuit import Pursuit


@dataclass(slots=True)
class LeaseView:
    """The authority's row, as of ``seen_at``. Times are the steward's own clock."""

    epoch: int
    node: str | None
    incarnation: int
    generation: int
    renewed_at: float
    """The latest renewal happened at this time or later."""
    renewed_ago_s: float
    hold_s: float
    """How long the authority keeps the key for its holder after a renewal."""
    free_at: float
    """At this time at the latest the key may be granted anew, if it is not renewed."""
    seen_at: float
    since: float
    """When this epoch was first seen."""
    granted_by: float
    """The epoch was granted at this time or earlier."""

    @classmethod
    def of(cls, state: LeaseState, asked_at: float, now: float, before: LeaseView | None) -> LeaseView:
        """The view after an answer of the authority to a question that was sent at ``asked_at``."""
        ago = state.renewed_ago_s or 0.0
        same = before if before is not None and before.epoch == state.epoch else None
        return cls(
            epoch=state.epoch,
            node=state.node,
            incarnation=state.incarnation,
            generation=state.generation,
            renewed_at=asked_at - ago,
            renewed_ago_s=ago,
            hold_s=ago + state.remaining_s,
            free_at=now + state.remaining_s,
            seen_at=now,
            since=same.since if same is not None else now,
            granted_by=same.granted_by if same is not None else now - ago,
        )

    @property
    def renewed(self) -> bool:
        """True where the holder has certainly renewed it since it was granted."""
        return self.renewed_at > self.granted_by

    @property
    def silent(self) -> bool:
        """True where, when last looked at, three quarters of the hold had passed without a renewal."""
        return self.renewed_ago_s > 0.75 * self.hold_s

    @property
    def expired(self) -> bool:
        """True where, when last looked at, the key could be granted to anyone."""
        return self.node is None or self.free_at <= self.seen_at


class Condition(StrEnum):
    """How the present holder of a slot is doing."""

    HEALTHY = "healthy"
    EMPTY = "empty"
    """Nobody holds the key."""
    LOST = "lost"
    """The holder is gone or silent; its lease runs out."""
    UNCLAIMED = "unclaimed"
    """The holder is there, but does not know of its lease: it was restarted, or the grant never reached it."""
    BROKEN = "broken"
    """The holder reports that the instance failed for good."""
    OBSOLETE = "obsolete"
    """It serves an older plugin or config."""
    FORBIDDEN = "forbidden"
    """The workload's constraints rule the node or the variant out by now."""
    DRAINING = "draining"
    """Its node is to be emptied."""


#: Nothing serves: fill the slot as soon as the authority allows.
UNSERVED = frozenset({Condition.EMPTY, Condition.LOST, Condition.UNCLAIMED, Condition.BROKEN})
#: Something serves that must be replaced by something else.
MISPLACED = frozenset({Condition.OBSOLETE, Condition.FORBIDDEN, Condition.DRAINING})


@dataclass(slots=True)
class Slot:
    """A replica: who holds its key, how that one is doing, and who is to take over."""

    key: LeaseKey
    lease: LeaseView | None = None
    variant: str = ""
    digest: str = ""
    condition: Condition = Condition.EMPTY
    placed_at: float = 0.0
    pursuit: Pursuit | None = None
    alternatives: list[RankedOffer] = field(default_factory=list[RankedOffer])
    alternatives_until: float = 0.0
    call_back: str = ""
    """Why the present holder is asked to drain and release; empty: it is not."""
    cancel_at: float = 0.0
    not_before: float = 0.0
    retries: int = 0
    reason: str = ""

    @property
    def epoch(self) -> int:
        """The counter's value as last seen."""
        return self.lease.epoch if self.lease is not None else 0

    @property
    def holder(self) -> str | None:
        """Who serves, as far as known."""
        return self.lease.node if self.lease is not None and self.condition is not Condition.EMPTY else None

    def lapse(self) -> None:
        """Forget what the last holder served."""
        self.variant, self.digest, self.call_back = "", "", ""
