"""From an award to a confirmed lease: what a steward does with one winner."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from fairlead_agent.messages import Award, Cancel, GrantRequest, LeaseKey, ReplyAck, Workload
from fairlead_agent.placement.batch import Batch
from fairlead_agent.placement.choose import RankedOffer
from fairlead_agent.placement.effects import Effect, Send
from fairlead_agent.placement.lease import AUTHORITY
from fairlead_agent.placement.settings import PlacementSettings


class Phase(StrEnum):
    """How far it is."""

    AWARDED = "awarded"
    STANDBY = "standby"
    """Accepted; the present holder serves until the new instance is in standby."""
    GRANTING = "granting"
    CONFIRMING = "confirming"
    """The epoch is issued; the holder does not show it yet."""


@dataclass(slots=True)
class Pursuit:
    """One winner on its way. Everything is repeated until it is answered; times are the steward's clock."""

    key: LeaseKey
    negotiation: str
    offer: RankedOffer
    workload: Workload
    generation: int
    digest: str
    ttl_s: float
    started_at: float
    trigger: str
    batch: Batch
    make_before_break: bool
    """The present holder serves well: it goes only when the new instance is in standby."""
    request_id: str
    phase: Phase = Phase.AWARDED
    next_at: float = 0.0
    keep_at: float = 0.0
    attempts: int = 0
    asked_at: float = float("inf")
    """When the authority was last asked for the epoch."""
    incarnation: int = 0
    epoch: int = 0

    @property
    def node(self) -> str:
        """Who is to serve."""
        return self.offer.node

    @property
    def variant(self) -> str:
        """What it is to run."""
        return self.offer.offer.variant

    def accepted(self, incarnation: int, now: float) -> None:
        """The node stands by its bid."""
        if self.phase is Phase.AWARDED:
            waits = self.make_before_break and not self.offer.offer.replaces
            self.incarnation = incarnation
            self._enter(Phase.STANDBY if waits else Phase.GRANTING, now)

    def ready(self, now: float) -> None:
        """The new instance is in standby."""
        if self.phase is Phase.STANDBY:
            self._enter(Phase.GRANTING, now)

    def granted(self, epoch: int, now: float) -> None:
        """The authority issued the epoch."""
        if self.phase is Phase.GRANTING:
            self.epoch = epoch
            self._enter(Phase.CONFIRMING, now)

    def wait(self, until: float) -> None:
        """The authority said when to ask again."""
        if self.phase is Phase.GRANTING:
            self.next_at = until

    def due(self, expected_epoch: int, settings: PlacementSettings, now: float) -> list[Effect]:
        """What is to be sent or repeated now."""
        effects: list[Effect] = []
        if self.phase in (Phase.STANDBY, Phase.GRANTING) and now >= self.keep_at:
            self.keep_at = now + settings.candidate_timeout_s / 4
            effects.append(self._award())
        if now < self.next_at or self.phase is Phase.STANDBY:
            return effects
        self.attempts += 1
        match self.phase:
            case Phase.AWARDED:
                self.next_at = now + settings.award_retry_s
                effects.append(self._award())
            case Phase.GRANTING:
                self.next_at = now + settings.request_retry_s
                self.asked_at = now
                effects.append(Send(AUTHORITY, self._request(expected_epoch)))
            case _:
                self.next_at = now + settings.request_retry_s
                effects.append(Send(self.node, self._reply_ack()))
        return effects

    def wakeup(self) -> float:
        """When :meth:`due` has something to do next."""
        if self.phase is Phase.STANDBY:
            return self.keep_at
        return min(self.next_at, self.keep_at) if self.phase is Phase.GRANTING else self.next_at

    def unanswered(self, settings: PlacementSettings, now: float) -> bool:
        """True where the node did not answer the award."""
        return self.phase is Phase.AWARDED and self.attempts >= settings.award_attempts and now >= self.next_at

    def withdraw(self, reason: str) -> Send:
        """Tell the node that it is not wanted after all."""
        return Send(self.node, Cancel(negotiation=self.negotiation, key=self.key, node=self.node, reason=reason))

    def _enter(self, phase: Phase, now: float) -> None:
        self.phase, self.next_at, self.attempts = phase, now, 0
        if self.keep_at < now:
            self.keep_at = now + 1e-3

    def _award(self) -> Send:
        award = Award(
            negotiation=self.negotiation,
            key=self.key,
            node=self.node,
            variant=self.variant,
            workload=self.workload,
            generation=self.generation,
            ttl_s=self.ttl_s,
        )
        return Send(self.node, award)

    def _request(self, expected_epoch: int) -> GrantRequest:
        return GrantRequest(
            request_id=self.request_id,
            key=self.key,
            node=self.node,
            incarnation=self.incarnation,
            negotiation=self.negotiation,
            generation=self.generation,
            expected_epoch=expected_epoch,
            ttl_s=self.ttl_s,
        )

    def _reply_ack(self) -> ReplyAck:
        return ReplyAck(negotiation=self.negotiation, key=self.key, node=self.node, epoch=self.epoch, ttl_s=self.ttl_s)
