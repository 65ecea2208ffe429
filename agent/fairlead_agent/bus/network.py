"""A broker and its network in memory, without asyncio: the ground of simulations.

From one seed the same calls give the same deliveries, in the same order, at the same virtual times. Payloads are
opaque: bytes under :class:`~fairlead_agent.bus.memory.MemoryTransport`, envelopes where a simulation needs speed.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from fairlead_agent.bus.clock import Scheduler
from fairlead_agent.bus.patterns import check_pattern, check_topic, matches

P = TypeVar("P")


@dataclass(frozen=True, slots=True)
class Faults:
    """What the network does to every delivery. Probabilities are independent, in [0, 1].

    Deliveries from one client to another stay in order, except those that ``reorder`` picks: they are delayed once more
    and may be overtaken. ``loss`` is harsher than MQTT with QoS 1; it stands for a broker that forgets.
    """

    delay_min_s: float = 0.0
    delay_max_s: float = 0.0
    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.delay_min_s <= self.delay_max_s:
            raise ValueError(f"0 <= delay_min_s <= delay_max_s must hold: {self.delay_min_s}, {self.delay_max_s}")
        for name in ("loss", "duplicate", "reorder"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}: 0 to 1 is accepted, got {getattr(self, name)}")


@dataclass(frozen=True, slots=True)
class SimMessage(Generic[P]):
    """A message on the simulated network."""

    source: str
    topic: str
    payload: P
    retain: bool = False
    version: int = 0


class SimPort(Generic[P]):
    """A client's end of the simulated network; made by :meth:`SimNetwork.connect`."""

    def __init__(self, network: SimNetwork[P], name: str, on_message: Callable[[SimMessage[P]], None]) -> None:
        self._network = network
        self.name = name
        self.on_message = on_message
        self.on_state: Callable[[bool], None] | None = None
        self.will: tuple[str, P, bool] | None = None
        self.patterns: dict[str, None] = {}
        self.open = True
        self.connected = True
        self.waiting: list[tuple[str, P, bool]] = []
        self.held: list[SimMessage[P]] = []

    def subscribe(self, pattern: str) -> None:
        """Ask for messages; retained ones come at once (after the network's delay)."""
        self.patterns[check_pattern(pattern)] = None
        self._network.subscribed(self, pattern)

    def unsubscribe(self, pattern: str) -> None:
        """Ask no more."""
        self.patterns.pop(pattern, None)
        self._network.forget_routes()

    def publish(self, topic: str, payload: P, retain: bool = False) -> None:
        """Say something; while cut off it waits here."""
        check_topic(topic)
        if not self.open:
            raise ConnectionError(f"{self.name}: the port is closed")
        if self.connected:
            self._network.route(self.name, topic, payload, retain)
        else:
            self.waiting.append((topic, payload, retain))

    def close(self) -> None:
        """Leave in good order: no will."""
        self._network.close(self)


