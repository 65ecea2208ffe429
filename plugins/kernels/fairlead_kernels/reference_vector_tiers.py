"""Tiers in NumPy: memory, and a file by pread. One read after the other; errors and results as native tiers'."""

from __future__ import annotations

import errno
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels.tier_errors import TierLost

U8 = NDArray[np.uint8]


class TierMemory:
    """Zeroed memory of this process."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._array = np.zeros(size, np.uint8)

    def array(self) -> U8:
        """Return it as uint8 [size]."""
        return self._array


class _Tier(ABC):
    kind = ""
    direct = False

    def __init__(self, url: str, size: int, timeout: float) -> None:
        self.url, self.size, self.timeout = url, size, timeout
        self.counters = (0, 0, 0)

    def read(self, offsets: NDArray[np.uint64], lengths: NDArray[np.uint32], out: U8) -> None:
        if int(lengths.sum(dtype=np.uint64)) > len(out):
            raise ValueError("out: is smaller than the sum of lengths")
        ranges = [(int(offset), int(length)) for offset, length in zip(offsets, lengths, strict=True)]
        for offset, length in ranges:
            self._check(offset, length)
        at = 0
        for offset, length in ranges:
            out[at : at + length] = self._fetch(offset, length)
            at += length
        batches, reads, count = self.counters
        self.counters = (batches + 1, reads + len(ranges), count + at)

    def _check(self, offset: int, length: int) -> None:
        if offset + length > self.size:
            raise IndexError(f"{self.url}: {length} bytes at offset {offset} leave the region of {self.size} bytes")

    @abstractmethod
    def _fetch(self, offset: int, length: int) -> U8:
        """Return the bytes of a range that lies within the region."""


class MemoryTier(_Tier):
    """Memory of this process."""

    kind = "dram"
    direct = True

    def __init__(self, url: str, memory: TierMemory) -> None:
        super().__init__(url, memory.size, 2.0)
        self._memory = memory.array()

    def _fetch(self, offset: int, length: int) -> U8:
        return self._memory[offset : offset + length]

    def write(self, offset: int, bytes: U8) -> None:
        self._check(offset, len(bytes))
        self._memory[offset : offset + len(bytes)] = bytes


class FileTier(_Tier):
    """A file's bytes; O_DIRECT is left to native tiers."""

    kind = "file"

    def __init__(
        self,
        url: str,
        path: str | os.PathLike[str],
        *,
        direct: bool = False,
        timeout: float = 2.0,
        broken: Sequence[tuple[int, int]] = (),
    ) -> None:
        if direct:
            raise TierLost(f"{url}: reading past the page cache needs the compiled kernels", url)
        self._path, self._broken = os.fspath(path), list(broken)
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            super().__init__(url, os.fstat(self._file).st_size, timeout)
        except OSError as error:
            raise TierLost(f"{url}: {self._path}: {error.strerror}", url) from error

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            os.close(self._file)

    def _fetch(self, offset: int, length: int) -> U8:
        if any(offset < end and begin < offset + length for begin, end in self._broken):
            raise self._failed(offset, length, os.strerror(errno.EIO))
        got = os.pread(self._file, length, offset)
        if len(got) < length:
            raise self._failed(offset, length, "the file ends before them: truncated?")
        return np.frombuffer(got, np.uint8)

    def _failed(self, offset: int, length: int, why: str) -> TierLost:
        return TierLost(f"{self.url}: {length} bytes at offset {offset} cannot be read: {why}", self.url)

    def write(self, offset: int, bytes: U8) -> None:
        self._check(offset, len(bytes))
        data, at = memoryview(bytes.tobytes()), 0
        while at < len(data):
            try:
                at += os.pwrite(self._file, data[at:], offset + at)
            except OSError as error:
                text = f"{len(data) - at} bytes at offset {offset + at} cannot be written: {error.strerror}"
                raise TierLost(f"{self.url}: {text}", self.url) from error
