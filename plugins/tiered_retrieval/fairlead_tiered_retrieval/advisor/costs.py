"""What a search costs, from what a device does in a second and from what the data look like. Standard library only.

A search in clusters compares all centroids, scans the codes of some lists and then reads the exact vectors that the
codes leave in doubt, in one batch: one round trip. A search in a graph walks from vertex to vertex: each step depends
on the one before it, so that a graph in a tier pays a round trip a step, `WIDTH` vertices at a time. A thread hides
them behind other searches, `IN_FLIGHT` of them: round trips times latency over those under way is what bounds it where
neither the processor nor the tier's rate of reads does.

How many exact vectors are in doubt: within a neighbourhood of local dimension m, about k (1 + e)^(m/2) vectors have a
squared distance of at most (1 + e) times the k-th one's, whatever their number. With z standard errors of the codes'
estimate as e, that is what has to be read. RaBitQ's error falls by half with each bit (Gao et al., "Practical and
Asymptotically Optimal Quantization", 2024).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

Kind = Literal["flat", "graph", "lists"]
Limit = Literal["processor", "reads", "latency"]

#: Vertices that a walk in a tier asks for at once, and searches of a thread that are under way.
WIDTH, IN_FLIGHT = 4, 32
#: Records of edges and vector are read whole up to so many bytes (or a granule), else edges alone, vectors in the end.
BESIDE = 1024
#: Leading dimensions of the rotated centroids, by which lists are chosen.
CENTROID_DIMS = 64
#: Edges of a vertex, and the share of those looked at that were not seen before; vertices where walks may begin.
DEGREE, FRESH, ENTRIES = 32, 0.6, 256
#: Bits of a dimension that codes of a graph in a tier have at most: 0.06 of the vectors in float32.
TIER_BITS = 2
#: Standard errors of the estimate that a recall needs.
_ERRORS = ((0.80, 0.4), (0.90, 0.7), (0.95, 1.0), (0.98, 1.4), (0.99, 1.7), (0.995, 2.0), (0.999, 2.6))
#: Bytes beside the codes of a vector: factors of the estimate, its id, and its place in the tier.
_BESIDE = 16
#: Of what is scanned, further lists of vectors must save so much.
CLOSURE_WORTH = 0.1


@dataclass(frozen=True, slots=True)
class Speeds:
    """What one core does, in seconds; a calibration measures it (`calibration.calibrate`).

    Attributes:
        code_byte_s: scanning a byte of a list's codes, with what estimates and bounds take.
        exact_byte_s: comparing a byte of exact vectors, centroids or a walk's codes.
        jump_s: what each vector adds that lies anywhere in memory: a cache miss that is mostly overlapped.
        hop_s: keeping the beam of a walk, for each vertex.
        query_s: preparing a query: rotating it, and tables of its codes.
    """

    code_byte_s: float = 1.5e-10
    exact_byte_s: float = 4e-11
    jump_s: float = 8e-9
    hop_s: float = 1.0e-7
    query_s: float = 3e-6


@dataclass(frozen=True, slots=True)
class Tier:
    """How a tier answers reads of about a vector's size.

    Attributes:
        kind: of region (``dram``, ``shm``, ``process``, ``memory``, ``ucx``, ``file``).
        url: of a region in it, or of what lends one; empty: this process's memory.
        latency_s: of one read, or a few together.
        reads_per_s: that it completes with a deep queue.
        processor_s: processor time of one read at the client.
        granule: bytes: smaller reads take as long and read as much (4096 of a disk).
        free_bytes: that may be taken of it; None: not limited.
    """

    kind: str = "dram"
    url: str = ""
    latency_s: float = 1e-7
    reads_per_s: float = 1e7
    processor_s: float = 3e-8
    granule: int = 64
    free_bytes: int | None = None

    @property
    def depth(self) -> float:
        """Reads that must be under way for full speed (Little's law)."""
        return max(1.0, self.reads_per_s * self.latency_s)


@dataclass(frozen=True, slots=True)
class Shape:
    """What the costs depend on in the data.

    Attributes:
        count: of vectors.
        dim: of a vector.
        vector_bytes: of one.
        local_dim: the dimension of the neighbourhoods (`sampling.local_dimension`).
        error: standard error of the squared distance that 1-bit codes estimate, as a share of the tenth neighbour's.
        probes: lists that hold 95 % of the ten nearest, of as many lists as `lists` says.
        further: further lists a vector, where vectors near a border are entered in those across it by their codes too
            (the closure of SPANN).
        closed: codes that are scanned then, as a share of those without, for the same recall.
    """

    count: int
    dim: int
    vector_bytes: int
    local_dim: float = 16.0
    error: float = 0.12
    probes: float = 12.0
    further: float = 0.0
    closed: float = 1.0

    @property
    def raw_bytes(self) -> int:
        """As float32."""
        return self.count * self.dim * 4

    @property
    def closes(self) -> bool:
        """Whether a cluster index enters vectors in further lists: where that saves a tenth of what is scanned."""
        return self.closed <= 1 - CLOSURE_WORTH

    @property
    def lists(self) -> int:
        """Of a cluster index: about the root of the count."""
        return max(1, 1 << round(math.log2(max(2.0, math.sqrt(self.count)))))


@dataclass(frozen=True, slots=True)
class Cost:
    """What one search costs and an index takes.

    Attributes:
        kind: of index; bits: of a dimension's code; tier: where exact vectors lie.
        processor_s: processor time.
        latency_s: until the answer, alone on the device.
        per_second: searches a second on one core with many under way; limit: what bounds them.
        reads, round_trips: of the tier, for a search; tier_read_bytes: in them.
        dram_bytes, tier_bytes: that the index takes.
    """

    kind: Kind
    bits: int
    tier: Tier
    processor_s: float
    latency_s: float
    per_second: float
    limit: Limit
    reads: float
    round_trips: float
    tier_read_bytes: float
    dram_bytes: int
    tier_bytes: int


def in_doubt(shape: Shape, bits: float, recall: float, k: int = 10) -> float:
    """Return how many exact vectors a search must look at so that the true k are among them with a recall."""
    error = standard_errors(recall) * shape.error * 2.0 ** (1 - bits)
    return min(float(shape.count), k * (1 + error) ** (shape.local_dim / 2))


def standard_errors(recall: float) -> float:
    """Return by how many standard errors estimates may be off where a recall is asked for (between `_ERRORS`)."""
    points = _ERRORS
    if recall <= points[0][0]:
        return points[0][1]
    for (low, at_low), (high, at_high) in pairwise(points):
        if recall <= high:
            return at_low + (recall - low) / (high - low) * (at_high - at_low)
    return points[-1][1] + 0.5


def flat_cost(shape: Shape, speeds: Speeds, tier: Tier) -> Cost:
    """Return the cost of comparing every vector, in memory."""
    processor_s = speeds.query_s + shape.count * shape.vector_bytes * speeds.exact_byte_s
    bytes_taken = shape.count * shape.vector_bytes
    return _cost("flat", 32, tier, processor_s, 0.0, 0.0, 0.0, bytes_taken, 0)


def lists_cost(shape: Shape, speeds: Speeds, tier: Tier, bits: int, recall: float, k: int = 10) -> Cost:
    """Return the cost of clusters with codes in memory and vectors in a tier."""
    lists = shape.lists
    probes = min(float(lists), shape.probes * standard_errors(recall))
    scanned = shape.count * probes / lists * (shape.closed if shape.closes else 1.0)
    code_bytes = shape.dim * bits / 8
    # Extra bits are looked at only where the first bit leaves a doubt: a tenth of what is scanned.
    scan_bytes = scanned * (shape.dim / 8 + _BESIDE) + 0.1 * scanned * (code_bytes - shape.dim / 8)
    reads = in_doubt(shape, bits, recall, k)
    processor_s = (
        speeds.query_s
        + lists * min(shape.dim, CENTROID_DIMS) * 4 * speeds.exact_byte_s
        + scan_bytes * speeds.code_byte_s
        + reads * (speeds.jump_s + shape.vector_bytes * speeds.exact_byte_s)
    )
    entries = 1 + (shape.further if shape.closes else 0.0)
    codes = int(entries * shape.count * (code_bytes + _BESIDE)) + lists * min(shape.dim, CENTROID_DIMS) * 4
    return _placed("lists", bits, shape, tier, processor_s, reads, 1.0, float(shape.vector_bytes), codes)


def graph_cost(shape: Shape, speeds: Speeds, tier: Tier, bits: int, recall: float, k: int = 10) -> Cost:
    """Return the cost of a graph: walked on codes in memory; in a tier, edges lie beside the vectors there."""
    in_memory = tier.kind == "dram"
    hops = walk_hops(shape, bits, recall, k) + (0.0 if in_memory else (WIDTH - 1) / 2)
    code_bytes = shape.dim * bits / 8
    looked_at = hops * DEGREE * FRESH
    kept = in_doubt(shape, bits, recall, k)
    processor_s = (
        speeds.query_s
        + hops * speeds.hop_s
        + looked_at * (speeds.jump_s + code_bytes * speeds.exact_byte_s)
        + kept * (speeds.jump_s + shape.vector_bytes * speeds.exact_byte_s)
    )
    codes = int(shape.count * (code_bytes + _BESIDE))
    if in_memory:
        return _placed("graph", bits, shape, tier, processor_s, kept, 0.0, 0.0, codes + shape.count * DEGREE * 4)
    edges = edge_bytes(shape.count)
    if is_beside(shape.vector_bytes + edges, tier):
        record = float(shape.vector_bytes + edges)
        return _placed("graph", bits, shape, tier, processor_s, hops, hops / WIDTH, record, codes, edges)
    reads, rounds = hops + kept, hops / WIDTH + 1.0
    each = (hops * _granules(edges, tier) + kept * _granules(shape.vector_bytes, tier)) / reads
    return _placed("graph", bits, shape, tier, processor_s, reads, rounds, each, codes, edges)


def walk_hops(shape: Shape, bits: float, recall: float, k: int = 10) -> float:
    """Return how many vertices a walk expands: its beam, and those on the way there from the nearest entry.

    All of the beam are compared exactly, so that it needs to be as wide as the codes leave vectors in doubt. Leading
    coordinates of 8 bits order vectors about as RaBitQ of half their size does: of 10,000 images of Fashion-MNIST a
    walk read 13 and 16 at recall 0.95 and 0.99 with four asked for at once, 15 and 17 by this.
    """
    way = math.log(max(1.0, shape.count / ENTRIES)) / math.log(DEGREE)
    return min(float(shape.count), in_doubt(shape, bits / 2, recall, k) + way)


def edge_bytes(count: int) -> int:
    """Return bytes of a vertex's edges in a tier: each has as many bits as twice so many vertices need."""
    return 4 * -(-DEGREE * (2 * count + 64).bit_length() // 32)


def is_beside(record_bytes: int, tier: Tier) -> bool:
    """Return whether a walk in a tier reads vectors with the edges."""
    return record_bytes <= max(BESIDE, tier.granule)


def _granules(size: float, tier: Tier) -> float:
    return float(math.ceil(size / tier.granule) * tier.granule)


def _placed(
    kind: Kind,
    bits: int,
    shape: Shape,
    tier: Tier,
    processor_s: float,
    reads: float,
    rounds: float,
    read_bytes: float,
    codes: int,
    edges: int = 0,
) -> Cost:
    """The cost with the vectors in a tier; in memory they are read in place."""
    vectors = shape.count * (shape.vector_bytes + edges)
    if tier.kind == "dram":
        return _cost(kind, bits, tier, processor_s, 0.0, 0.0, 0.0, codes + vectors, 0)
    granules = _granules(read_bytes, tier)
    return _cost(kind, bits, tier, processor_s + reads * tier.processor_s, reads, rounds, granules, codes, vectors)


def _cost(
    kind: Kind,
    bits: int,
    tier: Tier,
    processor_s: float,
    reads: float,
    rounds: float,
    read_bytes: float,
    dram: int,
    in_tier: int,
) -> Cost:
    by_processor = 1 / processor_s
    by_reads = tier.reads_per_s / reads if reads else math.inf
    waiting = rounds * tier.latency_s + (reads / tier.reads_per_s if reads else 0.0)
    by_latency = IN_FLIGHT / waiting if waiting else math.inf
    limits: dict[Limit, float] = {"processor": by_processor, "reads": by_reads, "latency": by_latency}
    limit = min(limits, key=lambda name: limits[name])
    return Cost(
        kind=kind,
        bits=bits,
        tier=tier,
        processor_s=processor_s,
        latency_s=processor_s + waiting,
        per_second=limits[limit],
        limit=limit,
        reads=reads,
        round_trips=rounds,
        tier_read_bytes=reads * read_bytes,
        dram_bytes=dram,
        tier_bytes=in_tier,
    )
