"""One call and the bids that answer it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from fairlead_agent.messages import Bid, Call
from fairlead_agent.placement.batch import Batch
from fairlead_agent.placement.effects import Announce, Effect


class Purpose(StrEnum):
    """Why a round is held."""

    FILL = "fill"
    REPLACE = "replace"
    REVIEW = "review"


@dataclass(slots=True)
class Round:
    """A call with a deadline. It closes early when everyone has answered."""

    call: Call
    purpose: Purpose
    trigger: str
    opened_at: float
    batch: Batch
    bids: dict[str, Bid] = field(default_factory=dict[str, Bid])
    arrived_at: dict[str, float] = field(default_factory=dict[str, float])
    repeated: bool = False

    @property
    def negotiation(self) -> str:
        """Its id."""
        return self.call.negotiation

    @property
    def closes_at(self) -> float:
        """The deadline."""
        return self.opened_at + self.call.deadline_s

    def add(self, bid: Bid, now: float) -> None:
        """Take a bid; the first of a node counts, unless the node was restarted."""
        known = self.bids.get(bid.node)
        if known is None or bid.incarnation > known.incarnation:
            self.bids[bid.node] = bid
            self.batch.heard(bid)
            self.arrived_at[bid.node] = now

    def silent(self, online: set[str]) -> set[str]:
        """Nodes that have not answered."""
        return online - self.bids.keys()

    def closed(self, online: set[str], now: float) -> bool:
        """True once the deadline has passed, or everyone has answered."""
        return now >= self.closes_at or (bool(self.bids) and not self.silent(online))

    def repeat(self, online: set[str], now: float) -> list[Effect]:
        """Call once more at half time, where answers are missing: the call or the bid may have been lost."""
        if self.repeated or now < self.repeat_at or not self.silent(online):
            return []
        self.repeated = True
        return [Announce(self.call)]

    @property
    def repeat_at(self) -> float:
        """Half time."""
        return self.opened_at + self.call.deadline_s / 2

    def wakeup(self) -> float:
        """When something is due next."""
        return self.closes_at if self.repeated else self.repeat_at
