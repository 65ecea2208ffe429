"""What the pure core asks its shell to do. Every step returns a list of these, to be carried out in order."""

from __future__ import annotations

from dataclasses import dataclass

from fairlead_agent.messages import Body, Call, Estimate, LeaseKey, PlacementRecord, Workload
from fairlead_agent.placement.resources import Resources


@dataclass(frozen=True, slots=True)
class Send:
    """Send ``body`` to the inbox of ``to`` (a node, or the authority)."""

    to: str
    body: Body


@dataclass(frozen=True, slots=True)
class Announce:
    """Tell every node."""

    body: Call


@dataclass(frozen=True, slots=True)
class Record:
    """Retain the record. The shell stamps ``decided_at``: its Unix time less ``decided_ago_s``."""

    record: PlacementRecord
    decided_ago_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Evaluate:
    """Run the plugin's ``estimate`` for each variant and come back with ``Bidder.evaluated``.

    ``reusable`` is what this node's own instances of the workload take: it is added to the free memory that the
    plugin is told of, because a new instance may take the place of an old one.
    """

    call: Call
    reusable: Resources


@dataclass(frozen=True, slots=True)
class Prepare:
    """Start an instance up to standby; it does not serve yet."""

    key: LeaseKey
    negotiation: str
    variant: str
    workload: Workload
    generation: int
    estimate: Estimate


@dataclass(frozen=True, slots=True)
class Activate:
    """Let the instance prepared for ``negotiation`` serve with ``epoch`` until ``expires_at`` (CLOCK_BOOTTIME)."""

    key: LeaseKey
    negotiation: str
    epoch: int
    expires_at: float


@dataclass(frozen=True, slots=True)
class Extend:
    """The lease was renewed until ``expires_at`` (CLOCK_BOOTTIME)."""

    key: LeaseKey
    epoch: int
    expires_at: float


@dataclass(frozen=True, slots=True)
class Stop:
    """End an instance, then call ``Bidder.stopped``. ``epoch`` 0: one that never held a lease.

    Without ``drain`` it must refuse requests at once.
    """

    key: LeaseKey
    negotiation: str
    epoch: int
    drain: bool
    deadline_s: float
    reason: str


Effect = Send | Announce | Record | Evaluate | Prepare | Activate | Extend | Stop
