"""What the machine can do at best: bytes read from memory, and blocks read from the disk at random."""

from __future__ import annotations

import ctypes
import mmap
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


def reads_per_second(file: Path, size: int, depth: int, seconds: float = 3.0, *, warm_s: float = 2.0) -> float:
    """Random reads of ``size`` bytes a second, past the page cache, through the engine's own reader (io_uring).

    Threads of Python that read would be held up by the interpreter where cores are slow. Disks of rented machines serve
    bursts first, so some seconds pass unmeasured.

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
