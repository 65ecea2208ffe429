"""Files that are there as a whole or not at all, and errors of full disks by their name."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import google_crc32c

from ..errors import CorruptFile, StoreFull

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def crc32c(data: bytes, before: int = 0) -> int:
    """Return the CRC-32C (Castagnoli) of bytes that follow those whose sum is `before`."""
    return google_crc32c.extend(before, data)


def sync_folder(folder: Path) -> None:
    """Make names in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(path: Path) -> None:
    """Make a file's content survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, content: Any) -> None:
    """Write a file with a checksum aside and rename it into place."""
    body = json.dumps(content, indent=1, allow_nan=False).encode()
    aside = path.with_name(path.name + ".new")
    aside.write_bytes(b"%08x\n%b" % (crc32c(body), body))
    sync_file(aside)
    aside.replace(path)
    sync_folder(path.parent)


def read_json(path: Path, saved: str) -> Any:
    """Read what `write_json` wrote; raises CorruptFile where it is not that."""
    data = path.read_bytes()
    body = data[9:]
    try:
        if int(data[:8], 16) != crc32c(body) or data[8:9] != b"\n":
            raise ValueError("its checksum is another")
        return json.loads(body)
    except ValueError as error:
        raise CorruptFile(path, 0, str(error), saved) from None


def checksum(path: Path) -> int:
    """Return the CRC-32C of a file."""
    total = 0
    with path.open("rb") as file:
        while part := file.read(1 << 20):
            total = crc32c(part, total)
    return total


@contextmanager
def naming_full_disks(path: Path) -> Iterator[None]:
    """Raise StoreFull in place of the system's error when a disk has no room."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StoreFull(f"{path}: {error.strerror}; accepted: writes while the disk has room") from error
        raise
