"""How fast a region answers: latency and rate by size of reads and depth of the queue."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np

from ..errors import TieredRetrievalError
from .region import Region

LENGTHS = (64, 256, 1024, 4096, 16384, 65536)
DEPTHS = (1, 4, 16, 32, 64, 128)
QUICK_LENGTHS = (256, 1024, 4096)
QUICK_DEPTHS = (1, 16, 128)


@dataclass(frozen=True, slots=True)
class Measured:
    """One size at one depth.

    Attributes:
        length: of a read, in bytes.
        depth: reads in flight.
        p50_us: of a batch (of one read below depth 8, else of a quarter of the depth; of all where loads are direct).
        p99_us: likewise.
        reads_per_s: finished.
        processor_us: processor time of this thread for each read; a thread that waits actively counts as computing.
    """

    length: int
    depth: int
    p50_us: float
    p99_us: float
    reads_per_s: float
    processor_us: float = 0.0


@dataclass(frozen=True, slots=True)
class TierProbe:
    """What was measured of a tier; `from_json(to_json())` is equal to it."""

    kind: str
    direct: bool
    points: tuple[Measured, ...]

    def at(self, length: int, depth: int) -> Measured:
        """Return what was measured nearest to a size and a depth (by their ratio)."""
        return min(
            self.points,
            key=lambda each: abs(np.log(each.length / length)) + abs(np.log(each.depth / depth)),
        )

    def read_us(self, length: int, depth: int) -> float:
        """Return the microseconds that a read takes of a queue's time at a depth, between measured sizes linearly."""
        depths = sorted({each.depth for each in self.points})
        near = min(depths, key=lambda each: abs(np.log(each / depth)))
        known = sorted((each.length, 1e6 / each.reads_per_s) for each in self.points if each.depth == near)
        return float(np.interp(length, [size for size, _ in known], [cost for _, cost in known]))

    def to_json(self) -> str:
        """Return it as JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote.

        Raises:
            TieredRetrievalError: it is something else.
        """
        try:
            fields = json.loads(text)
            points = tuple(Measured(**each) for each in fields["points"])
            return cls(str(fields["kind"]), bool(fields["direct"]), points)
        except (ValueError, TypeError, KeyError) as error:
            raise TieredRetrievalError(f"probe: not what a probe writes: {error}") from error


def probe(
    region: Region,
    *,
    quick: bool = False,
    seconds: float = 0.05,
    seed: int = 0,
    lengths: Sequence[int] | None = None,
    depths: Sequence[int] | None = None,
) -> TierProbe:
    """Measure a region by random reads.

    Args:
        region: at least as long as the longest read; the longer, the less caches tell.
        quick: few sizes and depths, as for a bid (about `seconds` x 9).
        seconds: for each size and depth.
        seed: of the places.
        lengths: of reads, instead of LENGTHS.
        depths: of the queue, instead of DEPTHS.

    Raises:
        TieredRetrievalError: the region is shorter than a read.
        TierError: it cannot be read.
    """
    sizes = lengths or (QUICK_LENGTHS if quick else LENGTHS)
    if max(sizes) > region.size:
        raise TieredRetrievalError(f"{region.url}: {region.size} bytes are fewer than a read of {max(sizes)}")
    tier, random = region.open_native(), np.random.default_rng(seed)
    _run(tier, region.size, min(sizes), 1, seconds, random)  # devices wake up
    queues = depths or (QUICK_DEPTHS if quick else DEPTHS)
    points = [_run(tier, region.size, size, depth, seconds, random) for size in sizes for depth in queues]
    return TierProbe(region.kind, bool(tier.direct), tuple(points))


def _run(tier: Any, size: int, length: int, depth: int, seconds: float, random: np.random.Generator) -> Measured:
    batch = depth if tier.direct else max(1, depth // 4) if depth >= 8 else 1
    flights = max(1, depth // batch)
    latencies: list[np.ndarray] = []
    spent, batches, started, computed = 0.0, 4 * flights, time.monotonic(), 0.0
    while not latencies or time.monotonic() - started < seconds:
        # Whole lines: no read touches more of them than its length needs.
        places = (random.integers(0, (size - length) // 64 + 1, batches * batch) * 64).astype(np.uint64)
        took = np.empty(batches)
        before = time.thread_time()
        spent += tier.measure(places, length, batch, flights, took)
        computed += time.thread_time() - before
        latencies.append(took)
        batches = min(batches * 2, 1 << 14)
    every = np.concatenate(latencies)
    p50, p99 = np.percentile(every, (50, 99)) * 1e6
    reads = len(every) * batch
    own_us = round(computed / reads * 1e6, 4)
    return Measured(length, depth, round(float(p50), 3), round(float(p99), 3), round(reads / spent, 1), own_us)
