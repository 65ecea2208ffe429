"""A region's memory as a memory node holds it: mapped here, by TCP, by one-sided reads, and in shared memory."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import os
import secrets
import threading
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from fairlead_kernels.vector_tiers import serving

SHARED = Path("/dev/shm")
GUARDS = 512  # eight bytes each, one page


def shared_path(name: str) -> Path:
    """Return where a shared region's bytes lie."""
    return SHARED / f"fairlead-{name}"


def ring_path(name: str) -> Path:
    """Return where clients ask for its bytes; a region's name cannot have the colon."""
    return SHARED / f"fairlead-{name}:ring"


def map_file(path: Path, size: int, *, make: bool, writable: bool = True) -> Any:
    """Map a file, made with its blocks unmapped (`make`) or as it is."""
    flags = (os.O_RDWR if writable else os.O_RDONLY) | os.O_CLOEXEC | ((os.O_CREAT | os.O_EXCL) if make else 0)
    file = os.open(path, flags, 0o600)
    try:
        if make:
            room = os.fstatvfs(file)
            if room.f_frsize and size > room.f_bavail * room.f_frsize:  # touching what is not there ends a process
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
            os.ftruncate(file, size)
        return serving().TierMemory.mapped(file, size, writable)
    finally:
        os.close(file)


class Guards:
    """Eight bytes for each region that was ever lent, zero once it is not: one-sided readers look at them.

    Pages are kept as long as the process lives, so that nothing else ever lies there.
    """

    _pages: ClassVar[list[np.ndarray]] = []

    def __init__(self) -> None:
        self._next = 0
        self._page = np.empty(0, np.uint64)

    def new(self) -> tuple[int, int, np.ndarray]:
        """Return address, value and the word itself."""
        slot = self._next % GUARDS
        if slot == 0:
            self._page = np.frombuffer(mmap.mmap(-1, GUARDS * 8), np.uint64)
            Guards._pages.append(self._page)
        self._next += 1
        word = self._page[slot : slot + 1]
        word[0] = value = secrets.randbits(63) | 1
        return word.ctypes.data, value, word


def lock_shared(name: str, paths: list[Path]) -> int:
    """Return a descriptor that keeps a name's lock while it is open; clears what a node that died left behind.

    Raises:
        FileExistsError: a node that lives lends the name in shared memory.
    """
    lock = os.open(SHARED / f"fairlead-{name}:lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(lock)
        raise FileExistsError(errno.EEXIST, "another memory node on this machine lends the name", name) from error
    if paths[1].exists():
        for path in paths:
            path.unlink(missing_ok=True)
    return lock


class LentMemory:
    """A region's memory and everything that serves it.

    Args:
        name: the region's.
        size: in bytes.
        guards: the node's.
        shared: also in shared memory, by a ring that a thread of this process serves.

    Raises:
        OSError: the memory cannot be had.
    """

    def __init__(self, name: str, size: int, guards: Guards, shared: bool) -> None:
        native = serving()
        self.name, self.size = name, size
        self._paths = [shared_path(name), ring_path(name)] if shared else []
        self.ring: Any = None
        self._ucx: Any = None
        self._lock = -1
        try:
            self._lock = lock_shared(name, self._paths) if shared else -1
            self.memory = map_file(self._paths[0], size, make=True) if shared else native.TierMemory.anonymous(size)
            if shared:
                self.ring = native.SharedServer(self.memory, map_file(self._paths[1], native.RING_BYTES, make=True))
        except FileExistsError:
            raise
        except (OSError, RuntimeError):
            self._unlink()
            raise
        self.lent = native.LentRegion(self.memory)
        self.guard_address, self.guard_value, self._guard = guards.new()
        if self.ring is not None:
            self._thread = threading.Thread(target=self.ring.serve, name=f"ring of {name}", daemon=True)
            self._thread.start()

    def place(self) -> dict[str, int]:
        """Return where one-sided readers on this machine find it."""
        return {
            "pid": os.getpid(),
            "address": self.memory.address,
            "guard_address": self.guard_address,
            "guard_value": self.guard_value,
        }

    def offer(self, ucx: Any) -> bytes:
        """Let others read it by UCX; return what they need for it."""
        self._ucx = ucx
        return ucx.offer(self.memory)

    def statistics(self) -> dict[str, int]:
        """Return what was read and written; one-sided reads leave no trace."""
        seen = dict(self.lent.statistics)
        if self.ring is not None:
            seen["reads"] += self.ring.reads
            seen["bytes_read"] += self.ring.bytes
        return seen

    def end(self) -> None:
        """Serve it no more; its memory is free once no connection holds it."""
        self._guard[0] = 0
        if self._ucx is not None:
            self._ucx.withdraw(self.memory)
        self.lent.end()
        if self.ring is not None:
            self.ring.stop()
            self._thread.join()
        self._unlink()

    def _unlink(self) -> None:
        for path in self._paths:
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
        if self._lock >= 0:
            (SHARED / f"fairlead-{self.name}:lock").unlink(missing_ok=True)
            os.close(self._lock)
            self._lock = -1
