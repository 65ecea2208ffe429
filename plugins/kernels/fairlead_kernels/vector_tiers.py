"""Regions of memory in tiers, as a searching thread reads them: one tier object a thread.

Native tiers overlap the reads of a batch; :mod:`fairlead_kernels.reference_vector_tiers` has the same calls for memory
and files in NumPy, and stands in where there is no compiled extension.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fairlead_kernels import reference_vector_tiers as reference
from fairlead_kernels.backend import extension
from fairlead_kernels.tier_errors import TierError, TierLost, TierTimeout

__all__ = [
    "TIMEOUT",
    "Tier",
    "TierError",
    "TierLost",
    "TierTimeout",
    "file_tier",
    "memory_tier",
    "read_batch",
    "tier_memory",
]

TIMEOUT = 2.0  # seconds that a batch may take
U8 = NDArray[np.uint8]


class Tier(Protocol):
    """A region as one thread sees it. `read` and `write` raise TierLost and TierTimeout; neither ever hangs."""

    url: str
    kind: str
    size: int
    timeout: float
    direct: bool
    counters: tuple[int, int, int]  # batches, reads, bytes

    def read(self, offsets: NDArray[np.uint64], lengths: NDArray[np.uint32], out: U8) -> None:
        """Read [offsets[i], offsets[i] + lengths[i]), one behind the other, into out."""
        ...

    def write(self, offset: int, bytes: U8) -> None:
        """Write, and return when later reads see it."""
        ...


def tier_memory(size: int) -> Any:
    """Return zeroed memory of this process (`array()` is uint8 [size]), in large pages where the system has them."""
    module = extension()
    return reference.TierMemory(size) if module is None else module.TierMemory.anonymous(size)


def memory_tier(url: str, memory: Any) -> Tier:
    """Return a tier over :func:`tier_memory`; the processor loads from it directly."""
    module = extension()
    return reference.MemoryTier(url, memory) if module is None else module.memory_tier(url, memory)


def file_tier(
    url: str,
    path: str | os.PathLike[str],
    *,
    depth: int = 128,
    threads: int = 8,
    direct: bool = False,
    uring: bool = True,
    timeout: float = TIMEOUT,
    broken: Sequence[tuple[int, int]] = (),
) -> Tier:
    """Return a tier over a file's bytes.

    Args:
        url: names the region in errors.
        path: an existing regular file.
        depth: reads in flight.
        threads: that call pread where io_uring cannot be had.
        direct: read past the page cache (O_DIRECT).
        uring: use io_uring where it can be had.
        timeout: seconds a batch may take.
        broken: ranges [begin, end) that fail as a medium with bad blocks does, to test what comes of it.

    Raises:
        TierLost: the file cannot be opened, or its file system takes no O_DIRECT.
        ValueError: an option is out of its range.
    """
    module = extension()
    if module is None:
        return reference.FileTier(url, path, direct=direct, timeout=timeout, broken=broken)
    return module.file_tier(url, os.fspath(Path(path)), depth, threads, direct, uring, timeout, list(broken))


def read_batch(tier: Tier, offsets: ArrayLike, lengths: ArrayLike, out: U8 | None = None) -> U8:
    """Read ranges of a tier in one batch of independent reads.

    Args:
        tier: where from.
        offsets: in bytes, [n].
        lengths: in bytes, [n] or one for all.
        out: uint8 of at least sum(lengths); made where it is None.

    Returns:
        The bytes, one range behind the other.

    Raises:
        IndexError: a range leaves the region.
        TierError: the region cannot be read.
    """
    places = np.ascontiguousarray(offsets, np.uint64)
    sizes = np.ascontiguousarray(np.broadcast_to(np.asarray(lengths, np.uint32), places.shape))
    target = np.empty(int(sizes.sum(dtype=np.uint64)), np.uint8) if out is None else out
    tier.read(places, sizes, target)
    return target


def serving() -> Any:
    """Return the native module that has tiers of other processes, and what serves them.

    Raises:
        TierLost: there are no compiled kernels, or they are not for Linux.
    """
    module = extension()
    if module is None or not hasattr(module, "RegionServer"):
        raise TierLost("memory of other processes needs the compiled kernels on Linux")
    return module
