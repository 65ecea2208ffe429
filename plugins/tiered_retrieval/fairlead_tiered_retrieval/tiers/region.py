"""What every region offers, wherever its bytes lie."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fairlead_kernels.vector_tiers import Tier, TierError, TierLost, TierTimeout, read_batch

from ..errors import TieredRetrievalError

__all__ = ["Region", "RegionUrlError", "TierError", "TierLost", "TierTimeout"]


class RegionUrlError(TieredRetrievalError):
    """A region's URL says something that is not understood, or asks for what this machine does not have."""


class Region(ABC):
    """A range of bytes in a tier. Any number of threads may use one; native searches open one tier object each.

    Attributes:
        url: where it lies; in every error.
        kind: of tier: ``dram``, ``numa``, ``shm``, ``file``, ``memory``, ``process`` or ``ucx``.
        size: in bytes.
        piece: bytes that long reads are divided into.
    """

    piece = 1 << 16

    def __init__(self, url: str, kind: str, size: int) -> None:
        self.url, self.kind, self.size = url, kind, size
        self._own = threading.local()
        self.closed = False

    @abstractmethod
    def open_native(self) -> Tier:
        """Return a tier object for one searching thread.

        Raises:
            TierError: what holds the region does not answer, or has lost it.
        """

    def _tier(self) -> Tier:
        """Return the calling thread's own; after a failure a new one is opened, in case the region is back."""
        if self.closed:
            raise TierLost(f"{self.url}: is closed", self.url)
        tier = getattr(self._own, "tier", None)
        if tier is None:
            tier = self._own.tier = self.open_native()
        return tier

    def read_batch(
        self, offsets: ArrayLike, lengths: ArrayLike, out: NDArray[np.uint8] | None = None
    ) -> NDArray[np.uint8]:
        """Read ranges in one batch of independent reads.

        Args:
            offsets: in bytes, [n].
            lengths: in bytes, [n] or one for all.
            out: uint8 of at least sum(lengths); made where it is None.

        Returns:
            The bytes, one range behind the other.

        Raises:
            IndexError: a range leaves the region.
            TierLost: what holds the region is gone, or failed.
            TierTimeout: it did not answer in time.
        """
        try:
            return read_batch(self._tier(), offsets, lengths, out)
        except TierError:
            self._own.tier = None
            raise

    def read(self, offset: int, length: int) -> NDArray[np.uint8]:
        """Read one range, however long: in batches of 64 pieces (4 MiB)."""
        out = np.empty(length, np.uint8)
        piece, batch = self.piece, 64 * self.piece
        for begin in range(0, length, batch):
            starts = np.arange(begin, min(begin + batch, length), piece)
            sizes = np.minimum(piece, length - starts)
            self.read_batch(starts + offset, sizes, out[begin : begin + batch])
        return out

    def write(self, offset: int, data: NDArray[np.uint8] | bytes | memoryview) -> None:
        """Write bytes; reads that begin afterwards see them.

        Raises:
            IndexError: the range leaves the region.
            TierError: as for reads, and where there is no room (a full disk).
        """
        flat = np.frombuffer(data, np.uint8) if not isinstance(data, np.ndarray) else as_bytes(data)
        try:
            self._tier().write(offset, flat)
        except TierError:
            self._own.tier = None
            raise

    def close(self) -> None:
        """Give the region back; tier objects that are open stay usable."""
        self.closed = True
        self._own = threading.local()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()


def as_bytes(array: NDArray) -> NDArray[np.uint8]:
    """Return a contiguous array's bytes as uint8 [bytes]."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)
