"""Network namespaces: make one, enter one for the time of a block, in this thread alone.

What is opened inside (sockets, TUN devices) stays in its namespace after the thread has left it.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_CLONE_NEWNET = 0x40000000
_NAMED = "/run/netns"  # where iproute2 keeps names


class NetworkNamespace:
    """An open namespace; it lives at least until it is closed. To be used as a context manager, or closed."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    @classmethod
    def new(cls) -> NetworkNamespace:
        """A fresh one, with nothing but a loopback link that is down; OSError without CAP_SYS_ADMIN."""
        return cls(_in_a_thread(_unshare))

    @classmethod
    def named(cls, reference: str) -> NetworkNamespace:
        """By iproute2's name, by the number of a process in it, or by a path; OSError names what is not there."""
        if reference.isdecimal():
            path = f"/proc/{reference}/ns/net"
        else:
            path = reference if "/" in reference else f"{_NAMED}/{reference}"
        return cls(os.open(path, os.O_RDONLY | os.O_CLOEXEC))

    @classmethod
    def current(cls) -> NetworkNamespace:
        """The calling thread's."""
        return cls(_open_own())

    @contextmanager
    def entered(self) -> Iterator[None]:
        """This thread is in the namespace inside the block; OSError where that is not permitted."""
        with NetworkNamespace.current() as before:
            _call("setns", self.descriptor, _CLONE_NEWNET)
            try:
                yield
            finally:
                _call("setns", before.descriptor, _CLONE_NEWNET)

    def close(self) -> None:
        """Let the namespace go, where nothing else holds it."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def __enter__(self) -> NetworkNamespace:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _unshare() -> int:
    _call("unshare", _CLONE_NEWNET)
    return _open_own()


def _open_own() -> int:
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def _in_a_thread(work: Callable[[], int]) -> int:
    """The result of ``work`` in a thread that then ends: what it did to itself is gone with it."""
    found: list[int | OSError] = []

    def run() -> None:
        try:
            found.append(work())
        except OSError as error:
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if isinstance(found[0], OSError):
        raise found[0]
    return found[0]


def _call(name: str, *arguments: int) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if getattr(library, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
