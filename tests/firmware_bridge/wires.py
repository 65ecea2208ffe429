"""Two network namespaces with a wire between them, and real traffic over it."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import pytest

from fairlead_bridge.network_namespace import NetworkNamespace

PAYLOAD_BYTES = 1400
FRAME_BYTES = PAYLOAD_BYTES + 8 + 20 + 14
LEFT, RIGHT = "192.0.2.1", "192.0.2.2"


@dataclass(frozen=True, slots=True)
class Wire:
    """``left`` and ``right`` are in the namespaces of their name; traffic of the tests goes from left to right."""

    left: NetworkNamespace
    right: NetworkNamespace


@dataclass(frozen=True, slots=True)
class Received:
    """What came in: frames as the kernel counts them, from the first to the last."""

    frames: int
    seconds: float

    @property
    def bits_per_s(self) -> float:
        return max(0, self.frames - 1) * FRAME_BYTES * 8 / max(self.seconds, 1e-9)


def tc(*arguments: str) -> str:
    """What tc says in the namespace that this thread is in."""
    return subprocess.run(["tc", *arguments], capture_output=True, text=True, timeout=10, check=True).stdout


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


def flood(wire: Wire, seconds: float, *, source_port: int = 0, port: int = 5000) -> Received:
    """Send datagrams as fast as the link takes them; what arrived within ``seconds`` after the first."""
    with ExitStack() as stack:
        with wire.right.entered():
            receiver = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            receiver.bind((RIGHT, port))
        with wire.left.entered():
            sender = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            sender.bind((LEFT, source_port))
        # A small buffer: the sender waits for the link, and not in the queue of the socket.
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * 1024)
        receiver.settimeout(2.0)
        stop = threading.Event()
        thread = threading.Thread(target=_send, args=(sender, port, stop))
        thread.start()
        try:
            return _receive(receiver, seconds)
        finally:
            stop.set()
            thread.join()


def _send(sender: socket.socket, port: int, stop: threading.Event) -> None:
    sender.settimeout(0.2)
    payload = bytes(PAYLOAD_BYTES)
    while not stop.is_set():
        try:
            sender.sendto(payload, (RIGHT, port))
        except (TimeoutError, OSError):
            continue


def _receive(receiver: socket.socket, seconds: float) -> Received:
    receiver.recv(2048)
    start = last = time.monotonic()
    frames = 1
    while last - start < seconds:
        receiver.recv(2048)
        last = time.monotonic()
        frames += 1
    return Received(frames, last - start)
