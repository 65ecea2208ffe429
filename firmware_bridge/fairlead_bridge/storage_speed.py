"""How fast storage reads: a short measurement, bounded in bytes and time, kept for each device."""

from __future__ import annotations

import json
import math
import mmap
import os
import random
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fairlead_bridge.clock import Moment, now
from fairlead_bridge.reading import Missing

_CHUNK_BYTES = 1024 * 1024
_PAGE_BYTES = 4096
_FILL_DURATION_MAX_S = 2.0
_SPEEDS = (
    "sequential_bytes_per_s",
    "sequential_uncertainty_bytes_per_s",
    "random_4k_reads_per_s",
    "random_4k_uncertainty_reads_per_s",
)


@dataclass(frozen=True, slots=True)
class StorageSpeed:
    """Read speed of the device under ``path``, one request at a time (queue depth 1).

    The file that is read was just written: a device that still holds it in its own cache, or a host that
    caches a virtual disk, reads faster than it would read a cold artifact. ``direct`` is False where the
    file system refused O_DIRECT; then the page cache was dropped first, which the kernel may ignore.
    Uncertainties are one standard error of the mean. A kept result is of the time ``at.wall_s``, perhaps in
    another boot.
    """

    at: Moment
    path: str
    device_number: str
    direct: bool
    bytes_read: int
    sequential_bytes_per_s: float
    sequential_uncertainty_bytes_per_s: float
    random_4k_reads_per_s: float
    random_4k_uncertainty_reads_per_s: float


class StorageSpeedSensor:
    """Measures the device under a directory by a scratch file there, at most once in ``age_max_s``.

    ``cache_path`` names a JSON file that keeps results over restarts; without it they live in the sensor.
    A measurement writes at most ``bytes_max``, for two seconds at the most, and each of its two reading phases
    ends after ``duration_max_s`` or after a last read.
    """

    def __init__(
        self,
        path: str,
        *,
        cache_path: str | None = None,
        bytes_max: int = 16 * 1024 * 1024,
        duration_max_s: float = 0.25,
        age_max_s: float = 7 * 86400.0,
        seed: int = 0,
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        if bytes_max < _CHUNK_BYTES:
            raise ValueError(f"bytes_max is {bytes_max}: expected at least {_CHUNK_BYTES}")
        self._path, self._bytes_max, self._duration_max_s = path, bytes_max, duration_max_s
        self._cache_path, self._age_max_s = cache_path, age_max_s
        self._random, self._timer = random.Random(seed), timer
        self._kept: dict[str, StorageSpeed] = {}

    def read(self, at: Moment | None = None) -> StorageSpeed | Missing:
        """The kept result for this device, or a new one; a full or read-only device is missing."""
        at = at or now()
        try:
            number = _device_number(self._path)
            kept = self._kept.get(number) or self._recall(number)
            if kept is None or not 0 <= at.wall_s - kept.at.wall_s <= self._age_max_s:
                kept = self._measure(at, number)
                self._remember(kept)
        except PermissionError as error:
            return Missing(f"read speed at {self._path}", f"permission denied: {error}", "denied")
        except OSError as error:
            return Missing(f"read speed at {self._path}", (error.strerror or str(error)).lower(), "refused")
        self._kept[number] = kept
        return kept

    def _measure(self, at: Moment, number: str) -> StorageSpeed:
        space = os.statvfs(self._path)
        if space.f_bavail * space.f_frsize < 4 * self._bytes_max:
            raise OSError(f"less than {4 * self._bytes_max} bytes are free: no room for a scratch file")
        with tempfile.NamedTemporaryFile(dir=self._path, prefix=".fairlead-speed-") as scratch:
            size_bytes = self._fill(scratch.fileno())
            descriptor, direct = _open(scratch.name)
            try:
                chunks = self._time(descriptor, _CHUNK_BYTES, list(range(0, size_bytes, _CHUNK_BYTES)))
                pages = self._time(descriptor, _PAGE_BYTES, self._scatter(size_bytes))
            finally:
                os.close(descriptor)
        return _result(at, self._path, number, direct, chunks, pages)

    def _fill(self, descriptor: int) -> int:
        """Write the scratch file and return its size: at least one chunk, less than asked on slow storage."""
        end_s = self._timer() + _FILL_DURATION_MAX_S
        size_bytes = 0
        while size_bytes <= self._bytes_max - _CHUNK_BYTES and (not size_bytes or self._timer() < end_s):
            # Random bytes: a file system or device that compresses or deduplicates must not read zeros.
            size_bytes += os.write(descriptor, self._random.randbytes(_CHUNK_BYTES))
            os.fdatasync(descriptor)
        return size_bytes - size_bytes % _CHUNK_BYTES

    def _scatter(self, size_bytes: int) -> list[int]:
        pages = range(0, size_bytes, _PAGE_BYTES)
        return self._random.sample(pages, min(len(pages), 2048))

    def _time(self, descriptor: int, size_bytes: int, offsets: list[int]) -> list[float]:
        """Seconds of each read of ``size_bytes``, until the offsets or the time are used up."""
        durations_s: list[float] = []
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        with mmap.mmap(-1, size_bytes) as buffer:  # page-aligned, as O_DIRECT requires
            end_s = self._timer() + self._duration_max_s
            for offset in offsets:
                start_s = self._timer()
                os.preadv(descriptor, [buffer], offset)
                durations_s.append(self._timer() - start_s)
                if self._timer() >= end_s:
                    break
        return durations_s

    def _recall(self, number: str) -> StorageSpeed | None:
        try:
            return _from_json(json.loads(Path(self._cache_path or os.devnull).read_text())[number])
        except (OSError, ValueError, LookupError, TypeError):
            return None  # no cache, or one that cannot be trusted: measure again

    def _remember(self, speed: StorageSpeed) -> None:
        if self._cache_path is None:
            return
        path = Path(self._cache_path)
        try:
            kept = dict[str, Any](json.loads(path.read_text()))
        except (OSError, ValueError, TypeError):
            kept = dict[str, Any]()
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps({**kept, speed.device_number: asdict(speed)}))
        os.replace(fresh, path)


