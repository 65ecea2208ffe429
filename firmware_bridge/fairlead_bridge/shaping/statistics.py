"""What waits, what was sent and what was dropped: by queue, by class and by link, without a privilege or a library."""

from __future__ import annotations

import socket
from dataclasses import dataclass

from fairlead_bridge.clock import Moment, now
from fairlead_bridge.reading import Missing, attempt
from fairlead_bridge.shaping import traffic_control
from fairlead_bridge.shaping.traffic_control import ROOT, Counters, Entry


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


def _counters(queues: Queues, link: str, class_handle: str | None) -> Counters | Missing:
    found = queues.of(link)
    if isinstance(found, Missing):
        return found
    return found.root if class_handle is None else found.of_class(class_handle)


def _link(name: str, index: int, entries: list[Entry]) -> LinkQueues:
    queues = tuple(
        Queue(handle_text(item.handle), handle_text(item.parent), item.kind, _known(item))
        for item in sorted(entries, key=lambda item: item.parent != ROOT)
        if item.handle or item.kind != "noqueue"
    )
    classful = any(item.handle for item in entries)
    found = traffic_control.classes(index) if classful else ()
    classes = tuple(TrafficClassCounters(handle_text(item.handle), item.kind, _known(item)) for item in found)
    return LinkQueues(name, queues, classes)


def _known(entry: Entry) -> Counters | Missing:
    found = traffic_control.counters(entry)
    return found or Missing(f"counters of {entry.kind} {handle_text(entry.handle)}", "the kernel sent none")


def handle_text(handle: int) -> str:
    """A handle as tc writes it."""
    if handle == ROOT:
        return "root"
    minor = handle & 0xFFFF
    return f"{handle >> 16:x}:{minor:x}" if minor else f"{handle >> 16:x}:"
