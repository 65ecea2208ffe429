"""The authority's rules: pure functions over the rows that it keeps, one per lease key.

Whoever issues epochs (the control plane, or a stand-alone authority) loads the rows that a message names, calls
:meth:`AuthorityRules.answer`, stores the rows that changed and sends the reply, all in one transaction.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from fairlead_agent.messages import (
    Body,
    Grant,
    GrantDenied,
    GrantRequest,
    LeaseKey,
    LeaseQuery,
    LeaseRef,
    LeaseState,
    LeaseStates,
    Release,
    ReleaseAck,
    Renewal,
    RenewalReply,
    RenewalResult,
)
from fairlead_agent.placement.settings import PlacementSettings


@dataclass(frozen=True, slots=True)
class LeaseRow:
    """The last epoch of a key and who got it. ``renewed_at_s`` is the authority's own monotonic clock."""

    key: LeaseKey
    epoch: int
    node: str
    incarnation: int
    negotiation: str
    generation: int
    ttl_s: float
    renewed_at_s: float
    released: bool = False


@dataclass(frozen=True, slots=True)
class AuthorityRules:
    """Compare-and-swap on the epoch; never two holders whose leases may both be running."""

    settings: PlacementSettings = field(default_factory=PlacementSettings)

    def answer(
        self, rows: Mapping[LeaseKey, LeaseRow], body: Body, now: float
    ) -> tuple[tuple[LeaseRow, ...], Body | None]:
        """Answer one message.

        Args:
            rows: at least the rows of every key that the message names; for a query, of its workloads.
            body: a GrantRequest, Renewal, Release or LeaseQuery; anything else gets no answer.
            now: the authority's monotonic clock, seconds.

        Returns:
            The rows to store, and the reply to the sender.
        """
        match body:
            case GrantRequest():
                row, reply = self.grant(rows.get(body.key), body, now)
                return (row,) if row is not None and isinstance(reply, Grant) else (), reply
            case Renewal():
                return self._renew_all(rows, body, now)
            case Release():
                row = rows.get(body.key)
                changed = self.release(row, body)
                ack = ReleaseAck(request_id=body.request_id, key=body.key, epoch=body.epoch)
                return (changed,) if changed is not None and changed != row else (), ack
            case LeaseQuery():
                asked = [row for row in rows.values() if not body.workloads or row.key.workload in body.workloads]
                states = tuple(self.state(row, now) for row in asked)
                return (), LeaseStates(request_id=body.request_id, leases=states)
            case _:
                return (), None

    def grant(
        self, row: LeaseRow | None, request: GrantRequest, now: float
    ) -> tuple[LeaseRow | None, Grant | GrantDenied]:
        """Issue the next epoch, or say why not. A repeated request gets the epoch that it got before.

        A node that was restarted may be granted a key that its earlier incarnation held, at once: an agent adopts or
        ends the instances of earlier incarnations before it takes part in negotiations.
        """
        if row is not None and self._repeated(row, request):
            return row, _granted(row, request)
        epoch = row.epoch if row is not None else 0
        if request.expected_epoch != epoch:
            reason = f"the key is at epoch {epoch}, the request expected {request.expected_epoch}"
            return row, self._denied(row, request, reason, now, with_wait=False)
        if row is not None and self._blocks(row, request, now):
            reason = f"{row.node} may still hold epoch {row.epoch} for {self.remaining_s(row, now):.2f} s"
            return row, self._denied(row, request, reason, now, with_wait=True)
        granted = LeaseRow(
            key=request.key,
            epoch=epoch + 1,
            node=request.node,
            incarnation=request.incarnation,
            negotiation=request.negotiation,
            generation=request.generation,
            ttl_s=request.ttl_s,
            renewed_at_s=now,
        )
        return granted, _granted(granted, request)

    def renew(
        self, row: LeaseRow | None, lease: LeaseRef, node: str, incarnation: int, now: float
    ) -> tuple[LeaseRow | None, RenewalResult]:
        """Renew one lease. A newer incarnation of the holder adopts it by renewing it; an older one is refused."""
        reason = _no_renewal(row, lease, node, incarnation)
        if row is None or reason:
            return row, RenewalResult(key=lease.key, epoch=lease.epoch, renewed=False, reason=reason)
        renewed = replace(row, renewed_at_s=now, incarnation=incarnation)
        return renewed, RenewalResult(key=lease.key, epoch=lease.epoch, renewed=True, ttl_s=row.ttl_s)

    def release(self, row: LeaseRow | None, release: Release) -> LeaseRow | None:
        """Free the key at once. A release of an older epoch, or by someone else, changes nothing."""
        if row is None or row.epoch != release.epoch or row.node != release.node:
            return row
        return replace(row, released=True) if release.incarnation >= row.incarnation else row

    def state(self, row: LeaseRow, now: float) -> LeaseState:
        """How a row stands, for a steward."""
        return LeaseState(
            key=row.key,
            epoch=row.epoch,
            node=None if row.released else row.node,
            incarnation=row.incarnation,
            generation=row.generation,
            remaining_s=self.remaining_s(row, now),
            renewed_ago_s=max(0.0, now - row.renewed_at_s),
        )

    def remaining_s(self, row: LeaseRow, now: float) -> float:
        """Seconds until the key may go to another node; 0: now."""
        return 0.0 if row.released else max(0.0, row.renewed_at_s + self.settings.hold_s(row.ttl_s) - now)

    def after_restart(self, row: LeaseRow, now: float) -> LeaseRow:
        """A row as it counts after a restart.

        The monotonic clock began anew and nobody knows how long the authority was away, so every lease that was not
        released counts as renewed just now.
        """
        return row if row.released else replace(row, renewed_at_s=now)

    def _renew_all(
        self, rows: Mapping[LeaseKey, LeaseRow], body: Renewal, now: float
    ) -> tuple[tuple[LeaseRow, ...], RenewalReply]:
        answers = [self.renew(rows.get(ref.key), ref, body.node, body.incarnation, now) for ref in body.leases]
        changed = tuple(row for row, result in answers if result.renewed and row is not None)
        reply = RenewalReply(
            request_id=body.request_id,
            node=body.node,
            sent_boottime_s=body.sent_boottime_s,
            results=tuple(result for _, result in answers),
        )
        return changed, reply

    def _repeated(self, row: LeaseRow, request: GrantRequest) -> bool:
        asked = (request.expected_epoch + 1, request.node, request.incarnation, request.negotiation)
        return not row.released and asked == (row.epoch, row.node, row.incarnation, row.negotiation)

    def _blocks(self, row: LeaseRow, request: GrantRequest, now: float) -> bool:
        restarted = row.node == request.node and request.incarnation > row.incarnation
        return not restarted and self.remaining_s(row, now) > 0

    def _denied(
        self, row: LeaseRow | None, request: GrantRequest, reason: str, now: float, *, with_wait: bool
    ) -> GrantDenied:
        return GrantDenied(
            request_id=request.request_id,
            key=request.key,
            reason=reason,
            current_epoch=row.epoch if row is not None else 0,
            holder=row.node if row is not None and not row.released else None,
            retry_after_s=self.remaining_s(row, now) if with_wait and row is not None else None,
        )


def _granted(row: LeaseRow, request: GrantRequest) -> Grant:
    return Grant(
        request_id=request.request_id,
        key=row.key,
        node=row.node,
        incarnation=row.incarnation,
        epoch=row.epoch,
        ttl_s=row.ttl_s,
    )


def _no_renewal(row: LeaseRow | None, lease: LeaseRef, node: str, incarnation: int) -> str:
    if row is None:
        return "the authority never granted this key"
    if row.epoch != lease.epoch:
        return f"the key is at epoch {row.epoch} of {row.node}"
    if row.node != node:
        return f"epoch {row.epoch} belongs to {row.node}"
    if row.released:
        return f"epoch {row.epoch} was released"
    if incarnation < row.incarnation:
        return f"incarnation {row.incarnation} of {node} has taken over"
    return ""
