"""What a steward decided, and why: the record behind ``fairlead explain``."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from fairlead_agent.messages.base import Body, Frozen, Name, Reason
from fairlead_agent.messages.estimate import Estimate
from fairlead_agent.messages.lease import LeaseKey


class BidOutcome(Frozen):
    """One offer of one node in a negotiation and what became of it."""

    node: str
    variant: str
    outcome: Literal["won", "lost", "refused", "declined", "no-answer"]
    score: float | None = Field(default=None, description="Lower is better; None where there was no estimate.")
    terms: dict[str, float] = Field(default_factory=dict, description="The score's terms.")
    estimate: Estimate | None = None
    simulated: bool = False
    reason: Reason


class SlotPlacement(Frozen):
    """Where one replica stands."""

    key: LeaseKey
    state: Literal["pending", "negotiating", "awarded", "placed", "lost", "unplaceable"]
    node: str | None = None
    variant: str | None = None
    epoch: int = 0
    reason: Reason = ""
    config_digest: str = Field(default="", max_length=64, description="Of the plugin and config that it serves.")


class PlacementRecord(Body):
    """Retained per workload by its steward."""

    TYPE: ClassVar[str] = "placement"

    workload: Name
    generation: int = Field(ge=1)
    steward: Name
    steward_rank: int = 0
    negotiation: str = ""
    trigger: Reason = Field(default="", description="Why the last negotiation was held.")
    decided_at: float = Field(default=0.0, description="Unix seconds.")
    seq: int = Field(default=0, ge=0)
    deleted: bool = False
    slots: tuple[SlotPlacement, ...] = ()
    bids: tuple[BidOutcome, ...] = Field(default=(), description="All offers of the last decided negotiation.")
