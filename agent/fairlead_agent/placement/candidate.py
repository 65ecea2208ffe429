"""An instance that a node prepares for an award."""

from __future__ import annotations

from dataclasses import dataclass

from fairlead_agent.messages import Award, Estimate
from fairlead_agent.placement.effects import Prepare
from fairlead_agent.placement.ledger import ClaimId


@dataclass(slots=True)
class PreparedInstance:
    """What a bidder has promised to a steward and not activated yet."""

    award: Award
    steward: str
    estimate: Estimate
    accepted_at: float
    """When the first accept was sent: the lease will count from here."""
    heard_at: float
    """When the steward last showed interest."""
    waits_for: ClaimId | None = None
    """The instance that has to go first, because both do not fit."""

    def prepare(self) -> Prepare:
        """The effect that starts it."""
        award = self.award
        return Prepare(
            key=award.key,
            negotiation=award.negotiation,
            variant=award.variant,
            workload=award.workload,
            generation=award.generation,
            estimate=self.estimate,
        )
