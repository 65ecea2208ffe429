"""Reads small files of a kernel file system and turns every failure into a ``Missing``."""

from __future__ import annotations

import errno
import os
import re

from fairlead_bridge.reading import Missing, MissingKind

_INTEGER = re.compile(r"[+-]?[0-9]{1,20}")
_TEXT_LIMIT_BYTES = 64 * 1024
_ENTRY_LIMIT = 16384
_NUMBER_LIMIT = 65536


class Tree:
    """A directory whose files are read as text, integers and lists; no method raises on what it finds there.

    ``label`` is the name that reasons show: the path as the kernel's documentation has it.
    """

    def __init__(self, root: str, label: str) -> None:
        self.root = root
        self.label = label

    def path(self, path: str) -> str:
        return f"{self.root}/{path}"

    def name(self, path: str) -> str:
        return f"{self.label}/{path}"

    def holds(self, path: str) -> bool:
        return os.path.exists(self.path(path))

    def text(self, path: str, limit_bytes: int = _TEXT_LIMIT_BYTES) -> str | Missing:
        """The file's text without surrounding blanks; an empty file is missing, and so is a longer one."""
        try:
            data = _read(self.path(path), limit_bytes)
        except OSError as error:
            return self._missing(path, error)
        if len(data) > limit_bytes:
            return Missing(self.name(path), f"longer than {limit_bytes} bytes", "garbled")
        text = data.decode("utf-8", "replace").strip("\0 \t\r\n")
        return text or Missing(self.name(path), "the file is empty", "garbled")

    def line(self, path: str) -> str | Missing:
        """A name or label: the first line, at most 256 printable characters."""
        text = self.text(path)
        if isinstance(text, Missing):
            return text
        line = "".join(letter for letter in text.splitlines()[0][:256] if letter.isprintable()).strip()
        return line or Missing(self.name(path), "nothing printable in it", "garbled")

    def integer(self, path: str, low: int = 0, high: int = 2**63 - 1) -> int | Missing:
        """A decimal integer in ``low..high``; anything else is missing, with the text that was found."""
        text = self.text(path)
        if isinstance(text, Missing):
            return text
        if not _INTEGER.fullmatch(text):
            return Missing(self.name(path), f"expected an integer, found {text[:40]!r}", "garbled")
        number = int(text)
        if not low <= number <= high:
            return Missing(self.name(path), f"expected {low}..{high}, found {number}", "garbled")
        return number

    def flag(self, path: str) -> bool | Missing:
        """A file that says 0 or 1."""
        number = self.integer(path, 0, 1)
        return number if isinstance(number, Missing) else number == 1

    def numbers(self, path: str) -> tuple[int, ...] | Missing:
        """A kernel list such as ``0-3,8``."""
        text = self.text(path)
        if isinstance(text, Missing):
            return text
        numbers = parse_list(text)
        return numbers or Missing(self.name(path), f"expected a list like 0-3,8, found {text[:40]!r}", "garbled")

    def entries(self, path: str) -> tuple[str, ...] | Missing:
        """The names in a directory in natural order (``cpu2`` before ``cpu10``)."""
        try:
            names = os.listdir(self.path(path))
        except OSError as error:
            return self._missing(path, error)
        return tuple(sorted(names, key=_natural)[:_ENTRY_LIMIT])

    def matches(self, path: str, pattern: str) -> tuple[str, ...]:
        """The entries whose whole name matches; none where the directory cannot be listed."""
        names = self.entries(path)
        if isinstance(names, Missing):
            return ()
        whole = re.compile(pattern)
        return tuple(name for name in names if whole.fullmatch(name))

    def target(self, path: str) -> str | Missing:
        """The last name of where a symbolic link leads, e.g. the driver of a device."""
        try:
            return os.path.basename(os.readlink(self.path(path)))
        except OSError as error:
            return self._missing(path, error)

    def _missing(self, path: str, error: OSError) -> Missing:
        return Missing(self.name(path), (error.strerror or str(error)).lower(), _kind(error))


def parse_list(text: str) -> tuple[int, ...]:
    """Numbers of a kernel list such as ``0-3,8``; empty where the text is no such list."""
    numbers: list[int] = []
    for part in text.split(","):
        low, _, high = part.partition("-")
        if not (_digits(low) and _digits(high or low)):
            return ()
        first, last = int(low), int(high or low)
        if first > last or last >= _NUMBER_LIMIT:
            return ()
        numbers.extend(range(first, last + 1))
    return tuple(sorted(set(numbers)))


def _digits(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 6


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part[:18]), "") if part.isdecimal() else (-1, part) for part in re.split(r"([0-9]+)", name)]


def _read(path: str, limit_bytes: int) -> bytes:
    # O_NONBLOCK: a FIFO in the place of a file must not hang the agent.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        parts: list[bytes] = []
        size_bytes = 0
        while size_bytes <= limit_bytes and (part := os.read(descriptor, 65536)):
            parts.append(part)
            size_bytes += len(part)
        return b"".join(parts)
    finally:
        os.close(descriptor)


def _kind(error: OSError) -> MissingKind:
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENODEV, errno.ENXIO):
        return "absent"
    if error.errno in (errno.EACCES, errno.EPERM):
        return "denied"
    return "refused"
