"""A node's side of negotiations: evaluate, bid, accept, prepare, hold leases."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from fairlead_agent.messages import (
    Accept,
    Award,
    Bid,
    Body,
    Call,
    Cancel,
    Estimate,
    LeaseKey,
    Offer,
    Refuse,
    ReleaseAck,
    RenewalReply,
    ReplyAck,
)
from fairlead_agent.placement.calibration import Calibration
from fairlead_agent.placement.candidate import PreparedInstance
from fairlead_agent.placement.constraints import node_refusal
from fairlead_agent.placement.effects import Effect, Evaluate, Send, Stop
from fairlead_agent.placement.lease import LeaseTable
from fairlead_agent.placement.ledger import Claim, ClaimId, Ledger
from fairlead_agent.placement.reservation import OpenCall, fit, holds, slots_within
from fairlead_agent.placement.resources import Resources
from fairlead_agent.placement.settings import PlacementSettings

#: Calls that are remembered; the oldest are forgotten first.
OPEN_CALLS = 512


class Bidder:
    """Bids for calls, keeps what it promised, and holds the leases that come of it.

    Every message may come late, twice or never. An agent that was restarted calls :meth:`adopt` for each instance that
    outlived its predecessor, and ends all others, before it hands over the first message.

    Args:
        node: this node.
        incarnation: of the agent.
        settings: the site's numbers.
        new_id: returns an id that no other call, on this node or another, ever returned.
        labels: of the node's profile.
    """

    def __init__(
        self,
        node: str,
        incarnation: int,
        settings: PlacementSettings,
        new_id: Callable[[], str],
        *,
        labels: Mapping[str, str] | None = None,
    ) -> None:
        self.node = node
        self.incarnation = incarnation
        self.labels = dict(labels or {})
        self.draining = False
        self.ledger = Ledger()
        self.calibration = Calibration()
        self.leases = LeaseTable(node, incarnation, settings, new_id)
        self._settings = settings
        self._calls: dict[str, OpenCall] = {}
        self._prepared: dict[ClaimId, PreparedInstance] = {}
        self._over: dict[ClaimId, None] = {}

    def adopt(
        self, key: LeaseKey, negotiation: str, epoch: int, ttl_s: float, expires_at: float, needs: Resources
    ) -> None:
        """Take over an instance of an earlier incarnation, with the lease it holds."""
        self.leases.adopt(key, negotiation, epoch, ttl_s, expires_at)
        self.ledger.enter((negotiation, str(key)), Claim(needs))

    def message(self, source: str, body: Body, now: float) -> list[Effect]:
        """Handle whatever came to this node; bodies that are not for a bidder do nothing."""
        match body:
            case Call():
                return self.call(body, now, source=source)
            case Award():
                return self.award(source, body, now)
            case ReplyAck():
                return self.reply_ack(source, body, now)
            case Cancel():
                return self.cancel(body, now)
            case RenewalReply():
                return self.leases.renewal_reply(body, now)
            case ReleaseAck():
                self.leases.release_ack(body)
                return []
            case _:
                return []

    def call(self, call: Call, now: float, *, source: str = "") -> list[Effect]:
        """A steward calls. The answer is a bid, at once where no plugin has to be asked."""
        known = self._calls.get(call.negotiation)
        if known is not None:
            return self._bid_again(known, now)
        opened = OpenCall(call, source or call.steward, now)
        self._remember(opened)
        refusal = "the node is draining" if self.draining else node_refusal(call.workload, self.node, self.labels)
        if refusal:
            opened.bid = self._bid(opened, (), 0, refusal)
            return [Send(opened.steward, opened.bid)]
        opened.reusable = self._reusable(call)
        return [Evaluate(call, self._resources(opened.reusable))]

    def evaluated(self, negotiation: str, offers: Sequence[Offer], capacity: Resources, now: float) -> list[Effect]:
        """The plugin has answered: bid, and keep what was offered free until the bid expires.

        Args:
            negotiation: of the call.
            offers: one per variant, as the plugin estimated or refused it.
            capacity: what workloads may use on this node in all: what is measured as free, plus what the instances
                that this bidder has accepted use already.
            now: CLOCK_BOOTTIME.
        """
        opened = self._calls.get(negotiation)
        if opened is None or opened.bid is not None or now > opened.received_at + opened.call.deadline_s:
            return []
        free = self.ledger.free(capacity, now).plus(self._reserved(opened, now))
        corrected = [self._calibrated(opened.call, offer) for offer in offers]
        fitted, reserve = fit(corrected, free, self._resources(opened.reusable), capacity)
        wanted = len(opened.call.replicas) if opened.call.workload.constraints.spread == "none" else 1
        slots = slots_within(reserve, free, fitted, wanted)
        opened.bid_until = now + opened.call.hold_s
        opened.asks = reserve.times(slots)
        if slots and not self._reserve(opened, free, capacity, now):
            fitted, slots = (), 0
        decline = "" if slots else ("no variant can serve here" if offers else "the plugin offers no variant here")
        opened.bid = self._bid(opened, fitted, slots, decline).model_copy(
            update={"room_bytes": dict(free.memory_bytes), "room_cores": free.cores}
        )
        return [Send(opened.steward, opened.bid)]

    def award(self, source: str, award: Award, now: float) -> list[Effect]:
        """A steward takes the bid: accept and prepare, or refuse with the reason."""
        if award.node != self.node:
            return []
        name = (award.negotiation, str(award.key))
        prepared = self._prepared.get(name)
        if prepared is not None:
            prepared.heard_at = now
            return [self._accept(prepared)]
        if self.leases.of(award.key, award.negotiation) is not None:
            return []
        # An award that comes late must not start again what was withdrawn or has ended meanwhile.
        over = name in self._over
        reason = "the award was withdrawn or has ended" if over else self._take(award, name, source, now)
        if reason:
            return [Send(source, Refuse(negotiation=award.negotiation, key=award.key, node=self.node, reason=reason))]
        effects = self._drop_others(award, now)
        prepared = self._prepared[name]
        effects.append(self._accept(prepared))
        if prepared.waits_for is None:
            effects.append(prepared.prepare())
        return effects

    def reply_ack(self, source: str, ack: ReplyAck, now: float) -> list[Effect]:
        """The epoch is there: serve, counted from when the accept was sent, and renew at once."""
        name = (ack.negotiation, str(ack.key))
        if ack.node != self.node or ack.epoch <= self.leases.floor(ack.key):
            return []
        prepared = self._prepared.get(name)
        if prepared is not None and prepared.waits_for is not None:
            # The old instance is void and has to go first; the steward repeats the reply-ack meanwhile.
            return self.leases.end(ack.key, "a newer epoch was granted", drain=False, now=now)
        if prepared is not None:
            del self._prepared[name]
            accepted_at = prepared.accepted_at
            return self.leases.start(ack.key, ack.negotiation, ack.epoch, ack.ttl_s, accepted_at, now)
        reason = "this node prepares nothing for that award (any more)"
        refuse = Refuse(negotiation=ack.negotiation, key=ack.key, node=self.node, reason=reason)
        return [Send(source, refuse), *self.leases.disclaim(ack.key, ack.epoch, ack.ttl_s, now, reason)]

    def cancel(self, cancel: Cancel, now: float) -> list[Effect]:
        """The steward is done with a negotiation, an award or a lease."""
        if cancel.node not in (None, self.node):
            return []
        if cancel.key is None:
            opened = self._calls.get(cancel.negotiation)
            if opened is not None:
                opened.bid_until, opened.asks = now, Resources()
                self._shrink(opened, now)
            return []
        if cancel.epoch is None:
            return self._withdraw((cancel.negotiation, str(cancel.key)), cancel.reason, now)
        return self._call_back(cancel.key, cancel.epoch, cancel.reason, now)

    def failed(self, key: LeaseKey, negotiation: str, reason: str, now: float) -> list[Effect]:
        """The shell reports that what was being prepared cannot be had, and that nothing of it runs."""
        name = (negotiation, str(key))
        self._finish(name)
        prepared = self._prepared.pop(name, None)
        self.ledger.release(name)
        if prepared is None:
            return self.stopped(key, negotiation, now)
        refuse = Refuse(negotiation=negotiation, key=key, node=self.node, reason=reason[:2000])
        return [Send(prepared.steward, refuse), *self._wake_waiting(name)]

    def stopped(self, key: LeaseKey, negotiation: str, now: float) -> list[Effect]:
        """The shell reports that no process of this instance runs any more: free its room, give its lease back."""
        name = (negotiation, str(key))
        self._finish(name)
        self.ledger.release(name)
        self._prepared.pop(name, None)
        return [*self.leases.stopped(key, negotiation, now), *self._wake_waiting(name)]

    def drain_all(self, reason: str, now: float) -> list[Effect]:
        """The node is to take no new workload and to finish those that it has."""
        self.draining = True
        effects: list[Effect] = []
        for name in tuple(self._prepared):
            effects += self._withdraw(name, reason, now)
        for lease in self.leases.held():
            effects += self.leases.drain(lease.key, reason, now)
        return effects

    def tick(self, now: float) -> list[Effect]:
        """Renewals, expired leases, lapsed reservations, and awards whose steward fell silent."""
        effects = self.leases.tick(now)
        self.ledger.expire(now)
        timeout = self._settings.candidate_timeout_s
        for name, prepared in tuple(self._prepared.items()):
            if now >= prepared.heard_at + timeout:
                effects += self._withdraw(name, "its steward fell silent", now)
        return effects

    def next_wakeup(self) -> float | None:
        """When :meth:`tick` has something to do next."""
        timeout = self._settings.candidate_timeout_s
        times = [prepared.heard_at + timeout for prepared in self._prepared.values()]
        table = self.leases.next_wakeup()
        return min(times if table is None else [*times, table], default=None)

    def _take(self, award: Award, name: ClaimId, source: str, now: float) -> str:
        opened = self._calls.get(award.negotiation)
        if opened is None or opened.bid is None:
            return "this node made no bid in that negotiation"
        offer = opened.offer(award.variant)
        if offer is None or offer.estimate is None:
            return f"variant {award.variant} was not offered"
        if award.generation != opened.call.generation or award.key.replica not in opened.call.replicas:
            return "the award is not for what the call asked"
        if self.draining:
            return "the node is draining"
        replaces = opened.reusable if offer.replaces and self.ledger.get(opened.reusable or ("", "")) else None
        claim = Claim(Resources.of(offer.estimate), replaces=replaces)
        if now >= opened.bid_until or not self.ledger.convert(opened.claim, name, claim, now):
            return "the reservation has lapsed, or its room went to another award of the batch"
        opened.asks = opened.asks.minus(claim.resources)
        self._shrink(opened, now)
        self._prepared[name] = PreparedInstance(award, source, offer.estimate, now, now, replaces)
        return ""

    def _reserved(self, opened: OpenCall, now: float) -> Resources:
        """What is reserved for the batch of a call, and may therefore be offered in another bid of it."""
        claim = self.ledger.get(opened.claim)
        live = claim is not None and (claim.expires_at is None or now < claim.expires_at)
        return claim.resources if claim is not None and live else Resources()

    def _asked(self, opened: OpenCall, now: float) -> tuple[Resources, float]:
        """The sum of all that may be awarded in the batch of a call, and until when."""
        total, until = Resources(), now
        for other in self._calls.values():
            if other.claim == opened.claim and now < other.bid_until:
                total, until = total.plus(other.asks), max(until, other.bid_until)
        return total, until

    def _reserve(self, opened: OpenCall, free: Resources, capacity: Resources, now: float) -> bool:
        """Reserve for the whole batch: all that may be awarded, but no more than there is."""
        total, until = self._asked(opened, now)
        return self.ledger.claim(opened.claim, Claim(total.intersection(free), until), capacity, now)

    def _shrink(self, opened: OpenCall, now: float) -> None:
        """Free what no call of the batch can be awarded any more."""
        total, until = self._asked(opened, now)
        claim = Claim(total.intersection(self._reserved(opened, now)), until)
        self.ledger.shrink(opened.claim, claim)

    def _call_back(self, key: LeaseKey, epoch: int, reason: str, now: float) -> list[Effect]:
        lease = self.leases.get(key)
        if lease is not None:
            return self.leases.drain(key, reason, now) if lease.epoch == epoch else []
        return self.leases.disclaim(key, epoch, self._settings.ttl_s, now, "this node does not hold it")

    def _withdraw(self, name: ClaimId, reason: str, now: float) -> list[Effect]:
        self._finish(name)
        prepared = self._prepared.pop(name, None)
        if prepared is None:
            return []
        if prepared.waits_for is not None:
            self.ledger.release(name)
            return []
        return [Stop(prepared.award.key, prepared.award.negotiation, 0, False, 0.0, reason)]

    def _finish(self, name: ClaimId) -> None:
        while len(self._over) >= OPEN_CALLS:
            del self._over[next(iter(self._over))]
        self._over[name] = None

    def _drop_others(self, award: Award, now: float) -> list[Effect]:
        effects: list[Effect] = []
        for name, prepared in tuple(self._prepared.items()):
            if prepared.award.key == award.key and name[0] != award.negotiation:
                effects += self._withdraw(name, "superseded by a newer award", now)
        return effects

    def _wake_waiting(self, gone: ClaimId) -> list[Effect]:
        effects: list[Effect] = []
        for prepared in self._prepared.values():
            if prepared.waits_for == gone:
                prepared.waits_for = None
                effects.append(prepared.prepare())
        return effects

    def _reusable(self, call: Call) -> ClaimId | None:
        for lease in self.leases.held():
            name = (lease.negotiation, str(lease.key))
            own = lease.key.workload == call.workload.name and lease.key.replica in call.replicas
            if own and self.ledger.get(name) is not None and not self.ledger.replaced(name):
                return name
        return None

    def _resources(self, name: ClaimId | None) -> Resources:
        claim = self.ledger.get(name) if name is not None else None
        return claim.resources if claim is not None else Resources()

    def _calibrated(self, call: Call, offer: Offer) -> Offer:
        estimate: Estimate | None = offer.estimate
        if estimate is None or offer.calibration != 1.0:
            return offer
        plugin = call.workload.plugin
        corrected = self.calibration.apply(plugin, offer.variant, estimate)
        factor = self.calibration.factor(plugin, offer.variant)
        return offer.model_copy(update={"estimate": corrected, "calibration": factor})

    def _bid(self, opened: OpenCall, offers: tuple[Offer, ...], slots: int, decline: str) -> Bid:
        return Bid(
            negotiation=opened.call.negotiation,
            node=self.node,
            incarnation=self.incarnation,
            offers=offers,
            slots=slots,
            expires_s=opened.call.hold_s if slots else 0.0,
            labels=self.labels,
            holds=holds(opened.call, [lease.key for lease in self.leases.held()]),
            decline=decline,
        )

    def _bid_again(self, opened: OpenCall, now: float) -> list[Effect]:
        if opened.bid is None or (opened.bid.slots and now >= opened.bid_until):
            return []
        left = max(0.0, opened.bid_until - now) if opened.bid.slots else 0.0
        return [Send(opened.steward, opened.bid.model_copy(update={"expires_s": left}))]

    def _accept(self, prepared: PreparedInstance) -> Send:
        award = prepared.award
        accept = Accept(
            negotiation=award.negotiation,
            key=award.key,
            node=self.node,
            incarnation=self.incarnation,
            variant=award.variant,
        )
        return Send(prepared.steward, accept)

    def _remember(self, opened: OpenCall) -> None:
        while len(self._calls) >= OPEN_CALLS:
            del self._calls[next(iter(self._calls))]
        self._calls[opened.call.negotiation] = opened
