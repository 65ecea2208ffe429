"""A discrete-event simulation of a site: bidders, stewards, one authority, a broker, and everything that goes wrong.

One seed gives one run. Messages are delayed, lost and repeated; nodes are cut off, frozen, restarted; the authority is
restarted; clocks drift within the bound. The invariants are checked at every step that could break them.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b

from fairlead_agent.messages import (
    Body,
    Constraints,
    Estimate,
    InstanceReport,
    InstanceState,
    LeaseKey,
    NodeInstances,
    NodeStatus,
    Offer,
    PlacementRecord,
    Quantiles,
    Workload,
)
from fairlead_agent.messages.signing import DesiredWorkload
from fairlead_agent.placement import effects as fx
from fairlead_agent.placement.authority import AuthorityRules, LeaseRow
from fairlead_agent.placement.bidder import Bidder
from fairlead_agent.placement.config_digest import config_digest
from fairlead_agent.placement.resources import Resources
from fairlead_agent.placement.settings import PlacementSettings
from fairlead_agent.placement.steward import Steward

SITE = "lab"
AUTHORITY = "authority"
GIB = 1 << 30


def unit(*parts: object) -> float:
    """A fixed pseudo-random number in [0, 1) of its arguments."""
    text = "\0".join(map(str, parts)).encode()
    return int.from_bytes(blake2b(text, digest_size=6).digest(), "big") / 2**48


@dataclass(frozen=True)
class Faults:
    """How bad the network and the machines are while faults last."""

    loss: float = 0.0
    repeat: float = 0.0
    delay_s: float = 0.05
    cut_every_s: float = 0.0
    restart_every_s: float = 0.0
    freeze_every_s: float = 0.0
    authority_every_s: float = 0.0
    broken_instances: float = 0.0


@dataclass
class Clock:
    """A monotonic clock that runs fast or slow by ``drift``."""

    offset: float
    drift: float

    def read(self, true_s: float) -> float:
        return self.offset + true_s * (1 + self.drift)

    def when(self, local_s: float) -> float:
        return (local_s - self.offset) / (1 + self.drift)


@dataclass
class Worker:
    """A worker process: it outlives its agent and stops serving by itself when its lease runs out."""

    key: LeaseKey
    negotiation: str
    variant: str
    generation: int
    digest: str
    needs: Resources
    state: InstanceState = InstanceState.PREPARING
    epoch: int = 0
    expires_at: float = 0.0
    serving: bool = False
    ended: bool = False
    ready: bool = False


@dataclass
class Node:
    """A device."""

    name: str
    rank: int
    clock: Clock
    capacity: Resources
    incarnation: int = 0
    up: bool = False
    connected: bool = True
    frozen_until: float = 0.0
    bidder: Bidder | None = None
    steward: Steward | None = None
    workers: dict[tuple[str, LeaseKey], Worker] = field(default_factory=dict)
    seq: int = 0
    wake_at: float | None = None
    ids: int = 0
    draining: bool = False
    read: dict[str, int] = field(default_factory=dict)


class Violation(AssertionError):
    """An invariant does not hold."""


class Simulation:
    """A site. ``run(until)`` advances it; everything else is looked at between runs."""

    def __init__(
        self,
        seed: int,
        *,
        nodes: int = 5,
        faults: Faults | None = None,
        settings: PlacementSettings | None = None,
        stewards: int = 2,
        control_plane: bool = True,
        estimate: Callable[[Simulation, str, Workload, str], Estimate | None] | None = None,
    ) -> None:
        self.random = random.Random(seed)
        self.settings = settings or PlacementSettings(
            ttl_s=3.0, bid_deadline_s=0.5, bid_hold_s=3.0, standby_timeout_s=30.0, candidate_timeout_s=6.0
        )
        self.faults = faults or Faults()
        self.estimate = estimate or default_estimate
        self.now = 0.0
        self.steps = 0
        self.sent: dict[str, int] = {}
        self.digest = blake2b(digest_size=16)
        self.events: list[tuple[float, int, Callable[[], None]]] = []
        self._counter = 0
        self.rows: dict[LeaseKey, LeaseRow] = {}
        self.rules = AuthorityRules(self.settings)
        self.authority_up = True
        self.authority_clock = self._clock()
        self.retained: dict[str, tuple[int, Body | DesiredWorkload]] = {}
        self.versions = 0
        self.activations: list[tuple[float, LeaseKey, str, int]] = []
        self.nodes: dict[str, Node] = {}
        if control_plane:
            self._add("cp", 2, Resources({"dram": 0}, 0.0))
        for index in range(nodes):
            self._add(f"n{index}", 1 if index < stewards else 0, Resources({"dram": 8 * GIB}, 8.0))
        for node in list(self.nodes.values()):
            self.start(node)
        self.schedule_faults()

    # Building

    def _clock(self) -> Clock:
        return Clock(self.random.uniform(10, 1e5), self.random.uniform(-1, 1) * self.settings.drift)

    def _add(self, name: str, rank: int, capacity: Resources) -> None:
        self.nodes[name] = Node(name, rank, self._clock(), capacity)

    def at(self, time: float, action: Callable[[], None]) -> None:
        self._counter += 1
        heapq.heappush(self.events, (time, self._counter, action))

    def run(self, until: float) -> None:
        while self.events and self.events[0][0] <= until:
            self.now, _, action = heapq.heappop(self.events)
            self.steps += 1
            action()
        self.now = until

    # Nodes

    def start(self, node: Node) -> None:
        """Start the agent; instances that outlived the last one are adopted or ended."""
        node.incarnation += 1
        node.up, node.seq = True, 0

        def new_id() -> str:
            node.ids += 1
            return f"{node.name}-{node.incarnation}-{node.ids}"

        node.bidder = Bidder(node.name, node.incarnation, self.settings, new_id)
        node.steward = Steward(SITE, node.name, node.rank, self.settings, new_id)
        local = node.clock.read(self.now)
        for name, worker in list(node.workers.items()):
            if worker.serving and local < worker.expires_at and self.random.random() < 0.7:
                node.bidder.adopt(
                    worker.key, worker.negotiation, worker.epoch, self.settings.ttl_s, worker.expires_at, worker.needs
                )
            else:
                worker.serving, worker.ended = False, True
                del node.workers[name]
        if node.connected:
            self.connect(node)
        self.wake(node)

    def crash(self, node: Node, *, reboot: bool) -> None:
        """The agent dies; at a reboot its workers and its boot-time clock go with it."""
        node.up, node.bidder, node.steward = False, None, None
        if reboot:
            for worker in node.workers.values():
                worker.serving, worker.ended = False, True
            node.workers.clear()
            node.clock = Clock(-self.now, node.clock.drift)
        self.will(node)

    def will(self, node: Node) -> None:
        status = NodeStatus(node=node.name, incarnation=node.incarnation, online=False, steward_rank=node.rank)
        delay = self.random.uniform(0.5, 3.0)

        def fire() -> None:
            back = node.up and node.connected and node.incarnation == status.incarnation
            if not back:
                self.publish(f"status/{node.name}", "broker", status)

        self.at(self.now + delay, fire)

    def cut(self, node: Node, seconds: float) -> None:
        node.connected = False
        self.will(node)

        def heal() -> None:
            if not node.connected:
                node.connected = True
                if node.up:
                    self.connect(node)

        self.at(self.now + seconds, heal)

    def connect(self, node: Node) -> None:
        """What a session does when it is (re-)established: read what is retained, and say that it is there."""
        node.read.clear()
        for topic, (version, body) in sorted(self.retained.items()):
            self.post_retained(node, topic, version, body)
        self.birth(node)
        self.report(node)

    def birth(self, node: Node) -> None:
        status = NodeStatus(
            node=node.name,
            incarnation=node.incarnation,
            online=True,
            steward_rank=node.rank,
            draining=node.draining,
        )
        self.publish(f"status/{node.name}", node.name, status)

    def report(self, node: Node) -> None:
        node.seq += 1
        instances = tuple(
            InstanceReport(key=w.key, epoch=w.epoch, variant=w.variant, state=w.state, generation=w.generation)
            for w in node.workers.values()
        )
        body = NodeInstances(node=node.name, incarnation=node.incarnation, seq=node.seq, instances=instances)
        if node.connected and node.up:
            self.publish(f"instances/{node.name}", node.name, body)

    # Network

    def publish(self, topic: str, source: str, body: Body | DesiredWorkload) -> None:
        """Retain. A cut-off node cannot; it says everything anew when it is connected again."""
        origin = self.nodes.get(source)
        if origin is not None and not origin.connected:
            return
        self.versions += 1
        self.retained[topic] = (self.versions, body)
        for node in self.nodes.values():
            self.post_retained(node, topic, self.versions, body)

    def post_retained(self, node: Node, topic: str, version: int, body: Body | DesiredWorkload) -> None:
        """Retained state is late or repeated rather than lost (QoS 1), and a broker keeps the order within a topic."""
        self.count(body)
        for _ in range(1 + (self.random.random() < self.faults.repeat)):
            self.at(self.now + self.delay(), lambda: self.deliver_retained(node, topic, version, body))

    def deliver_retained(self, node: Node, topic: str, version: int, body: Body | DesiredWorkload) -> None:
        if not node.up or not node.connected or version < node.read.get(topic, 0):
            return
        node.read[topic] = version
        if isinstance(body, NodeStatus) and body.node == node.name:
            stale = not body.online or body.incarnation < node.incarnation
            if stale and self.retained[topic][0] == version:
                self.birth(node)
        self.deliver("broker", node.name, body)

    def count(self, body: Body | DesiredWorkload) -> None:
        name = type(body).__name__
        self.sent[name] = self.sent.get(name, 0) + 1

    def delay(self) -> float:
        return self.random.expovariate(1 / self.faults.delay_s) + 1e-3

    def want(self, desired: DesiredWorkload) -> None:
        self.publish(f"desired/{desired.name}", "user", desired)

    def post(self, source: str, to: str, body: Body) -> None:
        """Send to an inbox."""
        self.count(body)
        origin = self.nodes.get(source)
        if origin is not None and not origin.connected:
            return
        for _ in range(1 + (self.random.random() < self.faults.repeat)):
            if self.random.random() >= self.faults.loss:
                self.at(self.now + self.delay(), lambda: self.deliver(source, to, body))

    def deliver(self, source: str, to: str, body: Body | DesiredWorkload) -> None:
        if to == AUTHORITY:
            self.ask_authority(source, body)
            return
        node = self.nodes[to]
        if not node.up or not node.connected:
            return
        if self.now < node.frozen_until:
            self.at(node.frozen_until + 1e-4, lambda: self.deliver(source, to, body))
            return
        self.trace("deliver", to, body)
        local = node.clock.read(self.now)
        assert node.bidder is not None and node.steward is not None
        if isinstance(body, DesiredWorkload):
            effects = node.steward.desired(body, local)
        else:
            effects = node.steward.message(source, body, local)
            if node.name != "cp":
                effects += node.bidder.message(source, body, local)
        self.apply(node, effects)

    def ask_authority(self, source: str, body: Body | DesiredWorkload) -> None:
        if not self.authority_up or isinstance(body, DesiredWorkload):
            return
        changed, reply = self.rules.answer(self.rows, body, self.authority_clock.read(self.now))
        for row in changed:
            before = self.rows.get(row.key)
            if before is not None and row.epoch < before.epoch:
                raise Violation(f"epoch of {row.key} fell from {before.epoch} to {row.epoch}")
            self.rows[row.key] = row
        if reply is not None:
            self.post(AUTHORITY, source, reply)

    def restart_authority(self, seconds: float) -> None:
        self.authority_up = False

        def back() -> None:
            self.authority_up = True
            self.authority_clock = Clock(-self.now + self.random.uniform(0, 5), self.authority_clock.drift)
            local = self.authority_clock.read(self.now)
            self.rows = {key: self.rules.after_restart(row, local) for key, row in self.rows.items()}

        self.at(self.now + seconds, back)

    # Effects

    def apply(self, node: Node, effects: list[fx.Effect]) -> None:
        for effect in effects:
            self.trace("effect", node.name, effect)
            match effect:
                case fx.Send():
                    self.post(node.name, effect.to, effect.body)
                case fx.Announce():
                    for name in self.nodes:
                        if name != "cp":
                            self.post(node.name, name, effect.body)
                case fx.Record():
                    self.publish(f"placement/{node.name}/{effect.record.workload}", node.name, effect.record)
                case fx.Evaluate():
                    self.evaluate(node, effect)
                case fx.Prepare():
                    self.prepare(node, effect)
                case fx.Activate():
                    self.activate(node, effect)
                case fx.Extend():
                    self.extend(node, effect)
                case fx.Stop():
                    self.stop(node, effect)
        if effects:
            self.check_ledger(node)
        self.wake(node)

    def evaluate(self, node: Node, effect: fx.Evaluate) -> None:
        incarnation = node.incarnation

        def done() -> None:
            if node.up and node.incarnation == incarnation and node.bidder is not None:
                call = effect.call
                offers = [
                    Offer(variant=variant, estimate=estimate)
                    for variant in ("fast", "small")
                    if (estimate := self.estimate(self, node.name, call.workload, variant)) is not None
                ]
                local = node.clock.read(self.now)
                self.apply(node, node.bidder.evaluated(call.negotiation, offers, node.capacity, local))

        self.at(self.now + self.random.uniform(0.005, 0.05), done)

    def prepare(self, node: Node, effect: fx.Prepare) -> None:
        worker = Worker(
            effect.key,
            effect.negotiation,
            effect.variant,
            effect.generation,
            config_digest(effect.workload),
            Resources.of(effect.estimate),
        )
        node.workers[(effect.negotiation, effect.key)] = worker
        used = Resources()
        for other in node.workers.values():
            used = used.plus(other.needs)
        if not used.within(node.capacity):
            raise Violation(f"{node.name} runs more than fits: {used}")
        fails = self.random.random() < self.faults.broken_instances

        def ready() -> None:
            if worker.ended or not node.up:
                return
            if fails:
                worker.state, worker.serving = InstanceState.FAILED, False
            else:
                worker.ready = True
                worker.state = InstanceState.READY if worker.epoch else InstanceState.STANDBY
            self.report(node)

        self.at(self.now + effect.estimate.startup_s.p50, ready)
        self.report(node)

    def activate(self, node: Node, effect: fx.Activate) -> None:
        worker = node.workers.get((effect.negotiation, effect.key))
        if worker is None or worker.ended:
            return
        if worker.state is not InstanceState.FAILED:
            worker.serving = True
        worker.epoch, worker.expires_at = effect.epoch, effect.expires_at
        if worker.ready:
            worker.state = InstanceState.READY
        self.activations.append((self.now, effect.key, node.name, effect.epoch))
        self.check_holder(effect.key)
        self.report(node)

    def extend(self, node: Node, effect: fx.Extend) -> None:
        for worker in node.workers.values():
            if (worker.key, worker.epoch) == (effect.key, effect.epoch):
                if node.clock.read(self.now) >= worker.expires_at:
                    raise Violation(f"{effect.key} was extended after its lease had run out")
                worker.expires_at = effect.expires_at
        self.check_holder(effect.key)

    def stop(self, node: Node, effect: fx.Stop) -> None:
        name = (effect.negotiation, effect.key)
        worker = node.workers.get(name)
        if worker is None:
            return
        if not effect.drain:
            worker.serving = False
        worker.state = InstanceState.DRAINING
        self.report(node)
        incarnation = node.incarnation

        def gone() -> None:
            worker.serving, worker.ended = False, True
            if node.workers.get(name) is worker:
                del node.workers[name]
            if node.up and node.incarnation == incarnation and node.bidder is not None:
                self.report(node)
                self.apply(node, node.bidder.stopped(effect.key, effect.negotiation, node.clock.read(self.now)))

        self.at(self.now + (self.random.uniform(0.05, 3.0) if effect.drain else 0.05), gone)

    def wake(self, node: Node) -> None:
        if not node.up or node.bidder is None or node.steward is None:
            return
        times = [t for t in (node.bidder.next_wakeup(), node.steward.next_wakeup()) if t is not None]
        if not times:
            return
        at = max(self.now, node.clock.when(min(times)), node.frozen_until) + 1e-4
        if node.wake_at is not None and self.now < node.wake_at <= at:
            return
        node.wake_at = at
        incarnation = node.incarnation

        def tick() -> None:
            if node.wake_at == at:
                node.wake_at = None
            if node.up and node.incarnation == incarnation and node.bidder and node.steward:
                if self.now < node.frozen_until:
                    self.wake(node)
                    return
                local = node.clock.read(self.now)
                self.apply(node, [*node.bidder.tick(local), *node.steward.tick(local)])

        self.at(at, tick)

    # Invariants

    def effective(self, key: LeaseKey) -> list[tuple[str, Worker]]:
        """The workers that would serve a request for ``key`` now."""
        return [
            (node.name, worker)
            for node in self.nodes.values()
            for worker in node.workers.values()
            if worker.key == key and worker.serving and node.clock.read(self.now) < worker.expires_at
        ]

    def check_holder(self, key: LeaseKey) -> None:
        found = self.effective(key)
        if len(found) > 1:
            raise Violation(f"t={self.now:.3f}: {key} is served by {[(n, w.epoch) for n, w in found]}")

    def check_ledger(self, node: Node) -> None:
        if node.bidder is not None:
            claimed = node.bidder.ledger.claimed(node.clock.read(self.now))
            if not claimed.within(node.capacity):
                raise Violation(f"{node.name} has promised {claimed}, it has {node.capacity}")

    def trace(self, what: str, node: str, item: object) -> None:
        self.digest.update(f"{self.now:.6f} {what} {node} {type(item).__name__}".encode())

    # Faults

    def schedule_faults(self) -> None:
        faults = self.faults
        self._poisson(faults.cut_every_s, self._random_cut)
        self._poisson(faults.restart_every_s, self._random_restart)
        self._poisson(faults.freeze_every_s, self._random_freeze)
        self._poisson(faults.authority_every_s, lambda: self.restart_authority(self.random.uniform(0.1, 6)))

    def _poisson(self, every_s: float, action: Callable[[], None]) -> None:
        if not every_s:
            return

        def happen() -> None:
            if self.faults.cut_every_s or self.faults.restart_every_s or self.faults.freeze_every_s:
                action()
                self.at(self.now + self.random.expovariate(1 / every_s), happen)

        self.at(self.now + self.random.expovariate(1 / every_s), happen)

    def _pick(self) -> Node:
        return self.nodes[self.random.choice(sorted(self.nodes))]

    def _random_cut(self) -> None:
        node = self._pick()
        if node.connected:
            self.cut(node, self.random.uniform(0.2, 12))

    def _random_restart(self) -> None:
        node = self._pick()
        if node.up:
            self.crash(node, reboot=self.random.random() < 0.4)
            self.at(self.now + self.random.uniform(0.1, 8), lambda: None if node.up else self.start(node))

    def _random_freeze(self) -> None:
        self._pick().frozen_until = self.now + self.random.uniform(0.1, 6)

    def end_faults(self) -> None:
        """From here on nothing goes wrong any more."""
        self.faults = Faults(delay_s=self.faults.delay_s)

    # Looking

    def records(self) -> dict[str, PlacementRecord]:
        """Per workload the record of its steward."""
        found: dict[str, PlacementRecord] = {}
        for node in self.nodes.values():
            if node.up and node.steward is not None:
                for record in node.steward.records():
                    found[record.workload] = record
        return found

    def unsettled(self, desired: list[DesiredWorkload]) -> list[str]:
        """What is not as it should be, in words."""
        wrong: list[str] = []
        for item in desired:
            replicas = item.workload.replicas if item.workload is not None else 0
            for replica in range(replicas + 3):
                wrong += self._unsettled_slot(item, replica, replica < replicas)
        return wrong

    def _unsettled_slot(self, item: DesiredWorkload, replica: int, wanted: bool) -> list[str]:
        key = LeaseKey(site=SITE, workload=item.name, replica=replica)
        found = self.effective(key)
        if not wanted:
            return [f"{key} still served by {found[0][0]}"] if found else []
        if len(found) != 1:
            return [f"{key} served by {len(found)}"]
        assert item.workload is not None
        if found[0][1].digest != config_digest(item.workload):
            return [f"{key} serves an old config on {found[0][0]}"]
        record = self.records().get(item.name)
        slot = next((s for s in record.slots if s.key == key), None) if record is not None else None
        if slot is None or (slot.state, slot.node, slot.epoch) != ("placed", found[0][0], found[0][1].epoch):
            return [f"{key} on {found[0][0]} epoch {found[0][1].epoch}, recorded as {slot}"]
        return []


def workload(name: str, *, config: int = 0, replicas: int = 1, priority: int = 50, **constraints: object) -> Workload:
    """A workload of the simulated plugin."""
    return Workload(
        name=name,
        plugin="demo",
        config={"version": config},
        replicas=replicas,
        priority=priority,
        constraints=Constraints.model_validate(constraints),
    )


def desired(item: Workload, generation: int = 1) -> DesiredWorkload:
    """Desired state as it comes out of a checked signature."""
    return DesiredWorkload(site=SITE, name=item.name, generation=generation, workload=item)


def deleted(name: str, generation: int) -> DesiredWorkload:
    """Desired state of a workload that is to go."""
    return DesiredWorkload(site=SITE, name=name, generation=generation, deleted=True)


def default_estimate(sim: Simulation, node: str, item: Workload, variant: str) -> Estimate | None:
    """Fixed per node, workload and variant: fast ones need more room."""
    fast = variant == "fast"
    latency = (0.1 if fast else 0.4) * (1 + unit(node, item.name))
    return Estimate(
        latency_s=Quantiles.around(latency, 0.2),
        throughput_per_s=Quantiles.around(1 / latency, 0.2),
        memory_bytes={"dram": (3 if fast else 1) * GIB},
        cores=1.0,
        startup_s=Quantiles.around(0.5, 0.5),
    )
