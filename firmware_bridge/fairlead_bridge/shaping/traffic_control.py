"""What the kernel has of queueing disciplines, classes and filters, read straight from its socket.

Layouts of linux/rtnetlink.h, linux/pkt_sched.h and linux/gen_stats.h. Reading needs no privilege and no library, so
that an idle agent can have the statistics for little memory.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from fairlead_bridge.netlink import attributes_of, dump, open_socket

ROOT = 0xFFFFFFFF

_NEW_QDISC, _GET_QDISC = 36, 38
_NEW_CLASS, _GET_CLASS = 40, 42
_NEW_FILTER, _GET_FILTER = 44, 46
_MESSAGE = struct.Struct("=BxxxiIII")  # family, index, handle, parent, info
_KIND, _OPTIONS, _STATISTICS = 1, 2, 7
_BASIC, _QUEUE = 1, 3
_QUEUE_LAYOUT = struct.Struct("=IIIII")  # packets waiting, bytes waiting, drops, requeues, overlimits


@dataclass(frozen=True, slots=True)
class Entry:
    """One object of traffic control. For a filter ``info`` holds its priority and protocol."""

    index: int
    handle: int
    parent: int
    info: int
    kind: str
    options: bytes
    statistics: bytes

    @property
    def priority(self) -> int:
        """A filter's priority."""
        return self.info >> 16


@dataclass(frozen=True, slots=True)
class Counters:
    """Of one discipline or class since it was made. ``overlimits`` counts how often something had to wait."""

    sent_bytes: int
    sent_packets: int
    waiting_bytes: int
    waiting_packets: int
    dropped_packets: int
    overlimits: int


def qdiscs(timeout_s: float = 2.0) -> tuple[Entry, ...]:
    """All disciplines of all links; OSError where the kernel refuses or does not answer."""
    return tuple(_ask(_GET_QDISC, _NEW_QDISC, 0, 0, timeout_s))


def classes(index: int, timeout_s: float = 2.0) -> tuple[Entry, ...]:
    """All classes of one link; OSError where the kernel refuses or does not answer."""
    return tuple(_ask(_GET_CLASS, _NEW_CLASS, index, 0, timeout_s))


def filters(index: int, parent: int, timeout_s: float = 2.0) -> tuple[Entry, ...]:
    """All filters below one discipline; OSError where the kernel refuses or does not answer."""
    return tuple(_ask(_GET_FILTER, _NEW_FILTER, index, parent, timeout_s))


def counters(entry: Entry) -> Counters | None:
    """The entry's statistics, where the kernel sent any."""
    nested = attributes_of(entry.statistics)
    basic, queue = nested.get(_BASIC, b""), nested.get(_QUEUE, b"")
    if len(basic) < 12 or len(queue) < _QUEUE_LAYOUT.size:
        return None
    sent_bytes, sent_packets = struct.unpack_from("=QI", basic)
    packets, size_bytes, dropped, _, overlimits = _QUEUE_LAYOUT.unpack_from(queue)
    return Counters(sent_bytes, sent_packets, size_bytes, packets, dropped, overlimits)


def parse(body: bytes) -> Entry | None:
    """One message's body; None where it is cut short."""
    if len(body) < _MESSAGE.size:
        return None
    _, index, handle, parent, info = _MESSAGE.unpack_from(body)
    found = attributes_of(body[_MESSAGE.size :])
    kind = found.get(_KIND, b"").rstrip(b"\0").decode("ascii", "replace")
    return Entry(index, handle, parent, info, kind, found.get(_OPTIONS, b""), found.get(_STATISTICS, b""))


def _ask(question: int, answer: int, index: int, parent: int, timeout_s: float) -> Iterator[Entry]:
    body = _MESSAGE.pack(socket.AF_UNSPEC, index, 0, parent, 0)
    with open_socket() as channel:
        channel.settimeout(timeout_s)
        for kind, content in dump(channel, question, body):
            entry = parse(content) if kind == answer else None
            if entry is not None:
                yield entry
