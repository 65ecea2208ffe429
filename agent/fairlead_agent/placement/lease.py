"""The holder's side of leases: renew in time, stop in time, give back."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from fairlead_agent.messages import LeaseKey, LeaseRef, Release, ReleaseAck, Renewal, RenewalReply, RenewalResult
from fairlead_agent.placement.effects import Activate, Effect, Extend, Send, Stop
from fairlead_agent.placement.settings import PlacementSettings

AUTHORITY = "authority"
#: Unanswered renewals that are remembered; replies to older ones are ignored.
PENDING_RENEWALS = 16


@dataclass(slots=True)
class HeldLease:
    """One lease of this node. Times are CLOCK_BOOTTIME seconds."""

    key: LeaseKey
    negotiation: str
    epoch: int
    ttl_s: float
    expires_at: float
    renewed_at: float
    """When the last successful renewal (or the accept) was sent."""
    active: bool
    """False until the instance may serve: the grant came so late that a renewal has to confirm it first."""
    drain_until: float | None = None

    @property
    def renew_at(self) -> float:
        """When the next renewal is due: at a third of the TTL."""
        return self.renewed_at + self.ttl_s / 3


@dataclass(slots=True)
class Releasing:
    """A release that the authority has not acknowledged yet."""

    body: Release
    next_at: float
    until: float


class LeaseTable:
    """All leases that a node holds.

    A lease counts from when its accept or renewal was *sent*, and ends by itself; nothing that arrives later revives
    it. Renewals of all leases travel in one message.
    """

    def __init__(self, node: str, incarnation: int, settings: PlacementSettings, new_id: Callable[[], str]) -> None:
        self.node = node
        self.incarnation = incarnation
        self._settings = settings
        self._new_id = new_id
        self._leases: dict[LeaseKey, HeldLease] = {}
        self._ended: dict[tuple[LeaseKey, str], HeldLease] = {}
        self._floor: dict[LeaseKey, int] = {}
        self._pending: dict[str, float] = {}
        self._releasing: dict[tuple[LeaseKey, int], Releasing] = {}
        self._renew_at: float | None = None

    def held(self) -> tuple[HeldLease, ...]:
        """All leases that have not ended."""
        return tuple(self._leases.values())

    def get(self, key: LeaseKey) -> HeldLease | None:
        """The lease for ``key``, if it is held."""
        return self._leases.get(key)

    def live(self, key: LeaseKey, now: float) -> HeldLease | None:
        """The lease for ``key`` if its instance may serve at ``now``."""
        lease = self._leases.get(key)
        return lease if lease is not None and lease.active and now < lease.expires_at else None

    def floor(self, key: LeaseKey) -> int:
        """The newest epoch that this table knows of; it never starts one that is not newer."""
        return self._floor.get(key, 0)

    def start(
        self, key: LeaseKey, negotiation: str, epoch: int, ttl_s: float, counted_from: float, now: float
    ) -> list[Effect]:
        """Begin to hold an epoch. ``counted_from``: when the accept that led to it was sent."""
        if epoch <= self.floor(key):
            return []
        effects = self.end(key, "a newer epoch was granted", drain=False, now=now)
        lease = HeldLease(
            key=key,
            negotiation=negotiation,
            epoch=epoch,
            ttl_s=ttl_s,
            expires_at=counted_from + ttl_s,
            renewed_at=counted_from,
            active=now < counted_from + ttl_s,
        )
        self._leases[key] = lease
        self._floor[key] = epoch
        if lease.active:
            effects.append(Activate(key, negotiation, epoch, lease.expires_at))
        return [*effects, *self._renew(now)]

    def adopt(self, key: LeaseKey, negotiation: str, epoch: int, ttl_s: float, expires_at: float) -> None:
        """Take over an instance that outlived an earlier incarnation of the agent. Before any message is handled."""
        self._leases[key] = HeldLease(key, negotiation, epoch, ttl_s, expires_at, expires_at - ttl_s, active=True)
        self._floor[key] = epoch
        self._renew_at = expires_at - ttl_s

    def drain(self, key: LeaseKey, reason: str, now: float) -> list[Effect]:
        """Ask the instance to finish; the lease is renewed until it has stopped, or may drain no longer."""
        lease = self._leases.get(key)
        if lease is None or lease.drain_until is not None:
            return []
        lease.drain_until = now + self._settings.drain_s
        return [self._stop(lease, reason, drain=True)]

    def end(self, key: LeaseKey, reason: str, *, drain: bool, now: float) -> list[Effect]:
        """Stop holding ``key`` now."""
        if drain:
            return self.drain(key, reason, now)
        lease = self._leases.pop(key, None)
        if lease is None:
            return []
        self._ended[(key, lease.negotiation)] = lease
        return [self._stop(lease, reason, drain=False)]

    def of(self, key: LeaseKey, negotiation: str) -> HeldLease | None:
        """The lease of one instance, also when it has ended while the instance still stops."""
        lease = self._leases.get(key)
        if lease is not None and lease.negotiation == negotiation:
            return lease
        return self._ended.get((key, negotiation))

    def stopped(self, key: LeaseKey, negotiation: str, now: float) -> list[Effect]:
        """No process of the instance runs any more: give its lease back.

        A lease that has run out is given back too: the key is free at once, and not only after the authority's wait.
        """
        lease = self.of(key, negotiation)
        if lease is None:
            return []
        self._ended.pop((key, negotiation), None)
        if self._leases.get(key) is lease:
            del self._leases[key]
        return self.give_back(key, lease.epoch, lease.ttl_s, now, "stopped")

    def disclaim(self, key: LeaseKey, epoch: int, ttl_s: float, now: float, reason: str) -> list[Effect]:
        """Give back an epoch that is not held here, and make sure that it never will be."""
        ending = any(lease.key == key and lease.epoch == epoch for lease in self._ended.values())
        held = self._leases.get(key)
        if ending or epoch < self.floor(key) or (held is not None and held.epoch == epoch):
            return []
        return self.give_back(key, epoch, ttl_s, now, reason)

    def give_back(self, key: LeaseKey, epoch: int, ttl_s: float, now: float, reason: str) -> list[Effect]:
        """Send the release, and repeat it until it is acknowledged or means nothing any more."""
        self._floor[key] = max(self.floor(key), epoch)
        body = Release(
            request_id=self._new_id(),
            node=self.node,
            incarnation=self.incarnation,
            key=key,
            epoch=epoch,
            reason=reason,
        )
        wait = self._settings.request_retry_s
        until = now + self._settings.hold_s(ttl_s) + wait
        self._releasing[(key, epoch)] = Releasing(body, now + wait, until)
        return [Send(AUTHORITY, body)]

    def tick(self, now: float) -> list[Effect]:
        """Everything that is due: ends, renewals, repeated releases."""
        effects = self._end_expired(now)
        if self._renew_at is not None and now >= self._renew_at:
            effects += self._renew(now)
        return effects + self._repeat_releases(now)

    def renewal_reply(self, reply: RenewalReply, now: float) -> list[Effect]:
        """The authority answered a renewal."""
        sent_at = self._pending.pop(reply.request_id, None)
        if sent_at is None or reply.node != self.node:
            return []
        effects: list[Effect] = []
        for result in reply.results:
            lease = self._leases.get(result.key)
            if lease is not None and lease.epoch == result.epoch:
                effects += self._renewed(lease, result, sent_at, now)
        self._schedule()
        return effects

    def release_ack(self, ack: ReleaseAck) -> None:
        """The authority has recorded a release."""
        self._releasing.pop((ack.key, ack.epoch), None)

    def next_wakeup(self) -> float | None:
        """When :meth:`tick` has something to do next."""
        times = [lease.expires_at for lease in self._leases.values()]
        times += [lease.drain_until for lease in self._leases.values() if lease.drain_until is not None]
        times += [releasing.next_at for releasing in self._releasing.values()]
        if self._renew_at is not None and self._leases:
            times.append(self._renew_at)
        return min(times, default=None)

    def _renewed(self, lease: HeldLease, result: RenewalResult, sent_at: float, now: float) -> list[Effect]:
        if not result.renewed:
            return self.end(lease.key, f"not renewed: {result.reason}", drain=False, now=now)
        if lease.active and now >= lease.expires_at:
            return self.end(lease.key, "the lease has run out", drain=False, now=now)
        expires_at = sent_at + result.ttl_s
        if expires_at <= now or expires_at <= lease.expires_at:
            return []
        lease.expires_at, lease.renewed_at, lease.ttl_s = expires_at, sent_at, result.ttl_s
        if lease.active:
            return [Extend(lease.key, lease.epoch, expires_at)]
        if lease.drain_until is not None:
            return []
        lease.active = True
        return [Activate(lease.key, lease.negotiation, lease.epoch, expires_at)]

    def _renew(self, now: float) -> list[Effect]:
        if not self._leases:
            self._renew_at = None
            return []
        request_id = self._new_id()
        self._pending[request_id] = now
        while len(self._pending) > PENDING_RENEWALS:
            del self._pending[next(iter(self._pending))]
        self._renew_at = now + min(lease.ttl_s for lease in self._leases.values()) / 9
        body = Renewal(
            request_id=request_id,
            node=self.node,
            incarnation=self.incarnation,
            sent_boottime_s=now,
            leases=tuple(LeaseRef(key=lease.key, epoch=lease.epoch) for lease in self._leases.values()),
        )
        return [Send(AUTHORITY, body)]

    def _schedule(self) -> None:
        self._renew_at = min((lease.renew_at for lease in self._leases.values()), default=None)

    def _end_expired(self, now: float) -> list[Effect]:
        effects: list[Effect] = []
        for lease in list(self._leases.values()):
            if lease.active and now >= lease.expires_at:
                effects += self.end(lease.key, "the lease has run out", drain=False, now=now)
            elif not lease.active and now >= lease.expires_at + 2 * self._settings.hold_s(lease.ttl_s):
                effects += self.end(lease.key, "the authority did not confirm the lease", drain=False, now=now)
            elif lease.drain_until is not None and now >= lease.drain_until:
                lease.drain_until = now + self._settings.drain_s
                effects.append(self._stop(lease, "draining took too long", drain=False))
        return effects

    def _repeat_releases(self, now: float) -> list[Effect]:
        for name in [name for name, releasing in self._releasing.items() if now >= releasing.until]:
            del self._releasing[name]
        due = [releasing for releasing in self._releasing.values() if now >= releasing.next_at]
        for releasing in due:
            releasing.next_at = now + self._settings.request_retry_s
        return sends(releasing.body for releasing in due)

    def _stop(self, lease: HeldLease, reason: str, *, drain: bool) -> Stop:
        deadline_s = self._settings.drain_s if drain else 0.0
        return Stop(lease.key, lease.negotiation, lease.epoch if lease.active else 0, drain, deadline_s, reason)


def sends(bodies: Iterable[Release]) -> list[Effect]:
    """The bodies, each to the authority."""
    return [Send(AUTHORITY, body) for body in bodies]
