"""What this device does in a second, measured in a moment, and tiers as the advisor knows them from their probes."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from fairlead_kernels.vectors import Space, distances

from ..tiers.probe import TierProbe
from .costs import Speeds, Tier

ROWS, DIM = 4096, 256
#: Reads of a lone search go out together; a deep queue is that of many searches.
LONE, DEEP = 16, 128


def calibrate(seconds: float = 0.05, seed: int = 0) -> Speeds:
    """Return the speeds of this processor with the kernels that are installed.

    Comparing exact vectors is measured, by one thread over float32 rows that lie one behind the other; scanning codes
    and walking are taken to be faster or slower than they are known to be in the same proportion.

    Args:
        seconds: to spend.
        seed: of the numbers compared.
    """
    random = np.random.default_rng(seed)
    rows = random.standard_normal((ROWS, DIM), np.float32)
    space, query = Space("float32", "l2", DIM), rows[:1]
    exact_byte_s = _fastest(lambda: distances(space, query, rows), seconds) / rows.nbytes
    known = Speeds()
    slower = exact_byte_s / known.exact_byte_s
    return Speeds(
        code_byte_s=known.code_byte_s * slower,
        exact_byte_s=exact_byte_s,
        jump_s=known.jump_s * slower,
        hop_s=known.hop_s * slower,
        query_s=known.query_s * slower,
    )


def tier_of(probe: TierProbe, vector_bytes: int, *, url: str = "", free_bytes: int | None = None) -> Tier:
    """Return a tier as the advisor knows it.

    Args:
        probe: of a region in it.
        vector_bytes: of a read.
        url: of the region.
        free_bytes: that may be taken of it; None: not limited.
    """
    deep, lone = probe.at(vector_bytes, DEEP), probe.at(vector_bytes, LONE)
    busy = {"file": 2e-6, "memory": 1e-6}
    return Tier(
        kind=probe.kind,
        url=url,
        latency_s=lone.p50_us * 1e-6,
        reads_per_s=deep.reads_per_s,
        # Where the processor loads by itself, a read is nothing but its time.
        processor_s=1 / deep.reads_per_s if probe.direct or probe.kind == "process" else busy.get(probe.kind, 2e-7),
        granule=4096 if probe.kind == "file" else 64,
        free_bytes=free_bytes,
    )


def _fastest(call: Callable[[], object], seconds: float) -> float:
    call()
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        began = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - began)
    return best
