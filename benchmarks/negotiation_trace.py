"""When which message of a negotiation was sent, by the messages' own time stamps."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from fairlead_agent.messages import (
    Accept,
    Award,
    Bid,
    Body,
    Call,
    Envelope,
    Grant,
    InstanceState,
    NodeInstances,
    PlacementRecord,
    Renewal,
    ReplyAck,
)


@dataclass(slots=True)
class Trace:
    """One negotiation of one replica; Unix seconds, all of one machine's clock."""

    workload: str
    applied_at: float
    at: dict[str, float] = field(default_factory=dict[str, float])
    bidders: set[str] = field(default_factory=set[str])
    """Nodes that had sent their bid when the steward awarded."""

    def passed_s(self, start: str, end: str) -> float:
        """Seconds between two steps."""
        return self.at[end] - (self.applied_at if start == "apply" else self.at[start])


#: What each step's message must be for the workload's only replica. The first such message counts.
STEPS = ("call", "bid", "award", "accept", "grant", "reply-ack", "renewal", "placed", "ready")


def trace(workload: str, applied_at: float, heard: Iterable[Envelope]) -> Trace:
    """Sort out what was heard on the bus into one negotiation.

    Raises:
        ValueError: a step is missing.
    """
    found = Trace(workload, applied_at)
    messages = sorted(heard, key=lambda envelope: envelope.time)
    negotiation = next(
        (m.data.negotiation for m in messages if isinstance(m.data, Call) and m.data.workload.name == workload), ""
    )
    for envelope in messages:
        step = _step(envelope.data, workload, negotiation)
        if isinstance(envelope.data, Bid) and step == "bid" and "award" not in found.at:
            found.bidders.add(envelope.data.node)
        if step is not None:
            found.at.setdefault(step, envelope.time)
    missing = [step for step in STEPS if step not in found.at]
    if missing:
        raise ValueError(f"negotiation of {workload}: {', '.join(missing)} was not heard")
    return found


def _step(body: Body, workload: str, negotiation: str) -> str | None:
    match body:
        case Call():
            return "call" if body.negotiation == negotiation else None
        case Bid():
            return "bid" if body.negotiation == negotiation else None
        case Award() | Accept() | Grant() | ReplyAck():
            return body.TYPE if body.key.workload == workload else None
        case Renewal():
            return "renewal" if any(lease.key.workload == workload for lease in body.leases) else None
        case PlacementRecord():
            placed = body.workload == workload and any(slot.state == "placed" for slot in body.slots)
            return "placed" if placed else None
        case NodeInstances():
            return "ready" if holds(body, workload, ready=True) else None
        case _:
            return None


def holds(report: NodeInstances, workload: str, *, ready: bool = False) -> bool:
    """Whether a node reports an instance of the workload (that serves, if ``ready``)."""
    return any(
        instance.key.workload == workload
        and (not ready or (instance.state is InstanceState.READY and instance.epoch > 0))
        for instance in report.instances
    )
