"""Contract net (FIPA SC00029H) with a reply-ack: call, bid, award, accept or refuse, reply-ack, cancel."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from fairlead_agent.messages.base import Body, Frozen, Name, Reason, Seconds
from fairlead_agent.messages.estimate import Estimate, Refusal
from fairlead_agent.messages.lease import LeaseKey
from fairlead_agent.messages.workload import Workload


class Call(Body):
    """A steward calls for bids on some replicas of a workload."""

    TYPE: ClassVar[str] = "call"

    negotiation: str = Field(description="Unique per negotiation; every later message repeats it.")
    steward: Name
    workload: Workload
    generation: int = Field(ge=1)
    replicas: tuple[int, ...] = Field(description="The slots to fill.")
    deadline_s: Seconds = Field(description="Bids that arrive later than this after the call are not read.")
    hold_s: Seconds = Field(description="How long a bidder is asked to hold its reservation.")
    batch: str = Field(
        default="", description="Calls of one batch share a reservation: their steward sees to it that awards fit."
    )


class Offer(Frozen):
    """One variant that a node can serve, or the reason why not."""

    variant: Name
    estimate: Estimate | None = None
    refusal: Refusal | None = None
    simulated: bool = Field(default=False, description="True where the estimate rests on simulated hardware.")
    calibration: float = Field(
        default=1.0,
        gt=0,
        description="Learnt factor by which this node's estimates of the variant were corrected.",
    )
    memory_share: float = Field(
        default=0.0, ge=0, le=1, description="Largest share of a memory tier of the node that it takes."
    )
    replaces: bool = Field(
        default=False, description="True: fits only in the place of the node's own instance of this workload."
    )


class Bid(Body):
    """All that a node offers for a call. No offer with an estimate: the node declines, with reasons."""

    TYPE: ClassVar[str] = "bid"

    negotiation: str
    node: Name
    incarnation: int = Field(ge=1)
    offers: tuple[Offer, ...]
    slots: int = Field(default=1, ge=0, description="How many replicas the reservation covers; 0: declined.")
    expires_s: Seconds = Field(default=0.0, description="The reservation lapses this long after the bid was sent.")
    labels: dict[str, str] = Field(default_factory=dict)
    room_bytes: dict[str, int] = Field(
        default_factory=dict, description="Free memory per tier for all awards of the batch together."
    )
    room_cores: float | None = Field(default=None, ge=0, description="Free cores for the batch; None: not said.")
    holds: tuple[LeaseKey, ...] = Field(default=(), description="Leases of this workload that the node holds now.")
    decline: Reason = Field(default="", description="Why the node as a whole declines.")


class Award(Body):
    """The steward takes one variant of a bid for one replica."""

    TYPE: ClassVar[str] = "award"

    negotiation: str
    key: LeaseKey
    node: Name
    variant: Name
    workload: Workload
    generation: int = Field(ge=1)
    ttl_s: Seconds


class Accept(Body):
    """The bidder still stands by its bid; it may prepare, but serves only with an epoch."""

    TYPE: ClassVar[str] = "accept"

    negotiation: str
    key: LeaseKey
    node: Name
    incarnation: int = Field(ge=1)
    variant: Name


class Refuse(Body):
    """The bidder takes its bid back."""

    TYPE: ClassVar[str] = "refuse"

    negotiation: str
    key: LeaseKey
    node: Name
    reason: Reason


class ReplyAck(Body):
    """The steward confirms with the epoch that the authority issued; the lease runs from here."""

    TYPE: ClassVar[str] = "reply-ack"

    negotiation: str
    key: LeaseKey
    node: Name
    epoch: int = Field(ge=1)
    ttl_s: Seconds


class Cancel(Body):
    """The steward ends a negotiation, or asks a holder to drain and release (``epoch`` given)."""

    TYPE: ClassVar[str] = "cancel"

    negotiation: str
    key: LeaseKey | None = None
    epoch: int | None = None
    node: str | None = None
    reason: Reason
