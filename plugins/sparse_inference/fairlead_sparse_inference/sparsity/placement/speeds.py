"""Measures how fast memory and a disk are read on this device."""

from __future__ import annotations

import mmap
import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

_FILE_BYTES = 256 << 20
_ARRAY_BYTES = 256 << 20
_SEQUENTIAL = 1 << 20
_DEPTH = 32
_WARM_UP_S = 0.5


@dataclass(frozen=True, slots=True)
class Speeds:
    """Bytes a second read from memory and, in sequence, from disk; reads a second of clusters at random places.

    `direct` says whether the disk was read past the page cache; where it was not, the numbers are too good.
    """

    memory_bytes_per_s: float
    disk_reads_per_s: float
    disk_bytes_per_s: float
    read_bytes: int
    direct: bool


def measure(directory: Path, read_bytes: int, duration_s: float = 1.5, file_bytes: int = _FILE_BYTES) -> Speeds:
    """Measure with a temporary file in a directory; `read_bytes`, a multiple of 4096, is the size of a random read.

    Raises OSError where the file cannot be written.
    """
    with tempfile.NamedTemporaryFile(dir=directory, prefix=".fairlead-speed-") as file:
        _fill(file.fileno(), file_bytes)
        descriptor, direct = _open(file.name)
        try:
            random = _rate(_random_reader(descriptor, file_bytes, read_bytes), duration_s)
            sequential = _rate(_sequential_reader(descriptor, file_bytes), duration_s, threads=1)
        finally:
            os.close(descriptor)
    return Speeds(memory_bandwidth(), random, sequential * _SEQUENTIAL, read_bytes, direct)


def memory_bandwidth(repeats: int = 5, size: int = _ARRAY_BYTES) -> float:
    """Return bytes a second at which one pass over a large array is read; the best of some passes."""
    array = np.ones(size // 4, np.float32)
    best = float("inf")
    for _ in range(repeats):
        started = time.perf_counter()
        np.dot(array, array)
        best = min(best, time.perf_counter() - started)
    return array.nbytes / best


def _fill(descriptor: int, size: int) -> None:
    block = np.random.default_rng(0).bytes(4 << 20)
    for _ in range(-(-size // len(block))):
        os.write(descriptor, block)
    os.fsync(descriptor)


def _open(name: str) -> tuple[int, bool]:
    try:
        return os.open(name, os.O_RDONLY | os.O_DIRECT), True
    except (OSError, AttributeError):
        # tmpfs, and systems that know no O_DIRECT.
        return os.open(name, os.O_RDONLY), False


def _random_reader(descriptor: int, size: int, read_bytes: int) -> Callable[[int], Callable[[], None]]:
    def reader(thread: int) -> Callable[[], None]:
        # An anonymous map starts on a page, as O_DIRECT asks.
        buffer, random = mmap.mmap(-1, read_bytes), np.random.default_rng(thread)
        places = iter((random.integers(0, size // read_bytes, 1 << 16) * read_bytes).tolist() * 16)
        return lambda: _read(descriptor, buffer, next(places))

    return reader


def _sequential_reader(descriptor: int, size: int) -> Callable[[int], Callable[[], None]]:
    def reader(thread: int) -> Callable[[], None]:
        buffer, state = mmap.mmap(-1, _SEQUENTIAL), [0]

        def step() -> None:
            _read(descriptor, buffer, state[0])
            state[0] = (state[0] + _SEQUENTIAL) % (size - size % _SEQUENTIAL)

        return step

    return reader


def _read(descriptor: int, buffer: mmap.mmap, place: int) -> None:
    if os.preadv(descriptor, [buffer], place) <= 0:
        raise OSError(f"short read at {place}")


def _rate(reader: Callable[[int], Callable[[], None]], duration_s: float, threads: int = _DEPTH) -> float:
    """Return reads a second over all threads, after a warm-up: idle disks burst for a moment.

    On a machine too busy to start all threads in time each still ends a read, and the time that took counts.
    """
    start, end = time.perf_counter() + _WARM_UP_S, time.perf_counter() + _WARM_UP_S + duration_s

    def run(thread: int) -> tuple[int, float]:
        step, done, now = reader(thread), 0, time.perf_counter()
        while now < end or not done:
            step()
            now = time.perf_counter()
            done += now >= start
        return done, now

    with ThreadPoolExecutor(threads) as pool:
        counts, ends = zip(*pool.map(run, range(threads)), strict=True)
    return sum(counts) / (max(ends) - start)
