"""A write-ahead log: what was appended is there after any crash, in order, whole.

A folder of segments named by the number of their first entry. A segment begins with a head; frames follow. One frame
is one `append`, of one or many entries, under one CRC-32C, and the next is written only after it is on the disk. So a
bad frame with nothing behind it is an append that never ended (torn, nobody was told of it, cut off), while a bad frame
with a good one behind it is damage. (Group commit: Gawlick and Kinkade, Varieties of concurrency control in IMS/VS,
1985.)
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import CorruptFile, StoreFull
from .files import crc32c, naming_full_disks, sync_folder

_HEAD = struct.Struct("<8sQI")
_MAGIC = b"FLWAL\x00\x00\x01"
_FRAME = struct.Struct("<4sII")
_FRAME_MAGIC = b"\xf1FRM"
#: After the sum: number of the first entry, how many.
_BODY = struct.Struct("<QI")
_LENGTH = struct.Struct("<I")
MOST_FRAME_BYTES = 1 << 30
SEGMENT_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Frame:
    """One append as it lies in a segment: entries from number `first` on, and the byte after it."""

    first: int
    entries: tuple[bytes, ...]
    end: int


class Log:
    """The log of one folder; only one at a time may be open.

    Args:
        folder: of the segments; made when missing.
        segment_bytes: after which a new segment begins.
        skip_damage: read over damage in place of raising CorruptFile; what was skipped is in `damage`.
        sync: makes written bytes durable.

    Raises:
        CorruptFile: a segment is damaged where it cannot be a torn end, or one is missing.
    """

    def __init__(
        self,
        folder: Path,
        *,
        segment_bytes: int = SEGMENT_BYTES,
        skip_damage: bool = False,
        sync: Callable[[int], None] = os.fdatasync,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self._segment_bytes, self._sync = folder, segment_bytes, sync
        self.damage: list[CorruptFile] = []
        self._skip = skip_damage
        self._file, self._at, self._size, self._last = -1, Path(), 0, (0, 0)
        self.next = 1
        for _ in self._frames(0, cut=True):
            pass

    def replay(self, after: int) -> Iterator[tuple[int, bytes]]:
        """Yield number and bytes of each entry after a number; one frame at a time is in memory."""
        for frame in self._frames(after, cut=False):
            for number, entry in enumerate(frame.entries, frame.first):
                if number > after:
                    yield number, entry

    def begin_after(self, number: int) -> None:
        """Number what is appended to an empty log from there on."""
        self.next = max(self.next, number + 1)

    def append(self, entries: Sequence[bytes]) -> int:
        """Append entries together and make them durable; return the first one's number.

        Raises:
            StoreFull: nothing was appended.
            ValueError: they are too long for one frame.
        """
        frame = _framed(self.next, entries)
        if len(frame) > MOST_FRAME_BYTES:
            raise ValueError(f"{len(frame)} bytes in one append; accepted: up to {MOST_FRAME_BYTES}")
        with naming_full_disks(self.folder):
            if self._file < 0 or self._size >= self._segment_bytes:
                self._begin_segment()
            before = self._size
            try:
                _write(self._file, frame, before)
                self._sync(self._file)
            except BaseException:
                self._cut(before)
                raise
        self._last, self._size = (before, self.next), before + len(frame)
        self.next += len(entries)
        return self._last[1]

    def undo(self) -> None:
        """Take the last append back, which nobody was told of."""
        if self._file >= 0 and self._last[0]:
            self._cut(self._last[0])
            self._size, self.next = self._last
            self._last = (0, 0)

    def rotate(self) -> None:
        """Begin a new segment with the next append."""
        self.close()

    def drop(self, up_to: int) -> None:
        """Remove the segments whose entries all have numbers up to one."""
        segments = self._segments()
        following = [*(first for first, _ in segments), self.next][1:]
        for (_, path), end in zip(segments, following, strict=True):
            if end - 1 <= up_to and not (self._file >= 0 and path == self._at):
                path.unlink()
        sync_folder(self.folder)

    def missing(self, wanted: int) -> None:
        """Note that entries from a number on are not there; raises CorruptFile unless damage is to be skipped."""
        path = self._segments()[0][1]
        self._damaged(CorruptFile(path, 0, f"entries {wanted} to {self.first - 1} are missing", _SAVED_NONE))

    @property
    def first(self) -> int:
        """Number of the first entry that is there; `next` where there is none."""
        segments = self._segments()
        return segments[0][0] if segments else self.next

    @property
    def bytes(self) -> int:
        """Of all segments."""
        return sum(path.stat().st_size for _, path in self._segments())

    def close(self) -> None:
        """Close the file; the next append begins a segment."""
        if self._file >= 0:
            os.close(self._file)
            self._file, self._last = -1, (0, 0)

    def _segments(self) -> list[tuple[int, Path]]:
        return sorted((int(path.stem), path) for path in self.folder.glob("*.log") if path.stem.isdecimal())

    def _begin_segment(self) -> None:
        self.close()
        path = self.folder / f"{self.next:020}.log"
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        try:
            head = _HEAD.pack(_MAGIC, self.next, crc32c(_MAGIC + self.next.to_bytes(8, "little")))
            _write(file, head, 0)
            sync_folder(self.folder)
        except BaseException:
            os.close(file)
            path.unlink(missing_ok=True)
            raise
        self._file, self._at, self._size = file, path, _HEAD.size

    def _cut(self, size: int) -> None:
        """Forget what lies behind a byte. What cannot be cut now is overwritten by the next append."""
        try:
            os.ftruncate(self._file, size)
            self._sync(self._file)
        except OSError as error:
            raise StoreFull(f"{self.folder}: an append could not be taken back: {error}") from error

    def _frames(self, after: int, cut: bool) -> Iterator[Frame]:
        segments = self._segments()
        expected = segments[0][0] if segments else self.next
        for place, (first, path) in enumerate(segments):
            last = place == len(segments) - 1
            if not last and segments[place + 1][0] <= after + 1:
                expected = segments[place + 1][0]
                continue
            if first != expected:
                self._damaged(CorruptFile(path, 0, f"entries {expected} to {first - 1} are missing", _SAVED_NONE))
            expected = first
            for frame in self._read(path, first, last, cut):
                expected = frame.first + len(frame.entries)
                yield frame
        if cut:
            self.next = max(self.next, expected)

    def _read(self, path: Path, first: int, last: bool, cut: bool) -> Iterator[Frame]:
        data = memoryview(path.read_bytes())
        at, expected = _HEAD.size, first
        if not _good_head(data, first):
            behind = _next_frame(data, 0)
            if last and behind is None and len(data) <= _HEAD.size:
                if cut:
                    path.unlink()
                return
            self._damaged(_damage(path, 0, "this is no head of a log", data, 0))
        while at < len(data):
            frame = _frame_at(data, at)
            if frame is None or frame.first < expected:
                behind = _next_frame(data, at + 1)
                if behind is None and last:
                    if cut:
                        _shorten(path, at)
                    return
                self._damaged(_damage(path, at, "a frame's checksum is another", data, expected - first))
                if behind is None:
                    return
                at = behind.end - _length_of(behind)
                frame = behind
            elif frame.first > expected and not self._skip:
                raise _damage(path, at, f"entries {expected} to {frame.first - 1} are missing", data, expected - first)
            yield frame
            at, expected = frame.end, frame.first + len(frame.entries)

    def _damaged(self, error: CorruptFile) -> None:
        if not self._skip:
            raise error
        if (error.path, error.offset) not in [(one.path, one.offset) for one in self.damage]:
            self.damage.append(error)


_SAVED_NONE = "the entries behind it can be saved (salvage)"


def _framed(first: int, entries: Sequence[bytes]) -> bytes:
    body = b"".join((_BODY.pack(first, len(entries)), *(part for e in entries for part in (_LENGTH.pack(len(e)), e))))
    return _FRAME.pack(_FRAME_MAGIC, len(body), crc32c(body)) + body


def _length_of(frame: Frame) -> int:
    return _FRAME.size + _BODY.size + sum(_LENGTH.size + len(entry) for entry in frame.entries)


def _frame_at(data: memoryview, at: int) -> Frame | None:
    """The frame at a byte, or None where there is no whole one."""
    if at + _FRAME.size + _BODY.size > len(data):
        return None
    magic, length, total = _FRAME.unpack_from(data, at)
    start, end = at + _FRAME.size, at + _FRAME.size + length
    if magic != _FRAME_MAGIC or not _BODY.size <= length <= MOST_FRAME_BYTES or end > len(data):
        return None
    if crc32c(bytes(data[start:end])) != total:
        return None
    first, count = _BODY.unpack_from(data, start)
    entries, at = [], start + _BODY.size
    while at + _LENGTH.size <= end:
        (size,) = _LENGTH.unpack_from(data, at)
        entries.append(bytes(data[at + _LENGTH.size : at + _LENGTH.size + size]))
        at += _LENGTH.size + size
    return Frame(first, tuple(entries), end) if at == end and len(entries) == count and first else None


def _next_frame(data: memoryview, at: int) -> Frame | None:
    """The first whole frame from a byte on."""
    whole = bytes(data)
    while (at := whole.find(_FRAME_MAGIC, at)) >= 0:
        if frame := _frame_at(data, at):
            return frame
        at += 1
    return None


def _damage(path: Path, at: int, problem: str, data: memoryview, before: int) -> CorruptFile:
    behind, found = 0, _next_frame(data, at + 1)
    while found is not None:
        behind += len(found.entries)
        found = _next_frame(data, found.end)
    saved = f"{before} entries before it and {behind} behind it in this file can be saved (salvage)"
    return CorruptFile(path, at, problem, saved)


def _good_head(data: memoryview, first: int) -> bool:
    if len(data) < _HEAD.size:
        return False
    magic, number, total = _HEAD.unpack_from(data, 0)
    return magic == _MAGIC and number == first and total == crc32c(magic + number.to_bytes(8, "little"))


def _write(file: int, data: bytes, at: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(file, view, at)
        view, at = view[written:], at + written


def _shorten(path: Path, size: int) -> None:
    with path.open("r+b") as file:
        file.truncate(size)
        os.fsync(file.fileno())