def _from_json(record: dict[str, Any]) -> StorageSpeed:
    speeds = {name: float(record[name]) for name in _SPEEDS}
    if not all(math.isfinite(speed) and speed >= 0 for speed in speeds.values()):
        raise ValueError(f"not speeds: {speeds}")
    return StorageSpeed(
        at=Moment(float(record["at"]["boottime_s"]), float(record["at"]["wall_s"])),
        path=str(record["path"]),
        device_number=str(record["device_number"]),
        direct=bool(record["direct"]),
        bytes_read=int(record["bytes_read"]),
        **speeds,
    )


def _device_number(path: str) -> str:
    device = os.stat(path).st_dev
    return f"{os.major(device)}:{os.minor(device)}"


def _open(path: str) -> tuple[int, bool]:
    """A descriptor, and whether it passes by the page cache: some file systems refuse only the first read."""
    if _reads_direct(path):
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECT), True
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC), False


def _reads_direct(path: str) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECT)
    except OSError:
        return False
    try:
        with mmap.mmap(-1, _PAGE_BYTES) as buffer:
            return os.preadv(descriptor, [buffer], 0) > 0
    except OSError:
        return False
    finally:
        os.close(descriptor)


def _result(
    at: Moment, path: str, number: str, direct: bool, chunks_s: list[float], pages_s: list[float]
) -> StorageSpeed:
    sequential, sequential_error = _rate(chunks_s, _CHUNK_BYTES)
    scattered, scattered_error = _rate(pages_s, 1)
    return StorageSpeed(
        at=at,
        path=path,
        device_number=number,
        direct=direct,
        bytes_read=len(chunks_s) * _CHUNK_BYTES + len(pages_s) * _PAGE_BYTES,
        sequential_bytes_per_s=sequential,
        sequential_uncertainty_bytes_per_s=sequential_error,
        random_4k_reads_per_s=scattered,
        random_4k_uncertainty_reads_per_s=scattered_error,
    )


def _rate(durations_s: list[float], amount: float) -> tuple[float, float]:
    """Amount per second over all reads, and its standard error (the delta method on the mean duration)."""
    import statistics  # here, because it brings decimal and fractions, and few processes measure

    mean_s = max(statistics.fmean(durations_s), 1e-9)
    if len(durations_s) < 2:
        return amount / mean_s, amount / mean_s
    error_s = statistics.stdev(durations_s) / len(durations_s) ** 0.5
    return amount / mean_s, amount / mean_s * error_s / mean_s
