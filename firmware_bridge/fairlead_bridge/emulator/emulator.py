"""Carries packets between two TUN devices as two pure directions say: the only part that reads a clock."""

from __future__ import annotations

import errno
import os
import select
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass
from random import Random

from fairlead_bridge.emulator.conditions import Conditions
from fairlead_bridge.emulator.direction import Counts, Direction
from fairlead_bridge.emulator.timer import Timer
from fairlead_bridge.emulator.tun import Tun, open_tun
from fairlead_bridge.network_namespace import NetworkNamespace

_PACKET_BYTES = 65536
_BATCH = 64
_REFUSED = (errno.EAGAIN, errno.EIO, errno.EINVAL, errno.ENOBUFS)


@dataclass(frozen=True, slots=True)
class End:
    """One end of the link: a device of this name and address, in this namespace (None: the thread's own)."""

    name: str
    address: str | None = None
    namespace: NetworkNamespace | None = None


@dataclass(frozen=True, slots=True)
class LinkCounts:
    """``refused`` packets had arrived when a device did not take them: it was down, or its reader too slow."""

    forward: Counts
    backward: Counts
    refused: int


class LinkEmulator:
    """A link between two ends, from ``start`` to ``close``. ``forward`` is from left to right.

    It runs in a thread of its own. Each direction draws its random numbers from ``seed`` alone, so that the fate of the
    n-th packet of a direction is the same in every run.
    """

    def __init__(
        self,
        left: End,
        right: End,
        forward: Conditions,
        backward: Conditions | None = None,
        *,
        seed: int = 0,
        mtu_bytes: int = 1500,
        realtime: bool = False,
    ) -> None:
        """Make both devices. ``realtime``: the thread goes before all that are not, where that is permitted, so that
        packets leave on time on a busy machine too; ``is_realtime`` says whether it does.

        Raises:
            OSError: no TUN devices here, none permitted, or a name is taken.
        """
        self._stack = ExitStack()
        try:
            self.left, self.right = (self._open(end, mtu_bytes) for end in (left, right))
            self._timer = Timer()
            self._stack.callback(self._timer.close)
            self._stopping = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
            self._stack.callback(os.close, self._stopping)
        except BaseException:
            self._stack.close()
            raise
        now_s = time.monotonic()
        self._forward = Direction(forward, Random(f"{seed} forward"), now_s)
        self._backward = Direction(backward or forward, Random(f"{seed} backward"), now_s)
        self._refused = 0
        self._realtime = realtime
        self.is_realtime = False
        self._thread = threading.Thread(target=self._run, name="link emulator", daemon=True)

    def start(self) -> LinkEmulator:
        """Carry packets from now on."""
        self._thread.start()
        return self

    def close(self) -> LinkCounts:
        """Stop, remove the devices, and say what passed."""
        if self._stopping >= 0:
            os.eventfd_write(self._stopping, 1)
            if self._thread.ident is not None:
                self._thread.join()
            self._stack.close()
            self._stopping = -1
        return self.counts

    def __enter__(self) -> LinkEmulator:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def counts(self) -> LinkCounts:
        """What passed so far."""
        return LinkCounts(self._forward.counts, self._backward.counts, self._refused)

    def _open(self, end: End, mtu_bytes: int) -> Tun:
        if end.namespace is None:
            tun = open_tun(end.name, end.address, mtu_bytes)
        else:
            with end.namespace.entered():
                tun = open_tun(end.name, end.address, mtu_bytes)
        self._stack.callback(tun.close)
        return tun

    def _run(self) -> None:
        if self._realtime:
            self.is_realtime = _first_in_line()
        with select.epoll() as waiting:
            for descriptor in (self.left.descriptor, self.right.descriptor, self._timer.descriptor, self._stopping):
                waiting.register(descriptor, select.EPOLLIN)
            while True:
                ready = {descriptor for descriptor, _ in waiting.poll()}
                if self._stopping in ready:
                    return
                self._timer.clear()
                for tun, direction in ((self.left, self._forward), (self.right, self._backward)):
                    if tun.descriptor in ready:
                        self._read(tun, direction)
                self._deliver()

    def _read(self, tun: Tun, direction: Direction) -> None:
        for _ in range(_BATCH):
            try:
                packet = os.read(tun.descriptor, _PACKET_BYTES)
            except OSError as error:
                if error.errno not in _REFUSED:
                    raise
                return
            direction.offer(packet, time.monotonic())

    def _deliver(self) -> None:
        for direction, tun in ((self._forward, self.right), (self._backward, self.left)):
            for packet in direction.take(time.monotonic()):
                try:
                    os.write(tun.descriptor, packet)
                except OSError as error:
                    if error.errno not in _REFUSED:
                        raise
                    self._refused += 1
        times = [at_s for direction in (self._forward, self._backward) if (at_s := direction.next_s) is not None]
        self._timer.set(min(times, default=None))


def _first_in_line() -> bool:
    """Schedule the calling thread (0) in real time, at the lowest such priority; False where that is not permitted."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except OSError:
        return False
    return True
