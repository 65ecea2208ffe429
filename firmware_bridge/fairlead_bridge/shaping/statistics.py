"""What waits, what was sent and what was dropped: by queue, by class and by link, without a privilege or a library."""

from __future__ import annotations

import socket
from dataclasses import dataclass

from fairlead_bridge.clock import Moment, now
from fairlead_bridge.reading import Missing, attempt, is_known
from fairlead_bridge.shaping import traffic_control
from fairlead_bridge.shaping.objects import ROOT, class_handles
from fairlead_bridge.shaping.plan import ClassTree, ShapingPlan
from fairlead_bridge.shaping.traffic_control import Counters, Entry


@dataclass(frozen=True, slots=True)
class Queue:
    """A queueing discipline; ``handle`` and ``parent`` as tc writes them (``1:``, ``root``, ``1:10``)."""

    handle: str
    parent: str
    kind: str
    counters: Counters | Missing


@dataclass(frozen=True, slots=True)
class TrafficClassCounters:
    """A class of a discipline, and what passed it."""

    handle: str
    kind: str
    counters: Counters | Missing


@dataclass(frozen=True, slots=True)
class LinkQueues:
    """One link's. ``queues[0]`` is the one at the root, through which all that is sent passes, where it has one."""

    link: str
    queues: tuple[Queue, ...]
    classes: tuple[TrafficClassCounters, ...]

    @property
    def root(self) -> Counters | Missing:
        """What passed the link's root; missing on links without a queue (loopback, veth)."""
        counted = [queue for queue in self.queues if queue.parent == "root"]
        return counted[0].counters if counted else Missing(f"queue of {self.link}", "the link has none")

    def of_class(self, handle: str) -> Counters | Missing:
        """The counters of a class."""
        found = [item.counters for item in self.classes if item.handle == handle]
        return found[0] if found else Missing(f"class {handle} of {self.link}", "there is no such class")


@dataclass(frozen=True, slots=True)
class Queues:
    """All links of this network namespace at one time."""

    at: Moment
    links: tuple[LinkQueues, ...]

    def of(self, link: str) -> LinkQueues | Missing:
        """One link's."""
        found = [item for item in self.links if item.link == link]
        return found[0] if found else Missing(f"queues of {link}", "there is no such link")


class QueueSensor:
    """Asks the kernel over netlink."""

    def read(self, at: Moment | None = None) -> Queues | Missing:
        """Everything there is; missing with the reason where netlink is forbidden."""
        return attempt("queues", lambda: self._read(at or now()))

    def _read(self, at: Moment) -> Queues:
        names = dict(socket.if_nameindex())
        entries: dict[int, list[Entry]] = {index: [] for index in names}
        for entry in traffic_control.qdiscs():
            entries.setdefault(entry.index, []).append(entry)
        return Queues(at, tuple(_link(names[index], index, entries[index]) for index in sorted(names)))


@dataclass(frozen=True, slots=True)
class Passed:
    """What passed a queue between two readings."""

    seconds: float
    bits_per_s: float
    sent_packets: int
    dropped_packets: int
    waiting_bytes: int

    @property
    def loss(self) -> float:
        """The share of packets that were dropped; 0 where none came."""
        offered = self.sent_packets + self.dropped_packets
        return self.dropped_packets / offered if offered else 0.0


def passed(before: Queues, after: Queues, link: str, class_handle: str | None = None) -> Passed | Missing:
    """Between two readings, at a link's root or in one class; missing where it was made anew meanwhile."""
    seconds = after.at.boottime_s - before.at.boottime_s
    first, last = (_counters(queues, link, class_handle) for queues in (before, after))
    if isinstance(first, Missing):
        return first
    if isinstance(last, Missing):
        return last
    what = f"traffic of {link}"
    if seconds <= 0:
        return Missing(what, f"the readings are {seconds:g} s apart; accepted: more than 0", "failed")
    if last.sent_bytes < first.sent_bytes or last.dropped_packets < first.dropped_packets:
        return Missing(what, "its queue was made anew between the readings", "not_measured")
    return Passed(
        seconds=seconds,
        bits_per_s=(last.sent_bytes - first.sent_bytes) * 8 / seconds,
        sent_packets=last.sent_packets - first.sent_packets,
        dropped_packets=last.dropped_packets - first.dropped_packets,
        waiting_bytes=last.waiting_bytes,
    )


def link_facts(before: Queues, after: Queues, plan: ShapingPlan) -> dict[str, float]:
    """A shaped link in the words of the resource graph's link edges; what is not known is left out.

    ``bandwidth_bits_per_s`` is what the plan lets out, ``latency_s`` how long what waits now will wait at that rate
    (what the queue adds to the link's own delay), ``loss`` the share that the queue dropped between the readings,
    ``throughput_bits_per_s`` what was sent.
    """
    facts: dict[str, float] = {}
    if plan.egress is not None:
        facts["bandwidth_bits_per_s"] = float(plan.egress.rate_bits_per_s)
    traffic = passed(before, after, plan.link)
    if is_known(traffic):
        facts["loss"] = traffic.loss
        facts["throughput_bits_per_s"] = traffic.bits_per_s
        if plan.egress is not None:
            facts["latency_s"] = traffic.waiting_bytes * 8 / plan.egress.rate_bits_per_s
    return facts


def class_traffic(before: Queues, after: Queues, plan: ShapingPlan) -> dict[str, Passed | Missing]:
    """What passed each class of a plan's egress, by the class's name."""
    if not isinstance(plan.egress, ClassTree):
        return {}
    handles = class_handles(plan.egress)
    return {name: passed(before, after, plan.link, _handle(handle)) for name, handle in handles.items()}


def _counters(queues: Queues, link: str, class_handle: str | None) -> Counters | Missing:
    found = queues.of(link)
    if isinstance(found, Missing):
        return found
    return found.root if class_handle is None else found.of_class(class_handle)


def _link(name: str, index: int, entries: list[Entry]) -> LinkQueues:
    queues = tuple(
        Queue(_handle(item.handle), _handle(item.parent), item.kind, _known(item))
        for item in sorted(entries, key=lambda item: item.parent != ROOT)
        if item.handle or item.kind != "noqueue"
    )
    classful = any(item.handle for item in entries)
    found = traffic_control.classes(index) if classful else ()
    classes = tuple(TrafficClassCounters(_handle(item.handle), item.kind, _known(item)) for item in found)
    return LinkQueues(name, queues, classes)


def _known(entry: Entry) -> Counters | Missing:
    found = traffic_control.counters(entry)
    return found or Missing(f"counters of {entry.kind} {_handle(entry.handle)}", "the kernel sent none")


def _handle(handle: int) -> str:
    if handle == ROOT:
        return "root"
    minor = handle & 0xFFFF
    return f"{handle >> 16:x}:{minor:x}" if minor else f"{handle >> 16:x}:"
