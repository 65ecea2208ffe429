"""Leases and epochs: stewards ask, the authority issues, holders renew.

Times within a lease are durations and the holder's own CLOCK_BOOTTIME; no message compares clocks of two devices.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from fairlead_agent.messages.base import Body, Frozen, Name, Reason, Seconds


class LeaseKey(Frozen):
    """What a lease is for: one numbered slot of a workload. One epoch counter per key."""

    site: Name
    workload: Name
    replica: int = Field(ge=0)

    def __str__(self) -> str:
        return f"{self.site}/{self.workload}/{self.replica}"


class GrantRequest(Body):
    """A steward asks for an epoch by compare-and-swap on the key's counter."""

    TYPE: ClassVar[str] = "grant-request"

    request_id: str
    key: LeaseKey
    node: Name = Field(description="The node that accepted the award.")
    incarnation: int = Field(ge=1)
    negotiation: str = Field(description="The negotiation that the award belongs to.")
    generation: int = Field(ge=1, description="Generation of the desired state it is placed for.")
    expected_epoch: int = Field(ge=0, description="The counter's value that the steward has seen; 0: never granted.")
    ttl_s: Seconds


class Grant(Body):
    """The authority issued ``epoch``; all older ones are void once their holder's lease has run out."""

    TYPE: ClassVar[str] = "grant"

    request_id: str
    key: LeaseKey
    node: Name
    incarnation: int
    epoch: int = Field(ge=1)
    ttl_s: Seconds


class GrantDenied(Body):
    """No epoch: the counter moved on, or an older holder may still be alive."""

    TYPE: ClassVar[str] = "grant-denied"

    request_id: str
    key: LeaseKey
    reason: Reason
    current_epoch: int = Field(ge=0)
    holder: str | None = None
    retry_after_s: Seconds | None = Field(default=None, description="When asking again makes sense; None: at once.")


class LeaseRef(Frozen):
    """One held lease in a renewal."""

    key: LeaseKey
    epoch: int = Field(ge=1)


class Renewal(Body):
    """A holder renews all its leases at once; it counts from ``sent_boottime_s``, which the reply repeats."""

    TYPE: ClassVar[str] = "renewal"

    request_id: str
    node: Name
    incarnation: int = Field(ge=1)
    sent_boottime_s: float
    leases: tuple[LeaseRef, ...]


class RenewalResult(Frozen):
    """The authority's word on one lease."""

    key: LeaseKey
    epoch: int
    renewed: bool
    ttl_s: Seconds = 0.0
    reason: Reason = ""


class RenewalReply(Body):
    """The answer to a :class:`Renewal`."""

    TYPE: ClassVar[str] = "renewal-reply"

    request_id: str
    node: Name
    sent_boottime_s: float
    results: tuple[RenewalResult, ...]


class Release(Body):
    """A holder gives a lease back: it has stopped serving, the key may be granted at once."""

    TYPE: ClassVar[str] = "release"

    request_id: str
    node: Name
    incarnation: int = Field(ge=1)
    key: LeaseKey
    epoch: int = Field(ge=1)
    reason: Reason = ""


class ReleaseAck(Body):
    """The authority has recorded the release (also when it knew of it already)."""

    TYPE: ClassVar[str] = "release-ack"

    request_id: str
    key: LeaseKey
    epoch: int


class LeaseQuery(Body):
    """A steward asks how the leases of some workloads stand: at take-over, and to notice silent holders."""

    TYPE: ClassVar[str] = "lease-query"

    request_id: str
    workloads: tuple[Name, ...] = Field(description="Empty: all of the site.")


class LeaseState(Frozen):
    """One row of the authority."""

    key: LeaseKey
    epoch: int = Field(ge=0)
    node: str | None = Field(default=None, description="The holder; None: never granted or released.")
    incarnation: int = 0
    generation: int = 0
    remaining_s: Seconds = Field(default=0.0, description="Until the key may be granted to another node; 0: now.")
    renewed_ago_s: Seconds | None = None


class LeaseStates(Body):
    """The answer to a :class:`LeaseQuery`."""

    TYPE: ClassVar[str] = "lease-states"

    request_id: str
    leases: tuple[LeaseState, ...]
