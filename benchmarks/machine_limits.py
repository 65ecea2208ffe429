"""What the machine can do at best: bytes read from memory, and blocks read from the disk at random."""

from __future__ import annotations

import ctypes
import mmap
import os
import random
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from fairlead_kernels.backend import extension

BLOCK = 4096
_LIBC = ctypes.CDLL(None)
_LIBC.memchr.restype = ctypes.c_void_p
_LIBC.memchr.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t)


def read_bandwidth(threads: int, size: int = 1 << 30, passes: int = 5) -> float:
    """Bytes a second that so many threads read together, the best of some passes.

    Each thread looks for a byte that is not there (``memchr``, which the C library vectorizes) in its part of an
    array much larger than the caches.
    """
    content = np.ones(size, np.uint8)
    part = size // threads
    starts = [content.ctypes.data + index * part for index in range(threads)]
    best = 0.0
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(passes):
            began = time.perf_counter()
            list(pool.map(lambda start: _LIBC.memchr(start, 2, part), starts))
            best = max(best, part * threads / (time.perf_counter() - began))
    return best


def random_reads(file: Path, *, depth: int = 32, seconds: float = 3.0, warm_s: float = 2.0, seed: int = 1) -> float:
    """Reads a second of random blocks of 4 KiB past the page cache (O_DIRECT), so many at a time.

    Disks of rented machines serve bursts first, so some seconds pass unmeasured.

    Raises:
        OSError: the file system has no direct reads.
    """
    blocks = file.stat().st_size // BLOCK
    descriptor = os.open(file, os.O_RDONLY | os.O_DIRECT)
    try:
        with ThreadPoolExecutor(depth) as pool:
            _read_for(pool, descriptor, blocks, depth, warm_s, seed)
            began = time.perf_counter()
            count = _read_for(pool, descriptor, blocks, depth, seconds, seed + 1)
            return count / (time.perf_counter() - began)
    finally:
        os.close(descriptor)


def _read_for(pool: ThreadPoolExecutor, descriptor: int, blocks: int, depth: int, seconds: float, seed: int) -> int:
    end = time.perf_counter() + seconds

    def read(index: int) -> int:
        chosen, count = random.Random(seed * 1000 + index), 0
        with mmap.mmap(-1, BLOCK) as buffer:
            while time.perf_counter() < end:
                os.preadv(descriptor, [buffer], chosen.randrange(blocks) * BLOCK)
                count += 1
        return count

    return sum(pool.map(read, range(depth)))


def reads_per_second(file: Path, size: int, depth: int, seconds: float = 3.0, *, warm_s: float = 2.0) -> float:
    """Random reads of ``size`` bytes a second, past the page cache, through the engine's own reader (io_uring).

    Threads of Python that read, as ``random_reads`` has them, are held up by the interpreter where cores are slow.

    Raises:
        RuntimeError: the kernels are not built.
    """
    module: Any = extension()
    if module is None:
        raise RuntimeError("reads are measured through the kernels' reader, which is not built here")
    with mmap.mmap(-1, depth * size) as memory:
        reader = module.ClusterReader(str(file), np.frombuffer(memory, np.uint8), depth, 1, True, True)
        places = np.random.default_rng(1).integers(0, reader.size // size, 1 << 16).tolist()
        free, asked, done = list(range(depth)), 0, 0
        began = counted = time.perf_counter()
        while (now := time.perf_counter()) < began + warm_s + seconds:
            if now < began + warm_s:
                done, counted = 0, now
            batch = [(places[(asked + i) % len(places)] * size, size, tag, tag * size) for i, tag in enumerate(free)]
            asked += len(batch)
            reader.submit(batch)
            free = reader.wait(True)
            done += len(free)
        while reader.in_flight:
            reader.wait(True)
        del reader
    return done / (now - counted)
