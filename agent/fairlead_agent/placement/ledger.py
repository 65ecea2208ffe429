"""What a node has promised: reservations of bids, and the instances that they became."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from fairlead_agent.placement.resources import Resources

#: (negotiation, lease key as text); the key is empty for the reservation of a bid.
ClaimId = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Claim:
    """An amount that is spoken for."""

    resources: Resources
    expires_at: float | None = None
    """None: until it is freed."""
    replaces: ClaimId | None = None
    """The claim whose place this one takes: while both stand, only the larger of the two counts."""


class Ledger:
    """Claims on one node. What is claimed together never exceeds the capacity that was given when it was claimed.

    *Capacity* is what workloads may use on the node in all: what is free as measured, plus what the instances of this
    ledger use.
    """

    def __init__(self) -> None:
        self._claims: dict[ClaimId, Claim] = {}

    def claimed(self, now: float) -> Resources:
        """The sum of all claims."""
        total = Resources()
        for claim in self._live(now):
            total = total.plus(self._counted(claim))
        return total

    def free(self, capacity: Resources, now: float) -> Resources:
        """What of ``capacity`` is not claimed."""
        return capacity.minus(self.claimed(now))

    def claim(self, name: ClaimId, claim: Claim, capacity: Resources, now: float) -> bool:
        """Enter or change a claim if it fits beside the others; False: it does not, and nothing has changed."""
        if claim.replaces is not None and self.replaced(claim.replaces, besides=name):
            return False
        before = self._claims.pop(name, None)
        if self._counted(claim).within(self.free(capacity, now)):
            self._claims[name] = claim
            return True
        if before is not None:
            self._claims[name] = before
        return False

    def convert(self, reservation: ClaimId, name: ClaimId, claim: Claim, now: float) -> bool:
        """Turn a part of a reservation into a lasting claim; False: the reservation has lapsed or is too small."""
        held = self._claims.get(reservation)
        if held is None or (held.expires_at is not None and now >= held.expires_at):
            return False
        if claim.replaces is not None and self.replaced(claim.replaces, besides=name):
            return False
        if not self._counted(claim).within(held.resources):
            return False
        self._claims[reservation] = Claim(held.resources.minus(self._counted(claim)), held.expires_at)
        self._claims[name] = claim
        return True

    def shrink(self, name: ClaimId, claim: Claim) -> None:
        """Make a reservation smaller; one that is empty is gone."""
        if name in self._claims and claim.resources.within(self._claims[name].resources):
            self._claims[name] = claim
            if not any(claim.resources.memory_bytes.values()) and claim.resources.cores <= 0:
                del self._claims[name]

    def enter(self, name: ClaimId, claim: Claim) -> None:
        """Enter what already exists: an instance that was adopted."""
        self._claims[name] = claim

    def release(self, name: ClaimId) -> None:
        """Free a claim; an unknown one is free already."""
        self._claims.pop(name, None)

    def get(self, name: ClaimId) -> Claim | None:
        """A claim by name."""
        return self._claims.get(name)

    def names(self) -> Iterable[ClaimId]:
        """The names of all claims."""
        return tuple(self._claims)

    def replaced(self, name: ClaimId, besides: ClaimId | None = None) -> bool:
        """True where another claim already takes the place of ``name``."""
        return any(claim.replaces == name for other, claim in self._claims.items() if other != besides)

    def expire(self, now: float) -> None:
        """Forget reservations that have lapsed."""
        for name in [n for n, c in self._claims.items() if c.expires_at is not None and now >= c.expires_at]:
            del self._claims[name]

    def _live(self, now: float) -> list[Claim]:
        return [claim for claim in self._claims.values() if claim.expires_at is None or now < claim.expires_at]

    def _counted(self, claim: Claim) -> Resources:
        old = self._claims.get(claim.replaces) if claim.replaces is not None else None
        return claim.resources.minus(old.resources) if old is not None else claim.resources
