"""A wire between two network namespaces, and traffic over it that is counted by the kernel's own times of arrival."""

from __future__ import annotations

import contextlib
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from fairlead_bridge.network_namespace import NetworkNamespace

PAYLOAD_BYTES = 1400
#: What a shaper counts of each datagram: Ethernet, IP and UDP headers on top.
FRAME_BYTES = PAYLOAD_BYTES + 14 + 20 + 8
LEFT, RIGHT, PORT = "192.0.2.1", "192.0.2.2", 5000

_TIMESTAMP = 35  # SO_TIMESTAMPNS
_SENDER = """
import socket, sys, time
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
sender.settimeout(0.2)
sender.bind((sys.argv[1], int(sys.argv[2])))
payload = bytes(int(sys.argv[5]))
end = time.monotonic() + float(sys.argv[6])
while time.monotonic() < end:
    try:
        for _ in range(16):
            sender.sendto(payload, (sys.argv[3], int(sys.argv[4])))
    except OSError:
        pass
"""


@dataclass(frozen=True, slots=True)
class Wire:
    """Links ``left`` and ``right``, each in the namespace of its name."""

    left: NetworkNamespace
    right: NetworkNamespace


@contextmanager
def wire() -> Iterator[Wire]:
    """A veth pair between fresh namespaces; OSError where that is not permitted."""
    import pyroute2

    with ExitStack() as stack:
        left, right = (stack.enter_context(NetworkNamespace.new()) for _ in range(2))
        with left.entered(), pyroute2.IPRoute() as route:
            route.link("add", ifname="left", kind="veth", peer={"ifname": "right", "net_ns_fd": right.descriptor})
        for namespace, name, address in ((left, "left", LEFT), (right, "right", RIGHT)):
            with namespace.entered(), pyroute2.IPRoute() as route:
                route.addr("add", index=socket.if_nametoindex(name), address=address, prefixlen=24)
                route.link("set", index=socket.if_nametoindex(name), state="up")
        yield Wire(left, right)


def received_bits_per_s(
    over: Wire, seconds: float, *, source_port: int = 0, frame_bytes: int = FRAME_BYTES, settle_s: float = 0.5
) -> float:
    """Flood from left to right; what arrives a second in ``seconds`` after the first ``settle_s``, headers counted."""
    with over.right.entered():
        receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with receiver:
        receiver.setsockopt(socket.SOL_SOCKET, 33, 16 << 20)  # SO_RCVBUFFORCE
        receiver.setsockopt(socket.SOL_SOCKET, _TIMESTAMP, 1)
        receiver.settimeout(2.0)
        receiver.bind((RIGHT, PORT))
        arguments = [LEFT, str(source_port), RIGHT, str(PORT), str(PAYLOAD_BYTES), str(settle_s + seconds + 1.0)]
        with over.left.entered():
            sender = subprocess.Popen([sys.executable, "-c", _SENDER, *arguments])
        try:
            return _counted(receiver, settle_s, seconds) * frame_bytes * 8 / seconds
        finally:
            sender.terminate()
            sender.wait()


def round_trips_s(over: Wire, count: int) -> list[float]:
    """Seconds there and back of small datagrams, one after the other."""
    with ExitStack() as stack:
        ends: list[socket.socket] = []
        for namespace, address in ((over.left, LEFT), (over.right, RIGHT)):
            with namespace.entered():
                ends.append(stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)))
            ends[-1].bind((address, PORT))
            ends[-1].settimeout(2.0)
        ours, theirs = ends
        trips: list[float] = []
        for _ in range(count):
            start = time.perf_counter()
            ours.sendto(b"there", (RIGHT, PORT))
            theirs.sendto(theirs.recv(100), (LEFT, PORT))
            ours.recv(100)
            trips.append(time.perf_counter() - start)
        return trips


def _counted(receiver: socket.socket, settle_s: float, seconds: float) -> int:
    """Datagrams by the kernel's stamps: from ``settle_s`` after the first on."""
    start = _stamp(receiver) + settle_s
    count = 0
    with contextlib.suppress(TimeoutError):
        while (at_s := _stamp(receiver)) < start + seconds:
            count += at_s >= start
    return count


def _stamp(receiver: socket.socket) -> float:
    _, ancillary, _, _ = receiver.recvmsg(2048, 64)
    seconds, nanoseconds = struct.unpack_from("=qq", ancillary[0][2])
    return seconds + nanoseconds * 1e-9
