"""A node's side as a steward: which workloads are its own, and how the rest of the site hears of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from fairlead_agent.messages import (
    Accept,
    Bid,
    Body,
    Grant,
    GrantDenied,
    LeaseQuery,
    LeaseState,
    LeaseStates,
    NodeInstances,
    NodeStatus,
    PlacementRecord,
    Refuse,
)
from fairlead_agent.messages.signing import DesiredWorkload
from fairlead_agent.placement.batch import Batch
from fairlead_agent.placement.effects import Announce, Effect, Send
from fairlead_agent.placement.lease import AUTHORITY
from fairlead_agent.placement.rendezvous import steward_of
from fairlead_agent.placement.settings import PlacementSettings
from fairlead_agent.placement.workload_placement import WorkloadPlacement
from fairlead_agent.placement.world import World

#: Workloads in one query, so that the answer stays well below the largest message.
QUERY_SIZE = 100
#: Unanswered queries that are remembered.
PENDING_QUERIES = 64


class Steward:
    """Negotiates the placement of the workloads that rendezvous hashing gives to this node.

    It keeps nothing that it could not find again: a successor starts from the authority's lease states, the nodes'
    reports and the retained records. Every node feeds it everything it hears, whether or not it is a steward now.

    Args:
        site: the site's name.
        node: this node.
        rank: of this node as a steward: 0 never, 1 nodes, 2 the control plane.
        settings: the site's numbers.
        new_id: returns an id that no other call, on this node or another, ever returned.
    """

    def __init__(self, site: str, node: str, rank: int, settings: PlacementSettings, new_id: Callable[[], str]) -> None:
        self._world = World(site, node, rank, settings, new_id)
        self._settings = settings
        self._desired: dict[str, DesiredWorkload] = {}
        self._owned: dict[str, WorkloadPlacement] = {}
        self._negotiations: dict[str, str] = {}
        self._queries: dict[str, tuple[float, tuple[str, ...]]] = {}
        self._batch = Batch("", 0.0)
        self._negotiating: set[str] = set()
        self._wanting: set[str] = set()
        self._urgent: set[str] = set()
        self._poll_at: float | None = None
        self._polled_at = float("-inf")
        self._asked = set[str]()

    @property
    def owned(self) -> tuple[str, ...]:
        """The workloads that this node is the steward of."""
        return tuple(self._owned)

    def records(self) -> tuple[PlacementRecord, ...]:
        """What was last recorded of each of its workloads."""
        return tuple(record for placement in self._owned.values() if (record := placement.record) is not None)

    def steward(self, workload: str) -> str | None:
        """Who is the steward of a workload, as far as this node knows."""
        return steward_of(workload, self._world.statuses.values())

    def desired(self, desired: DesiredWorkload, now: float) -> list[Effect]:
        """Desired state, verified. An older generation than the known one is ignored."""
        known = self._desired.get(desired.name)
        if known is not None and desired.generation <= known.generation:
            return []
        self._desired[desired.name] = desired
        placement = self._owned.get(desired.name)
        if placement is not None:
            placement.change(desired, now)
        self._assign([desired.name], now)
        return self._step([desired.name], now)

    def node_status(self, status: NodeStatus, now: float) -> list[Effect]:
        """Birth, death or a changed status of a node."""
        before = self._world.heard_status(status, now)
        after = self._world.statuses[status.node]
        if before == after:
            return []
        effects = self._assign(self._desired, now) if _steward_changed(before, after) else []
        joined = after.online and (before is None or not before.online or before.incarnation != after.incarnation)
        for placement in self._owned.values():
            if joined and before is not None:
                placement.retry_soon(now)
            if joined or (before is not None and _roomier(before, after)):
                placement.review(f"node {status.node} joined" if joined else f"node {status.node} changed", now)
        return effects + self._step(self._owned, now)

    def instances(self, report: NodeInstances, now: float) -> list[Effect]:
        """A node's report of its instances."""
        before = self._world.reports.get(report.node)
        if not self._world.heard_report(report, now):
            return []
        named = {i.key.workload for i in report.instances}
        if before is not None:
            gone = {i.key.workload for i in before.instances} - named
            named |= gone
            if gone:
                for placement in self._owned.values():
                    placement.retry_soon(now)
        named |= {name for name, placement in self._owned.items() if placement.holds_on(report.node)}
        return self._step(sorted(named & self._owned.keys()), now)

    def facts_changed(self, node: str, now: float, notable: str = "") -> list[Effect]:
        """The facts of a node have changed by more than noise.

        Args:
            node: whose facts.
            now: CLOCK_BOOTTIME.
            notable: in words, a change that is not to wait until reviews that changed nothing are due again.
        """
        for placement in self._owned.values():
            placement.review(notable or f"facts of {node} changed", now, urgent=bool(notable))
        return self._step(self._owned, now)

    def message(self, source: str, body: Body, now: float) -> list[Effect]:
        """Handle whatever came to this node; bodies that are not for a steward do nothing."""
        match body:
            case Bid():
                return self._bid(body, now)
            case Accept() | Refuse():
                return self._answer(source, body, now)
            case Grant() | GrantDenied():
                return self._authority(body, now)
            case LeaseStates():
                return self._lease_states(body, now)
            case PlacementRecord():
                self._world.heard_record(body)
                return []
            case NodeStatus():
                return self.node_status(body, now)
            case NodeInstances():
                return self.instances(body, now)
            case _:
                return []

    def tick(self, now: float) -> list[Effect]:
        """Everything that is due."""
        due = [name for name, p in self._owned.items() if (at := p.next_wakeup()) is not None and now >= at]
        return self._step(due, now)

    def next_wakeup(self) -> float | None:
        """When :meth:`tick` has something to do next."""
        times = [at for placement in self._owned.values() if (at := placement.next_wakeup()) is not None]
        return min(times if self._poll_at is None else [*times, self._poll_at], default=None)

    # Whose workload is it

    def _assign(self, names: Iterable[str], now: float) -> list[Effect]:
        effects: list[Effect] = []
        for name in names:
            mine = self._world.rank > 0 and self.steward(name) == self._world.node
            placement = self._owned.get(name)
            if mine and placement is None:
                self._owned[name] = WorkloadPlacement(self._desired[name], self._world, now)
            elif not mine and placement is not None:
                del self._owned[name]
                self._forget(name)
                effects += placement.drop()
        return effects

    # Messages

    def _bid(self, bid: Bid, now: float) -> list[Effect]:
        name = self._negotiations.get(bid.negotiation, "")
        placement = self._owned.get(name)
        if placement is None:
            return []
        placement.bid(bid, now)
        return self._step([name], now)

    def _answer(self, source: str, body: Accept | Refuse, now: float) -> list[Effect]:
        placement = self._owned.get(body.key.workload)
        if placement is None:
            return []
        accepted = isinstance(body, Accept)
        effects = placement.accept(source, body, now) if accepted else placement.refuse(body, now)
        return effects + self._step([body.key.workload], now)

    def _authority(self, body: Grant | GrantDenied, now: float) -> list[Effect]:
        placement = self._owned.get(body.key.workload)
        if placement is None:
            return []
        if isinstance(body, Grant):
            placement.grant(body, now)
        else:
            placement.denied(body, now)
        return self._step([body.key.workload], now)

    def _lease_states(self, body: LeaseStates, now: float) -> list[Effect]:
        asked = self._queries.pop(body.request_id, None)
        if asked is None:
            return []
        asked_at, names = asked
        by_name: dict[str, list[LeaseState]] = {name: [] for name in names}
        for state in body.leases:
            if state.key.workload in by_name and state.key.site == self._world.site:
                by_name[state.key.workload].append(state)
        for name, states in by_name.items():
            placement = self._owned.get(name)
            if placement is not None:
                placement.lease_states(states, asked_at, now)
        return self._step(names, now)

    # Work

    def _step(self, names: Iterable[str], now: float) -> list[Effect]:
        effects: list[Effect] = []
        for name in tuple(names):
            placement = self._owned.get(name)
            if placement is not None:
                effects += placement.step(now)
                self._note(placement, now)
        return [*effects, *self._open_rounds(now), *self._poll(now)]

    def _note(self, placement: WorkloadPlacement, now: float) -> None:
        """Keep track of who negotiates and who wants to, so that a message costs no walk over all workloads."""
        for group, belongs in (
            (self._negotiating, placement.negotiating),
            (self._wanting, placement.wants_round(now)),
            (self._urgent, placement.wants_states and not placement.finished),
        ):
            group.add(placement.name) if belongs else group.discard(placement.name)

    def _forget(self, name: str) -> None:
        for group in (self._negotiating, self._wanting, self._urgent, self._asked):
            group.discard(name)

    def _open_rounds(self, now: float) -> list[Effect]:
        """Announce calls, those of high priority first, no more at once than the site's settings allow."""
        free = self._settings.concurrent_negotiations - len(self._negotiating)
        if free <= 0 or not self._wanting:
            return []
        wanting = sorted((self._owned[name] for name in self._wanting), key=lambda p: (-p.workload.priority, p.name))
        effects: list[Effect] = []
        for placement in wanting[:free]:
            for effect in placement.open_round(self._current_batch(now), now):
                if isinstance(effect, Announce):
                    self._remember(effect.body.negotiation, placement.name)
                effects.append(effect)
            self._note(placement, now)
        return effects

    def _current_batch(self, now: float) -> Batch:
        """Calls that are out together are one batch, but none lasts longer than the reservations for it."""
        if not self._negotiating or now > self._batch.opened_at + self._settings.bid_hold_s / 2:
            self._batch = Batch(self._world.new_id(), now)
        return self._batch

    def _remember(self, negotiation: str, workload: str) -> None:
        while len(self._negotiations) >= 4 * max(64, len(self._owned)):
            del self._negotiations[next(iter(self._negotiations))]
        self._negotiations[negotiation] = workload

    def _poll(self, now: float) -> list[Effect]:
        """Ask the authority how the leases stand: regularly, and soon where something waits for the answer."""
        # A workload that nobody has asked for yet waits for nobody: its first question is asked at once.
        new = sorted(name for name in self._urgent if name not in self._asked and name in self._owned)
        if new:
            self._asked.update(new)
            again = now + self._settings.release_poll_s
            self._poll_at = again if self._poll_at is None else min(self._poll_at, again)
            return self._ask(new, now)
        if self._urgent:
            self._poll_at = min(self._poll_at or now, max(now, self._polled_at + self._settings.release_poll_s))
        if self._poll_at is None or now < self._poll_at:
            return []
        active = sorted(name for name, placement in self._owned.items() if not placement.finished)
        if not active:
            self._poll_at = None
            return []
        interval = self._settings.release_poll_s if self._urgent else self._poll_interval_s(active)
        self._polled_at, self._poll_at = now, now + interval
        return self._ask(active, now)

    def _ask(self, names: Sequence[str], now: float) -> list[Effect]:
        return [self._query(tuple(names[i : i + QUERY_SIZE]), now) for i in range(0, len(names), QUERY_SIZE)]

    def _poll_interval_s(self, active: Iterable[str]) -> float:
        ttls = [self._owned[name].workload.placement.ttl_s or self._settings.ttl_s for name in active]
        return min(ttls) / 5

    def _query(self, names: tuple[str, ...], now: float) -> Send:
        request_id = self._world.new_id()
        while len(self._queries) >= PENDING_QUERIES:
            del self._queries[next(iter(self._queries))]
        self._queries[request_id] = (now, names)
        return Send(AUTHORITY, LeaseQuery(request_id=request_id, workloads=names))


def _steward_changed(before: NodeStatus | None, after: NodeStatus) -> bool:
    if before is None:
        return after.steward_rank > 0
    return (before.online, before.steward_rank) != (after.online, after.steward_rank)


def _roomier(before: NodeStatus, after: NodeStatus) -> bool:
    known = (before.labels, before.plugins, before.draining, before.profile)
    return known != (after.labels, after.plugins, after.draining, after.profile)
