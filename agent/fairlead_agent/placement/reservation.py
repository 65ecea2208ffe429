"""What a bidder knows of a call: what it offered, and what it keeps free for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from fairlead_agent.messages import Bid, Call, LeaseKey, Offer, Refusal
from fairlead_agent.placement.ledger import ClaimId
from fairlead_agent.placement.resources import Resources


@dataclass(slots=True)
class OpenCall:
    """A call that this node has been asked to bid for."""

    call: Call
    steward: str
    received_at: float
    bid: Bid | None = None
    bid_until: float = 0.0
    asks: Resources = field(default_factory=Resources)
    """The most that may still be awarded of this bid."""
    reusable: ClaimId | None = None
    """The node's own instance whose place an offer with ``replaces`` would take."""

    @property
    def claim(self) -> ClaimId:
        """The name of the reservation in the ledger: the calls of a batch share one."""
        return (self.call.batch or self.call.negotiation, "")

    def offer(self, variant: str) -> Offer | None:
        """What was offered for a variant, if it was offered."""
        offers = self.bid.offers if self.bid is not None else ()
        return next((o for o in offers if o.variant == variant and o.estimate is not None), None)


def fit(
    offers: Sequence[Offer], free: Resources, reusable: Resources, capacity: Resources
) -> tuple[tuple[Offer, ...], Resources]:
    """Turn offers that do not fit into refusals.

    Args:
        offers: what the plugin estimated or refused.
        free: what the node has not promised.
        reusable: what the node's own instance of the workload would leave.
        capacity: what workloads may use on the node in all.

    Returns:
        The offers, and what to reserve so that any one of them can be served once.
    """
    fitted: list[Offer] = []
    reserve = Resources()
    for offer in offers:
        needs = Resources.of(offer.estimate) if offer.estimate is not None else None
        if needs is None:
            fitted.append(offer)
            continue
        share = needs.share(capacity)
        if needs.within(free):
            reserve = reserve.union(needs)
            fitted.append(offer.model_copy(update={"memory_share": share}))
        elif needs.within(free.plus(reusable)):
            reserve = reserve.union(needs.minus(reusable))
            fitted.append(offer.model_copy(update={"memory_share": share, "replaces": True}))
        else:
            refusal = Refusal(reason="not enough room", needs=needs.lacking(free)[:200])
            fitted.append(Offer(variant=offer.variant, refusal=refusal, simulated=offer.simulated))
    return tuple(fitted), reserve


def slots_within(reserve: Resources, free: Resources, offers: Sequence[Offer], wanted: int) -> int:
    """How many replicas fit at once: one where an offer takes the place of another instance."""
    if not any(offer.estimate is not None for offer in offers):
        return 0
    if any(offer.replaces for offer in offers):
        return 1
    return max((n for n in range(1, wanted + 1) if reserve.times(n).within(free)), default=1)


def holds(call: Call, held: Sequence[LeaseKey]) -> tuple[LeaseKey, ...]:
    """Which of the held leases belong to the called workload."""
    return tuple(key for key in held if key.workload == call.workload.name)