class SimNetwork(Generic[P]):
    """A broker with retained messages and wills, and a faulty network around it.

    Args:
        clock: when deliveries happen.
        draw: the only source of chance.
        faults: delay, loss, duplication, reordering; may be replaced at any time.
        will_delay_s: from losing a client to its will (brokers wait 1.5 keepalives).
        queue_offline: the broker keeps messages for clients that are cut off (persistent sessions).
        observe: called with (client, message) at every delivery, e.g. to record a trace.
    """

    def __init__(
        self,
        clock: Scheduler,
        draw: random.Random,
        faults: Faults | None = None,
        *,
        will_delay_s: float = 22.5,
        queue_offline: bool = True,
        observe: Callable[[str, SimMessage[P]], None] | None = None,
    ) -> None:
        self.clock = clock
        self.faults = faults or Faults()
        self.delivered = 0
        self.lost = 0
        self._draw = draw
        self._will_delay_s = will_delay_s
        self._queue_offline = queue_offline
        self._observe = observe
        self._ports: dict[str, SimPort[P]] = {}
        self._retained: dict[str, SimMessage[P]] = {}
        self._routes: dict[str, list[SimPort[P]]] = {}
        self._groups: dict[str, int] = {}
        self._busy_until: dict[tuple[str, str], float] = {}
        self._version = 0
        self._split_version = 0

    @property
    def retained(self) -> dict[str, P]:
        """The last state of every topic that has one."""
        return {topic: message.payload for topic, message in self._retained.items()}

    def connect(self, name: str, on_message: Callable[[SimMessage[P]], None]) -> SimPort[P]:
        """A new client. A client of the same name is thrown out, and its will spoken."""
        former = self._ports.get(name)
        if former is not None:
            self.crash(name, at_once=True)
        port = SimPort(self, name, on_message)
        self._ports[name] = port
        self.forget_routes()
        return port

    def crash(self, name: str, *, at_once: bool = False) -> None:
        """The client dies. ``at_once``: its socket breaks, else the broker notices after ``will_delay_s``."""
        port = self._ports.pop(name)
        port.open = False
        self._disconnected(port)
        self.forget_routes()
        self._later_will(port, 0.0 if at_once else self._will_delay_s)

    def close(self, port: SimPort[P]) -> None:
        """The client leaves in good order."""
        if self._ports.get(port.name) is port:
            del self._ports[port.name]
        port.open = False
        self._disconnected(port)
        self.forget_routes()

    def cut(self, *names: str) -> None:
        """Clients lose the broker; after ``will_delay_s`` it speaks their wills."""
        for name in names:
            port = self._ports[name]
            if port.connected:
                self._disconnected(port)
                self._later_will(port, self._will_delay_s)

    def restore(self, *names: str) -> None:
        """Clients have the broker again: what waited is sent, what was held arrives, state is told once more."""
        for name in names:
            port = self._ports[name]
            if not port.connected:
                port.connected = True
                if port.on_state is not None:
                    port.on_state(True)
                self._catch_up(port)

    def partition(self, *groups: Iterable[str]) -> None:
        """Clients of different groups no longer hear each other; those not named form a group of their own."""
        self._groups = {name: index for index, names in enumerate(groups, start=1) for name in names}
        self._split_version = self._version

    def heal(self) -> None:
        """The partition ends: held messages arrive, and state published meanwhile is told to all."""
        self._groups = {}
        for port in list(self._ports.values()):
            self._release(port)
            for message in list(self._retained.values()):
                if message.version > self._split_version and _wants(port, message.topic):
                    self._send(port, _as_retained(message))

    def route(self, source: str, topic: str, payload: P, retain: bool) -> None:
        """The broker has received a message."""
        self._version += 1
        message = SimMessage(source, topic, payload, version=self._version)
        if retain and payload:
            self._retained[topic] = message
        elif retain:
            self._retained.pop(topic, None)
        for port in self._find(topic):
            self._send(port, message)

    def subscribed(self, port: SimPort[P], pattern: str) -> None:
        """The broker has received a subscription."""
        self.forget_routes()
        for message in list(self._retained.values()):
            if matches(pattern, message.topic):
                self._send(port, _as_retained(message))

    def forget_routes(self) -> None:
        """Subscriptions have changed."""
        self._routes.clear()

    def _find(self, topic: str) -> list[SimPort[P]]:
        found = self._routes.get(topic)
        if found is None:
            found = self._routes[topic] = [port for port in self._ports.values() if _wants(port, topic)]
        return found

    def _send(self, port: SimPort[P], message: SimMessage[P]) -> None:
        if not self._reach(message.source, port):
            self._hold(port, message)
            return
        faults, draw = self.faults, self._draw
        if faults.loss and draw.random() < faults.loss:
            self.lost += 1
            return
        self._schedule(port, message)
        if faults.duplicate and draw.random() < faults.duplicate:
            self._schedule(port, message)

    def _schedule(self, port: SimPort[P], message: SimMessage[P]) -> None:
        faults, draw, now_s = self.faults, self._draw, self.clock()
        delay_s = draw.uniform(faults.delay_min_s, faults.delay_max_s) if faults.delay_max_s else 0.0
        if faults.reorder and draw.random() < faults.reorder:
            delay_s += draw.uniform(faults.delay_min_s, max(faults.delay_max_s, 1e-3))
        else:
            link = (message.source, port.name)
            delay_s = max(delay_s, self._busy_until.get(link, 0.0) - now_s)
            self._busy_until[link] = now_s + delay_s
        self.clock.call_later(delay_s, lambda: self._deliver(port, message))

    def _deliver(self, port: SimPort[P], message: SimMessage[P]) -> None:
        if not port.open:
            self.lost += 1
        elif not self._reach(message.source, port):
            self._hold(port, message)
        else:
            self.delivered += 1
            if self._observe is not None:
                self._observe(port.name, message)
            port.on_message(message)

    def _reach(self, source: str, port: SimPort[P]) -> bool:
        groups = self._groups
        return port.connected and (not groups or groups.get(source, 0) == groups.get(port.name, 0))

    def _hold(self, port: SimPort[P], message: SimMessage[P]) -> None:
        if self._queue_offline and port.open and not message.retain:
            port.held.append(message)
        else:
            self.lost += 1

    def _release(self, port: SimPort[P]) -> None:
        held, port.held = port.held, []
        for message in held:
            self._send(port, message)

    def _catch_up(self, port: SimPort[P]) -> None:
        waiting, port.waiting = port.waiting, []
        self._release(port)
        for message in list(self._retained.values()):
            if _wants(port, message.topic):
                self._send(port, _as_retained(message))
        for topic, payload, retain in waiting:
            self.route(port.name, topic, payload, retain)

    def _disconnected(self, port: SimPort[P]) -> None:
        was, port.connected = port.connected, False
        if was and port.on_state is not None:
            port.on_state(False)

    def _later_will(self, port: SimPort[P], delay_s: float) -> None:
        def speak() -> None:
            if port.will is not None and not port.connected:
                self.route(port.name, *port.will)

        self.clock.call_later(delay_s, speak)


def _wants(port: SimPort[P], topic: str) -> bool:
    return any(matches(pattern, topic) for pattern in port.patterns)


def _as_retained(message: SimMessage[P]) -> SimMessage[P]:
    return SimMessage(message.source, message.topic, message.payload, True, message.version)
