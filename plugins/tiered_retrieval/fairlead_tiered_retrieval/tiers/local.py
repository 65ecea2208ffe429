"""Regions on this machine that need nobody else: main memory, and a file."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from fairlead_kernels import vector_tiers
from fairlead_kernels.vector_tiers import Tier

from .region import Region, RegionUrlError, TierLost


class DramRegion(Region):
    """Memory of this process; gone with it."""

    def __init__(self, url: str, size: int) -> None:
        super().__init__(url, "dram", size)
        try:
            self.memory = vector_tiers.tier_memory(size)
        except (MemoryError, RuntimeError) as error:
            raise TierLost(f"{url}: {size} bytes of memory cannot be had: {error}", url) from error

    def open_native(self) -> Tier:
        """Return a tier object for one searching thread."""
        return vector_tiers.memory_tier(self.url, self.memory)


class FileRegion(Region):
    """A file's bytes. It stays when the region is closed.

    Args:
        url: names the region.
        path: of the file; made where it is missing and a size is given.
        size: in bytes; None: the file's.
        direct: read past the page cache.
        depth: reads in flight for each tier object.
        timeout: seconds that a batch may take.
        uring: use io_uring where it can be had.

    Raises:
        RegionUrlError: the file is missing and no size is given, or it is smaller.
        TierLost: it cannot be made (no room), opened or read in this way.
    """

    def __init__(
        self,
        url: str,
        path: Path,
        size: int | None = None,
        *,
        direct: bool = False,
        depth: int = 128,
        timeout: float = vector_tiers.TIMEOUT,
        uring: bool = True,
    ) -> None:
        super().__init__(url, "file", reserve(url, path, size))
        self.path = path
        self._options = {"direct": direct, "depth": depth, "timeout": timeout, "uring": uring}
        self.open_native()  # says now what would not work later

    def open_native(self) -> Tier:
        """Return a tier object for one searching thread."""
        return vector_tiers.file_tier(self.url, self.path, **self._options)


def reserve(url: str, path: Path, size: int | None) -> int:
    """Make a file of a size, its blocks reserved, unless it is there; return its size."""
    if path.is_file():
        there = path.stat().st_size
        if size is not None and there < size:
            raise RegionUrlError(f"{url}: {path} has {there} bytes, {size} are asked for")
        return there
    if size is None:
        raise RegionUrlError(f"{url}: {path} does not exist; say size=BYTES to make it")
    try:
        _make(path, size)
    except OSError as error:
        path.unlink(missing_ok=True)
        room = " (no room)" if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) else ""
        raise TierLost(
            f"{url}: {size} bytes in {path} cannot be had{room}: {os.strerror(error.errno or 0)}", url
        ) from error
    return size


def _make(path: Path, size: int) -> None:
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        if size > 0:
            os.posix_fallocate(file, 0, size)
    finally:
        os.close(file)


NODES = Path("/sys/devices/system/node")


class NumaRegion(Region):
    """Memory of one NUMA node: another processor's, or CXL memory that the system shows as a node without processors.

    Raises:
        RegionUrlError: there is no such node, or it has not so much memory free.
    """

    def __init__(self, url: str, node: int, size: int, nodes: Path = NODES) -> None:
        super().__init__(url, "numa", size)
        folder = nodes / f"node{node}"
        if not folder.is_dir():
            there = sorted(each.name.removeprefix("node") for each in nodes.glob("node[0-9]*"))
            raise RegionUrlError(f"{url}: no NUMA node {node}; this machine has {', '.join(there) or 'none'}")
        free = _free(folder)
        if size > free:
            raise RegionUrlError(f"{url}: size {size}: node {node} has {free} bytes free")
        self.has_processors = bool((folder / "cpulist").read_text().strip())
        try:
            self.memory = vector_tiers.serving().TierMemory.on_node(size, node)
        except RuntimeError as error:
            raise TierLost(f"{url}: {error}", url) from error

    def open_native(self) -> Tier:
        """Return a tier object for one searching thread."""
        return vector_tiers.memory_tier(self.url, self.memory)


def _free(folder: Path) -> int:
    for line in (folder / "meminfo").read_text().splitlines():
        words = line.split()
        if "MemFree:" in words:
            return int(words[words.index("MemFree:") + 1]) * 1024
    return 0
