"""Graph against clusters over size of the vectors, latency of the tier and queries under way.

What a tier does is measured: so many queries at once read from a region exactly as each kind of index reads, a graph in
rounds that depend on one another (vectors beside the edges, or where a record is long edges alone and vectors in the
end), clusters in one. What the processor does is taken from `costs`, calibrated or not.
Both are put together as an engine does that works on some queries while others wait: the slower of the two bounds it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from ..tiers.region import Region
from .costs import WIDTH, Cost, Kind, Shape, Speeds, Tier, edge_bytes, graph_cost, is_beside, lists_cost

PAYLOADS = (64, 128, 256, 512, 1024, 2048, 4096)
IN_FLIGHT = (1, 4, 16, 64)
#: Kinds of region whose reads the processor does itself.
SYNCHRONOUS = ("dram", "numa", "process")
#: Bits of the codes that both kinds walk and scan.
BITS = 2


@dataclass(frozen=True, slots=True)
class Measured:
    """One kind of index at one point.

    Attributes:
        tier: by name; kind: of index; payload: bytes of a vector; in_flight: queries under way.
        reads, rounds: of a query.
        tier_s: seconds that the tier takes for all rounds of the queries under way, measured.
        processor_s: of one query.
        waits: whether the processor only waits meanwhile; else it moves the bytes itself (main memory, one-sided reads
            of another process), and nothing overlaps.
    """

    tier: str
    kind: Kind
    payload: int
    in_flight: int
    reads: float
    rounds: int
    tier_s: float
    processor_s: float
    waits: bool = True

    @property
    def per_second(self) -> float:
        """Queries a second: a lone query waits for the tier, several hide it behind each other's work."""
        if not self.waits:
            return 1 / (self.tier_s / self.in_flight + self.processor_s)
        if self.in_flight == 1:
            return 1 / (self.tier_s + self.processor_s)
        return 1 / max(self.tier_s / self.in_flight, self.processor_s)

    @property
    def latency_s(self) -> float:
        """Until a query's answer, when so many are under way."""
        return self.tier_s + self.processor_s * min(self.in_flight, 2)


def study(
    tiers: Sequence[tuple[str, Region]],
    shape: Shape,
    *,
    recall: float = 0.95,
    payloads: Sequence[int] = PAYLOADS,
    in_flight: Sequence[int] = IN_FLIGHT,
    speeds: Speeds = Speeds(),
    seconds: float = 0.05,
    seed: int = 0,
    told: Callable[[str], None] | None = None,
) -> list[Measured]:
    """Measure every point.

    Args:
        tiers: regions by name, each much larger than the processor's caches, or it measures those.
        shape: of the data; bytes of a vector are varied.
        recall: that both kinds of index reach.
        payloads: bytes of a vector.
        in_flight: queries under way.
        speeds: of the processor.
        seconds: of each point, at least three times through.
        seed: of the places that are read.
        told: what is measured next.
    """
    random = np.random.default_rng(seed)
    found = []
    for name, region in tiers:
        for payload in payloads:
            for kind in ("graph", "lists"):
                own = replace(shape, vector_bytes=payload)
                cost = _cost(kind, own, speeds, recall, _granule(region))
                batches = _batches(kind, own, cost, _granule(region))
                for queries in in_flight:
                    if told:
                        told(f"{name}: {kind}, {payload} B, {queries} under way")
                    found.append(_point(name, region, kind, payload, queries, batches, cost, seconds, random))
    return found


def _granule(region: Region) -> int:
    return 4096 if region.kind == "file" else 1


def _cost(kind: Kind, shape: Shape, speeds: Speeds, recall: float, granule: int) -> Cost:
    # A tier that takes no time: reads and rounds are counted, and the processor's part is left.
    nothing = Tier("any", latency_s=0.0, reads_per_s=1e12, processor_s=0.0, granule=granule)
    cost = graph_cost if kind == "graph" else lists_cost
    return cost(shape, speeds, nothing, BITS, recall)


def _batches(kind: Kind, shape: Shape, cost: Cost, granule: int) -> list[tuple[int, int]]:
    """Bytes and number of the reads of each round of a search."""
    if kind == "lists":
        return [(shape.vector_bytes, max(1, round(cost.reads)))]
    edges = edge_bytes(shape.count)
    if is_beside(shape.vector_bytes + edges, Tier(granule=granule)):
        return [(shape.vector_bytes + edges, WIDTH)] * max(1, round(cost.round_trips))
    rounds = max(1, round(cost.round_trips - 1))
    return [(edges, WIDTH)] * rounds + [(shape.vector_bytes, max(1, round(cost.reads - rounds * WIDTH)))]


