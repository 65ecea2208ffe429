"""Two network namespaces with a wire between them, and real traffic over it."""

from __future__ import annotations

import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import pytest

from fairlead_bridge.network_namespace import NetworkNamespace
from tests.patience import patient

PAYLOAD_BYTES = 1400
FRAME_BYTES = PAYLOAD_BYTES + 8 + 20 + 14
LEFT, RIGHT = "192.0.2.1", "192.0.2.2"

_TIMESTAMP = 35  # SO_TIMESTAMPNS and SCM_TIMESTAMPNS of asm-generic/socket.h


@dataclass(frozen=True, slots=True)
class Wire:
    """``left`` and ``right`` are in the namespaces of their name; traffic of the tests goes from left to right."""

    left: NetworkNamespace
    right: NetworkNamespace


@dataclass(frozen=True, slots=True)
class Received:
    """Frames that came in until ``seconds`` after the first was sent, by the kernel's own times of arrival.

    However late a busy machine lets a program read, these are the times at which the link let them through.
    """

    frames: int
    seconds: float
    frame_bytes: int = FRAME_BYTES

    @property
    def bits(self) -> int:
        return self.frames * self.frame_bytes * 8

    @property
    def bits_per_s(self) -> float:
        return self.bits / self.seconds

    def within(self, rate_bits_per_s: float, burst_bytes: int) -> bool:
        """Whether no more passed than a bucket lets through: what it had, what came since, and a frame."""
        return self.bits <= rate_bits_per_s * self.seconds * 1.005 + (burst_bytes + 2 * self.frame_bytes) * 8


def eventually(holds: Callable[[], bool], seconds: float = patient(60.0)) -> None:
    """Wait until something holds; the limit only ends a hopeless wait."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it does not come about"
        time.sleep(0.005)


def tc(*arguments: str) -> str:
    """What tc says in the namespace that this thread is in."""
    return subprocess.run(["tc", *arguments], capture_output=True, text=True, timeout=patient(60), check=True).stdout


@contextmanager
def a_wire() -> Iterator[Wire]:
    """A veth pair between two fresh namespaces; skips where that is not permitted."""
    pyroute2 = pytest.importorskip("pyroute2", reason="links are made with pyroute2")
    with ExitStack() as stack:
        try:
            left, right = (stack.enter_context(NetworkNamespace.new()) for _ in range(2))
        except OSError as error:
            pytest.skip(f"no network namespaces are permitted here: {error}")
        with left.entered(), pyroute2.IPRoute() as route:
            try:
                route.link("add", ifname="left", kind="veth", peer={"ifname": "right", "net_ns_fd": right.descriptor})
            except pyroute2.NetlinkError as error:
                pytest.skip(f"this kernel has no veth links: {error}")
        for namespace, name, address in ((left, "left", LEFT), (right, "right", RIGHT)):
            with namespace.entered(), pyroute2.IPRoute() as route:
                index = socket.if_nametoindex(name)
                route.addr("add", index=index, address=address, prefixlen=24)
                route.link("set", index=index, state="up")
        yield Wire(left, right)


def flood(
    wire: Wire, seconds: float, *, source_port: int = 0, port: int = 5000, frame_bytes: int = FRAME_BYTES
) -> Received:
    """Send datagrams as fast as the link takes them, from left to right, for ``seconds``."""
    with ExitStack() as stack:
        receiver = stack.enter_context(datagrams(wire.right, (RIGHT, port), stamped=True))
        sender = stack.enter_context(datagrams(wire.left, (LEFT, source_port)))
        # A small buffer: the sender waits for the link, and not in the queue of the socket.
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * 1024)
        stop = threading.Event()
        thread = threading.Thread(target=_send, args=(sender, port, stop))
        start = time.time()
        thread.start()
        try:
            return _receive(receiver, start, seconds, frame_bytes)
        finally:
            stop.set()
            thread.join()


def carries(flooded: Callable[[], Received], rate_bits_per_s: float, burst_bytes: int, least: float) -> bool:
    """Whether a link never carries more than its rate, and at least so much of it where the machine keeps up.

    Programs that stand still in a flood send less: it is repeated until one has sent enough.
    """
    for _ in range(20):
        received = flooded()
        if not received.within(rate_bits_per_s, burst_bytes):
            return False
        if received.bits_per_s > least * rate_bits_per_s:
            return True
    return False


@contextmanager
def datagrams(
    namespace: NetworkNamespace, address: tuple[str, int], *, stamped: bool = False
) -> Iterator[socket.socket]:
    """A UDP socket in a namespace; ``stamped``: the kernel says when each datagram arrived."""
    with namespace.entered():
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with made:
        made.bind(address)
        if stamped:
            made.setsockopt(socket.SOL_SOCKET, _TIMESTAMP, 1)
            made.setsockopt(socket.SOL_SOCKET, 33, 4 << 20)
            made.settimeout(patient(60))
            time.sleep(0.01)  # the kernel switches stamping on a moment later
        yield made


def receive_stamped(receiver: socket.socket) -> tuple[bytes, float]:
    """A datagram, and when it arrived (seconds since the Unix epoch)."""
    data, ancillary, _, _ = receiver.recvmsg(2048, 64)
    for level, kind, value in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, _TIMESTAMP):
            seconds, nanoseconds = struct.unpack("=qq", value[:16])
            return data, seconds + nanoseconds * 1e-9
    return data, time.time()


def _send(sender: socket.socket, port: int, stop: threading.Event) -> None:
    sender.settimeout(0.2)
    payload = bytes(PAYLOAD_BYTES)
    while not stop.is_set():
        try:
            sender.sendto(payload, (RIGHT, port))
        except (TimeoutError, OSError):
            continue


def _receive(receiver: socket.socket, start: float, seconds: float, frame_bytes: int) -> Received:
    frames = 0
    while receive_stamped(receiver)[1] <= start + seconds:
        frames += 1
    return Received(frames, seconds, frame_bytes)
