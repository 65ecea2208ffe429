"""All vectors of a collection as they were given, in one file by slot: what indexes are built and rebuilt from.

A page with a head, then rows. Room is allocated before it is written, so that a full disk is an error at once and never
a signal in the middle of a search that reads the mapped rows.
"""

from __future__ import annotations

import mmap
import os
import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import CorruptFile
from ..space import ELEMENTS, Space
from .files import crc32c, naming_full_disks, sync_folder

HEAD_BYTES = 4096
_HEAD = struct.Struct("<8sHxxI")
_MAGIC = b"FLROWS\x00\x01"
_LEAST_BYTES = 1 << 16


class VectorFile:
    """Rows by slot. One thread writes; any number read `rows`, of slots that are not being written.

    Args:
        path: of the file; made when missing.
        space: of the vectors.
    """

    def __init__(self, path: Path, space: Space) -> None:
        self.path, self.space = path, space
        fresh = not path.exists()
        with naming_full_disks(path):
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                if fresh or not os.fstat(self._file).st_size:
                    os.posix_fallocate(self._file, 0, HEAD_BYTES)
                    os.pwrite(self._file, _head(space), 0)
                    sync_folder(path.parent)
                self._check()
            except BaseException:
                os.close(self._file)
                raise
        self.rows = self._mapped()

    def write(self, slots: NDArray[np.int64], vectors: NDArray) -> None:
        """Write rows; raises StoreFull where there is no room for them."""
        if not len(slots):
            return
        self._grow(int(slots.max()) + 1)
        ends = np.flatnonzero(np.diff(slots) != 1) + 1
        for start, end in zip((0, *ends.tolist()), (*ends.tolist(), len(slots)), strict=True):
            data = memoryview(np.ascontiguousarray(vectors[start:end])).cast("B")
            self._write(data, HEAD_BYTES + int(slots[start]) * self.space.bytes)

    def sync(self) -> None:
        """Make all rows durable."""
        os.fsync(self._file)

    def copy(self, path: Path, count: int) -> None:
        """Copy the first rows to a new file; those that are written meanwhile may be torn there."""
        end = HEAD_BYTES + min(count, len(self.rows)) * self.space.bytes
        with naming_full_disks(path), path.open("xb") as target:
            at = 0
            while at < end:
                copied = os.sendfile(target.fileno(), self._file, at, min(1 << 26, end - at))
                if not copied:
                    raise CorruptFile(self.path, at, "it ends here", "rows before it can be saved")
                at += copied
            os.fsync(target.fileno())

    @property
    def bytes(self) -> int:
        """Of the file."""
        return os.fstat(self._file).st_size

    def close(self) -> None:
        """Close the file; rows that are mapped stay readable to those who hold them."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _check(self) -> None:
        head = os.pread(self._file, _HEAD.size + 4, 0)
        if head != _head(self.space):
            problem = f"its head is not that of {self.space.element} vectors of {self.space.dim} dimensions"
            raise CorruptFile(self.path, 0, problem, "texts and metadata can be saved from documents.sqlite")

    def _grow(self, count: int) -> None:
        needed = HEAD_BYTES + count * self.space.bytes
        size = os.fstat(self._file).st_size
        if needed > size:
            with naming_full_disks(self.path):
                more = max(needed, size + max(_LEAST_BYTES, size // 8))
                try:
                    os.posix_fallocate(self._file, size, more - size)
                except OSError:
                    if more == needed:
                        raise
                    os.posix_fallocate(self._file, size, needed - size)
        if count > len(self.rows):
            self.rows = self._mapped()

    def _mapped(self) -> NDArray:
        count = (os.fstat(self._file).st_size - HEAD_BYTES) // self.space.bytes
        if count <= 0:
            return np.zeros((0, self.space.columns), self.space.dtype)
        whole = mmap.mmap(self._file, HEAD_BYTES + count * self.space.bytes, access=mmap.ACCESS_READ)
        rows = np.frombuffer(whole, self.space.dtype, count * self.space.columns, HEAD_BYTES)
        return rows.reshape(count, self.space.columns)

    def _write(self, data: memoryview, at: int) -> None:
        with naming_full_disks(self.path):
            while data:
                written = os.pwrite(self._file, data, at)
                data, at = data[written:], at + written


def _head(space: Space) -> bytes:
    head = _HEAD.pack(_MAGIC, ELEMENTS.index(space.element), space.dim)
    return head + crc32c(head).to_bytes(4, "little")