def _point(
    name: str,
    region: Region,
    kind: Kind,
    payload: int,
    queries: int,
    batches: Sequence[tuple[int, int]],
    cost: Cost,
    seconds: float,
    random: np.random.Generator,
) -> Measured:
    together = [(length, queries * each) for length, each in batches]
    tier_s = read_rounds(region, together, seconds, random)
    waits, reads = region.kind not in SYNCHRONOUS, sum(each for _, each in batches)
    return Measured(name, kind, payload, queries, reads, len(batches), tier_s, cost.processor_s, waits)


def fill(region: Region, seed: int = 0) -> None:
    """Write numbers all over a region: pages that nobody has written are read without being anywhere."""
    piece = np.random.default_rng(seed).integers(0, 256, 1 << 22, np.uint8)
    for begin in range(0, region.size, len(piece)):
        region.write(begin, piece[: region.size - begin])


def read_rounds(
    region: Region, batches: Sequence[tuple[int, int]], seconds: float, random: np.random.Generator
) -> float:
    """Return the seconds (lower quartile) of rounds that wait for one another, each of some reads of a length."""
    longest, most = max(length for length, _ in batches), max(count for _, count in batches)
    places = (region.size - longest) // 64
    out = np.empty(max(length * count for length, count in batches), np.uint8)
    drawn = [random.integers(0, places, most).astype(np.uint64) * np.uint64(64) for _ in range(64)]
    asked = [(count, np.full(count, length, np.uint32), length * count) for length, count in batches]
    times, end, at = [], time.perf_counter() + seconds, 0
    while len(times) < 3 or time.perf_counter() < end:
        began = time.perf_counter()
        for count, sizes, size in asked:
            region.read_batch(drawn[at % len(drawn)][:count], sizes, out[:size])
            at += 1
        times.append(time.perf_counter() - began)
    # The lower quartile: what other programs take of the machine only adds.
    return float(np.quantile(times, 0.25))


def ratios(found: Iterable[Measured]) -> dict[tuple[str, int, int], float]:
    """Return by tier, payload and queries under way how many times faster clusters are than the graph."""
    rates = {(one.tier, one.payload, one.in_flight, one.kind): one.per_second for one in found}
    return {key[:3]: rate / rates[(*key[:3], "graph")] for key, rate in rates.items() if key[3] == "lists"}


def turning_points(found: Sequence[Measured]) -> list[str]:
    """Return for each tier in words which kind is faster where."""
    by = ratios(found)
    said = []
    for tier in dict.fromkeys(one.tier for one in found):
        own = {key[1:]: value for key, value in by.items() if key[0] == tier}
        graph = sorted(key for key, value in own.items() if value < 1)
        if not graph:
            least = min(own.values())
            said.append(f"{tier}: clusters everywhere, {least:.1f} to {max(own.values()):.1f} times as fast.")
        elif len(graph) == len(own):
            said.append(f"{tier}: the graph everywhere, up to {1 / min(own.values()):.1f} times as fast.")
        else:
            payload, queries = max(key[0] for key in graph), min(key[1] for key in graph)
            said.append(
                f"{tier}: the graph in {len(graph)} of {len(own)} points, from {queries} queries under way on and up "
                f"to vectors of {payload} B (up to {1 / min(own.values()):.1f} times as fast); clusters elsewhere "
                f"(up to {max(own.values()):.1f} times)."
            )
    return said


def table(found: Sequence[Measured], in_flight: int) -> list[str]:
    """Return lines of what searches do, with so many under way: reads, round trips, searches a second."""
    lines = [f"{'tier':<36} {'index':<6} {'bytes':>6} {'reads':>6} {'trips':>6} {'per second':>11} {'latency us':>11}"]
    shown = (one for one in found if one.in_flight == in_flight)
    return lines + [
        f"{one.tier:<36} {one.kind:<6} {one.payload:>6} {one.reads:>6.0f} {one.rounds:>6} "
        f"{one.per_second:>11,.0f} {one.latency_s * 1e6:>11,.0f}"
        for one in shown
    ]


def as_json(found: Sequence[Measured]) -> list[dict[str, Any]]:
    """Return rows for a file."""
    return [{**asdict(one), "per_second": one.per_second, "latency_s": one.latency_s} for one in found]
