"""A region that can be moved to another tier while it is read and written."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels.vector_tiers import Tier, serving

from .region import Region, TierError, TierLost, as_bytes

CHUNK = 1 << 20


class MoveError(TierError):
    """A region was not moved; it is where it was, whole."""


class _Home:
    """A region and how many tier objects read it; closed when nobody does and it was left."""

    def __init__(self, region: Region) -> None:
        self.region = region
        self._lock = threading.RLock()
        self._readers = 0
        self._left = False

    def open(self) -> Tier:
        with self._lock:
            tier = self.region.open_native()
            self._readers += 1
        weakref.finalize(tier, self._gone)
        return tier

    def leave(self) -> None:
        with self._lock:
            self._left = True
            self._close_if_unused()

    def _gone(self) -> None:
        with self._lock:
            self._readers -= 1
            self._close_if_unused()

    def _close_if_unused(self) -> None:
        if self._left and self._readers == 0:
            self.region.close()


class MovableRegion(Region):
    """Reads and writes go to where the region lies now.

    A thread that searches natively holds a tier object of one home; where `generation` has grown it opens a new one.
    The old home is closed (its memory given back) once the last of its tier objects is gone. What is written while it
    moves must be written here, not to a tier object.

    Attributes:
        generation: grows with each move.
    """

    def __init__(self, region: Region) -> None:
        super().__init__(region.url, region.kind, region.size)
        self._home = _Home(region)
        self._target: Region | None = None
        self._failed: TierError | None = None
        self._lock = threading.Lock()  # writes, and the copying of a chunk
        self._moving = threading.Lock()
        self.generation = 0

    @property
    def region(self) -> Region:
        """Where it lies."""
        return self._home.region

    def open_native(self) -> Tier:
        """Return a tier object of the present home."""
        return self._home.open()

    def _tier(self) -> Tier:
        if getattr(self._own, "generation", None) != self.generation:
            self._own.tier, self._own.generation = None, self.generation
        return super()._tier()

    def write(self, offset: int, data: NDArray[np.uint8] | bytes | memoryview) -> None:
        """Write; while a move is under way to both homes. A fault of the new one ends the move, not the write."""
        flat = np.frombuffer(data, np.uint8) if not isinstance(data, np.ndarray) else as_bytes(data)
        with self._lock:
            self.region.write(offset, flat)
            if self._target is None or self._failed is not None:
                return
            try:
                self._target.write(offset, flat)
            except TierError as error:
                self._failed = error

    def move(
        self,
        target: Region,
        *,
        told: Callable[[float], None] | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        """Copy to another region of at least this size, check the copy, and live there from then on.

        Args:
            target: its bytes are overwritten. It belongs to this object once the move has ended well.
            told: is told the share that is done, 0 to 1; what it raises ends the move.
            stop: ends the move when it is set.

        Raises:
            MoveError: the target is too small, failed, holds other bytes than were written, or the move was stopped.
                The region serves from where it was.
        """
        if target.size < self.size:
            raise MoveError(f"{self.url}: {target.url} has {target.size} bytes, {self.size} are needed", self.url)
        if not self._moving.acquire(blocking=False):
            raise MoveError(f"{self.url}: is being moved already", self.url)
        try:
            with self._lock:
                self._target, self._failed = target, None
            self._each_chunk(self._copy, target, told, stop, 0.0)
            self._each_chunk(self._check, target, told, stop, 0.5)
            self._switch(target)
        finally:
            with self._lock:
                self._target = None
            self._moving.release()

    def _each_chunk(
        self,
        work: Callable[[Region, int, int], None],
        target: Region,
        told: Callable[[float], None] | None,
        stop: threading.Event | None,
        before: float,
    ) -> None:
        for begin in range(0, self.size, CHUNK):
            if stop is not None and stop.is_set():
                raise MoveError(f"{self.url}: the move was stopped", self.url)
            with self._lock:
                self._raise_failed(target)
                try:
                    work(target, begin, min(CHUNK, self.size - begin))
                except TierError as error:
                    raise MoveError(f"{self.url}: not moved to {target.url}: {error}", self.url) from error
            if told is not None:
                told(before + 0.5 * min(1.0, (begin + CHUNK) / self.size))

    # A write comes before a chunk's copy, and is copied, or after it, and goes to both.
    def _copy(self, target: Region, begin: int, length: int) -> None:
        target.write(begin, self.region.read(begin, length))

    def _check(self, target: Region, begin: int, length: int) -> None:
        crc32c = serving().crc32c
        if crc32c(self.region.read(begin, length), 0) != crc32c(target.read(begin, length), 0):
            raise TierLost(f"{target.url}: {length} bytes at offset {begin} are not what was written there", target.url)

    def _raise_failed(self, target: Region) -> None:
        if self._failed is not None:
            raise MoveError(f"{self.url}: not moved to {target.url}: {self._failed}", self.url) from self._failed

    def _switch(self, target: Region) -> None:
        with self._lock:
            self._raise_failed(target)
            left, self._home = self._home, _Home(target)
            self.url, self.kind = target.url, target.kind
            self.generation += 1
        left.leave()

    def close(self) -> None:
        """Give the region back once nobody reads it."""
        if not self.closed:
            super().close()
            self._home.leave()


def move(region: MovableRegion, target: Region, told: Callable[[float], None] | None = None) -> None:
    """Move a region while it serves; see :meth:`MovableRegion.move`."""
    region.move(target, told=told)
