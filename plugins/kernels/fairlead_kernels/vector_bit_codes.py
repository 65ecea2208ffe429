"""RaBitQ codes of 1 to 8 bits a coordinate, with unbiased estimates and bounds of a stated probability.

A vector's difference to its list's centroid is coded in two segments (Gao and Long, SIGMOD 2024 and 2025; more bits
where variance is: SAQ, Li et al. 2025). The leading one, some principal components turned among themselves, lies in
blocks of 16 vectors that a scan reads front to back; the rest, and the lower bits of the leading codes, lie in a row a
vector, read only where the scan's lower bound passes.

Why ``default_plan`` is as it is, measured by exact reads needed for the 10 nearest of what the probed lists hold (of
256): on Fashion-MNIST (uint8, 784) 96 coordinates of 4 bits and a bit for each of the rest (168 B a vector) find 99.8 %
with 15 reads where 1 bit of everything (108 B) finds 97.4 % and needs 30 for 99.9 %; a scan reads 56 B a vector in
place of 108. On passages of books (float32, 384, cosine) 96 coordinates of 4 bits and a bit for the rest (112
B) reach 98 % of what is there with 15 reads and 99.6 % with 20, 2 bits of everything (104 B) 95.7 % and 98.4 %. Two
bits of 192 coordinates, three of 128 and six of 64 were no better at their size.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels.backend import extension
from fairlead_kernels.reference_bit_codes import ReferenceCoder
from fairlead_kernels.vector_codes import Rotation, aligned_rows, normalised
from fairlead_kernels.vectors import F32, U32, Space, VectorError, Vectors, as_bytes, as_floats

U8 = NDArray[np.uint8]
BLOCK = 16
"""Vectors of a block."""
_SAMPLE, _QUERIES, _NEAR = 4096, 512, 1


class Plan(NamedTuple):
    """How many bits which coordinates have.

    Attributes:
        lead: coordinates of the leading segment.
        scan_bits: 1, 2 or 4 bits of each lie in the blocks that a scan reads.
        lead_bits: bits of each in all, scan_bits to 8.
        rest: coordinates behind them.
        rest_bits: bits of each, 0 to 8; they and the lower leading bits lie in rows read only for what passes.
    """

    lead: int
    scan_bits: int
    lead_bits: int
    rest: int
    rest_bits: int

    @property
    def block_bytes(self) -> int:
        """Bytes of the codes and numbers of 16 vectors."""
        return 64 * (-(-self.lead * self.scan_bits // 32) + 2)

    @property
    def row_bytes(self) -> int:
        """Bytes of a vector's row; 0 where the blocks hold everything."""
        bits = -(-self.lead // 64) * (self.lead_bits - self.scan_bits) + -(-self.rest // 64) * self.rest_bits
        return 8 + 8 * bits if bits else 0

    @property
    def bytes_per_vector(self) -> float:
        """Bytes of a vector in full blocks and in its row."""
        return self.block_bytes / BLOCK + self.row_bytes

    def check(self) -> Plan:
        """Return the plan, or raise VectorError where it is none."""
        if self.scan_bits not in (1, 2, 4) or not self.scan_bits <= self.lead_bits <= 8:
            raise VectorError(f"plan: scan_bits must be 1, 2 or 4 and lead_bits scan_bits..8, got {tuple(self)}")
        if self.lead < 1 or self.rest < 0 or not 0 <= self.rest_bits <= 8 or (self.rest_bits and not self.rest):
            raise VectorError(f"plan: lead must be above 0 and rest_bits 0..8, 0 without a rest, got {tuple(self)}")
        return self


def uniform_plan(dim: int, bits: int) -> Plan:
    """Return the plan of plain RaBitQ codes: each of dim mixed coordinates has so many bits; a scan reads 1, 2 or 4.

    Raises:
        VectorError: bits are not 1..8.
    """
    if not 1 <= bits <= 8:
        raise VectorError(f"bits: must be 1..8, got {bits}")
    return Plan(dim, bits if bits in (1, 2) else 1, bits, 0, 0).check()


def default_plan(space: Space, most_bytes: float | None = None) -> Plan:
    """Return the plan that needs the fewest exact reads in so many bytes a vector (default: 0.077 of float32).

    Raises:
        VectorError: not even one bit for each coordinate fits.
    """
    dim = space.dim
    most = 0.077 * 4 * dim if most_bytes is None else most_bytes
    for lead in (96, 64, 32, 16):
        plan = Plan(lead, 4, 4, dim, 1)
        if lead <= max(16, dim // 4) and lead < dim and plan.bytes_per_vector <= most:
            return plan
    plan = uniform_plan(dim, 1)
    if plan.bytes_per_vector > most:
        raise VectorError(f"most_bytes: {plan.bytes_per_vector:.0f} bytes a vector are the least, got {most:.0f}")
    return plan


class CodedList(NamedTuple):
    """The codes of a list's vectors.

    Attributes:
        count: vectors.
        blocks: uint8 [count / 16 rounded up, plan.block_bytes], on cache lines.
        rows: uint8 [count, plan.row_bytes].
    """

    count: int
    blocks: U8
    rows: U8


class Estimates(NamedTuple):
    """Vectors of a list that passed, in its order: positions, estimates and lower bounds, all [passed]."""

    positions: U32
    estimates: F32
    lowers: F32


@dataclass(frozen=True, slots=True)
class BitCodes:
    """Codes by a plan, trained for a space. Rotated vectors are float32 [n, plan.lead + plan.rest + 1].

    Attributes:
        space: of the vectors; not bits.
        plan: which coordinates have how many bits.
        rotation: with plan.lead leading coordinates, or with none where the plan has no rest.
        balance: a typical query's length in the rest over that in the leading coordinates, seen from its centroid.
        unseen: typical |<o, q>| over |o| |q| in the rest.
        unit: a typical vector's distance from the mean: numbers are float16 in that unit.
        deviations: float32 [2, 1001]: what the estimates of near pairs of the sample exceed the distance by, in
            spreads, with a probability in thousandths; of scanned and of refined estimates.
    """

    space: Space
    plan: Plan
    rotation: Rotation
    balance: float
    unseen: float
    unit: float
    deviations: F32

    @classmethod
    def train(cls, sample: Vectors, space: Space, plan: Plan | None = None, *, seed: int = 0) -> BitCodes:
        """Return codes for a sample [n, columns] of the space's vectors, some thousands at best.

        Raises:
            VectorError: the space is one of bits, the sample has fewer than 2 vectors, or the plan is none.
        """
        if space.element == "bit" or len(sample) < 2:
            raise VectorError(
                f"sample: must be at least 2 vectors that are not bits, got {len(sample)} {space.element}"
            )
        chosen = (default_plan(space) if plan is None else plan).check()
        if chosen.lead + chosen.rest != space.dim + (chosen.lead if chosen.rest else 0):
            raise VectorError(f"plan: lead or, where there is a rest, rest must be {space.dim}, got {tuple(chosen)}")
        x = normalised(as_floats(sample, space), space)
        rotation = Rotation.train(x, "pca" if chosen.rest else "random", lead=chosen.lead, seed=seed)
        unit = float(np.sqrt(np.square(x - rotation.mean).sum(1).mean())) or 1.0
        codes = cls(space, chosen, rotation, 1.0, 0.1, unit, np.zeros((2, 1001), np.float32))
        return _calibrated(codes, sample[: _SAMPLE + _QUERIES], np.random.default_rng(seed))

    def coder(self) -> Any:
        """Return the native object that codes and scans by these numbers, or the NumPy one."""
        native = extension()
        if native is None:
            return ReferenceCoder(self)
        r = self.rotation
        arrays = (r.matrix, r.mean, r.order, r.signs)
        return native.BitCoder(*self.space.codes, tuple(self.plan), *arrays, self.balance, self.unseen, self.unit)

    def rotate(self, vectors: Vectors) -> F32:
        """Return vectors rotated (normalised before where the metric is cosine), the product with the mean last."""
        out = np.empty((len(vectors), self.plan.lead + self.plan.rest + 1), np.float32)
        self.coder().rotate(as_bytes(vectors), out)
        return out

    def centroid(self, rotated: F32) -> F32:
        """Return the mean of rotated vectors: a list's centroid."""
        return rotated.mean(0, dtype=np.float64).astype(np.float32)

    def encode(self, rotated: F32, centroid: F32) -> CodedList:
        """Return the codes of a list's rotated vectors relative to its rotated centroid."""
        blocks = aligned_rows(-(-len(rotated) // BLOCK), self.plan.block_bytes)
        rows = np.zeros((len(rotated), self.plan.row_bytes), np.uint8)
        self.coder().encode(np.ascontiguousarray(rotated), centroid, 0, blocks, rows)
        return CodedList(len(rotated), blocks, rows)

    def bound(self, confidence: float, *, refined: bool = True) -> float:
        """Return the spreads by which an estimate's lower bound lies below it to hold with that probability.

        It is the quantile over the sample's vectors and their nearest, so it holds for data like the sample. Estimates
        from codes of all coordinates are unbiased over rotations, whatever the data. A scan that leaves the rest out
        takes near vectors for farther than they are, the more so the nearer they are: its bound states a probability
        for pairs as near as the sample's nearest only, and is too tight for those of much denser data.

        Raises:
            VectorError: the confidence is not in 0.5..0.999.
        """
        if not 0.5 <= confidence <= 0.999:
            raise VectorError(f"confidence: must be 0.5..0.999, got {confidence}")
        return float(np.interp(confidence * 1000, np.arange(1001), self.deviations[int(refined)]))

    def scan(
        self,
        query: F32,
        centroid: F32,
        codes: CodedList,
        *,
        limit: float = np.inf,
        confidence: float = 0.99,
        refined: bool = False,
    ) -> Estimates:
        """Return estimates of a rotated query's distances to a list's vectors whose scanned lower bound is below limit.

        With ``refined`` the rows of those that passed are read, and estimates and bounds are better; the bounds hold
        each with the confidence.
        """
        scales = self.bound(confidence, refined=False), self.bound(confidence)
        return self._scan(query, centroid, codes, limit, scales, refined)

    def _scan(
        self, query: F32, centroid: F32, codes: CodedList, limit: float, scales: tuple[float, float], refined: bool
    ) -> Estimates:
        positions = np.empty(codes.count, np.uint32)
        estimates, lowers = np.empty(codes.count, np.float32), np.empty(codes.count, np.float32)
        passed = self.coder().scan(
            query, centroid, scales, codes.blocks, codes.rows, codes.count, limit, refined, positions, estimates, lowers
        )
        return Estimates(positions[:passed], estimates[:passed], lowers[:passed])

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return what is saved of it; ``from_arrays`` makes it again."""
        numbers = np.array([*self.plan, self.balance, self.unseen, self.unit], np.float64)
        return {**self.rotation.arrays(), "numbers": numbers, "deviations": self.deviations}

    @classmethod
    def from_arrays(cls, space: Space, arrays: dict[str, NDArray[Any]]) -> BitCodes:
        """Return what ``arrays`` came from.

        Raises:
            VectorError: an array is missing or has another shape; the message names it.
        """
        dim, given = space.dim, dict(arrays)
        for name in ("matrix", "mean", "order", "signs", "spectrum", "numbers", "deviations"):
            if name not in given:
                raise VectorError(f"{name}: is missing from the saved codes")
        numbers = given["numbers"]
        if numbers.shape != (8,) or given["deviations"].shape != (2, 1001) or given["mean"].shape != (dim,):
            raise VectorError(f"numbers, deviations, mean: must be [8], [2, 1001] and [{dim}] in the saved codes")
        if given["matrix"].ndim != 2 or given["matrix"].shape[1] != dim or given["order"].shape != given["signs"].shape:
            raise VectorError(f"matrix, order, signs: must be [lead, {dim}] and twice [rounds, {dim}]")
        plan = Plan(*(int(n) for n in numbers[:5])).check()
        rotation = Rotation(*(given[name] for name in ("matrix", "mean", "order", "signs", "spectrum")))
        return cls(space, plan, rotation, *(float(n) for n in numbers[5:]), given["deviations"])


def _calibrated(codes: BitCodes, sample: Vectors, random: np.random.Generator) -> BitCodes:
    """The codes with what near pairs of the sample say: balance, unseen and the deviations."""
    rotated = codes.rotate(sample)
    points = random.permutation(len(sample))
    queries, stored = points[: min(_QUERIES, len(sample) // 2)], points[min(_QUERIES, len(sample) // 2) :]
    centroids, lists = _clusters(rotated[stored], random)
    lead, dim = codes.plan.lead, codes.plan.lead + codes.plan.rest
    y = rotated[stored, :dim] - centroids[lists, :dim]
    if codes.plan.rest:
        balance = float(np.sqrt(np.square(y[:, lead:]).sum() / max(float(np.square(y[:, :lead]).sum()), 1e-30)))
        codes = replace(codes, balance=max(balance, 1e-3), unseen=_unseen(y[:, lead:], random))
    pairs = [
        _exceeding(codes, rotated[queries], rotated[stored], centroids, lists, refined) for refined in (False, True)
    ]
    deviations = np.stack([np.quantile(found, np.linspace(0, 1, 1001)) for found in pairs])
    return replace(codes, deviations=deviations.astype(np.float32))


def _unseen(rest: F32, random: np.random.Generator) -> float:
    """Root mean square of the cosines between the rests of random pairs."""
    norms = np.linalg.norm(rest, axis=1, keepdims=True)
    unit = rest / np.where(norms > 0, norms, 1)
    return max(float(np.sqrt(np.square((unit * unit[random.permutation(len(unit))]).sum(1)).mean())), 1e-3)


def _clusters(x: F32, random: np.random.Generator) -> tuple[F32, NDArray[np.int64]]:
    """Some rounds of k-means, about 64 vectors a cluster: lists as an index would have them."""
    centroids = x[random.permutation(len(x))[: max(1, len(x) // 64)]]
    lists = np.zeros(len(x), np.int64)
    for _ in range(4):
        lists = np.argmin(np.square(centroids[:, :-1]).sum(1) - 2 * x[:, :-1] @ centroids[:, :-1].T, axis=1)
        members = (lists[:, None] == np.arange(len(centroids))).astype(np.float32)
        counts = members.sum(0)[:, None]
        centroids = np.where(counts > 0, members.T @ x / np.maximum(counts, 1), centroids).astype(np.float32)
    return centroids, lists


def _exceeding(
    codes: BitCodes, queries: F32, stored: F32, centroids: F32, lists: NDArray[np.int64], refined: bool
) -> F32:
    """(estimate - distance) / spread of each query's nearest stored vectors."""
    estimates, spreads = np.empty((2, len(queries), len(stored)), np.float32)
    for number, centroid in enumerate(centroids):
        members = np.flatnonzero(lists == number)
        coded = codes.encode(stored[members], centroid)
        for row, query in enumerate(queries):
            found = codes._scan(query, centroid, coded, np.inf, (1.0, 1.0), refined)
            estimates[row, members] = found.estimates
            spreads[row, members] = found.estimates - found.lowers
    exact = rotated_distances(codes, queries, stored)
    near = np.argpartition(exact, min(_NEAR, len(stored) - 1), axis=1)[:, :_NEAR]
    picked = [np.take_along_axis(values, near, 1) for values in (estimates, exact, spreads)]
    return ((picked[0] - picked[1]) / np.maximum(picked[2], 1e-9 * codes.unit)).ravel()


def rotated_distances(codes: BitCodes, queries: F32, stored: F32) -> F32:
    """Return the exact distances [queries, stored] of rotated vectors."""
    products = queries[:, :-1] @ stored[:, :-1].T
    if codes.space.metric == "dot":
        mean = codes.rotation.mean
        return -(products + queries[:, -1:] + stored[:, -1] - mean @ mean)
    squares = np.square(queries[:, :-1]).sum(1)[:, None] + np.square(stored[:, :-1]).sum(1) - 2 * products
    return squares * np.float32(0.5 if codes.space.metric == "cosine" else 1)
