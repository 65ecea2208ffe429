"""A graph of vectors in NumPy: the same algorithms as the native one on exact distances, small and slow.

Where the native graph walks by codes this one walks by distances, so both find the same nearest vectors where the codes
tell the candidates apart, and need not pass through the same vertices on the way. What codes hold, and what they are
worth, is here too: `coordinates`, `walk_scores` and `code_distances`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels import reference_vectors

I64 = NDArray[np.int64]
I8 = NDArray[np.int8]
F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]
LINE, NORM_BYTES = 64, 4
#: Widths of the planes that numbers of rows lie in, and how much what refines an outermost 4 bit coordinate counts.
PLANES, EDGE = (8, 4, 2, 1), 4


def coordinates(codes: U8, bits: int) -> I64:
    """Return the coordinates, in steps, of walk codes [n, bytes]: [n, leading], -127 to 127, or -7 to 7 of 4 bits."""
    packed = codes[:, :-NORM_BYTES].astype(np.int64)
    return packed - 128 if bits == 8 else np.concatenate([packed & 15, packed >> 4], 1) - 8


def half_norms(codes: U8) -> I64:
    """Return the half squared norms [n] of walk codes [n, bytes], in units of a score."""
    return np.ascontiguousarray(codes[:, -NORM_BYTES:]).view(np.int32)[:, 0].astype(np.int64)


def factors(walked: I8, bits: int) -> I64:
    """Return what a query [bytes of a query], as walks take it, multiplies each leading coordinate with: [leading]."""
    if bits == 8:
        return walked[:-NORM_BYTES].astype(np.int64)
    halves = walked.reshape(-1, 2, LINE).transpose(1, 0, 2).reshape(2, -1)
    return halves[:, :-NORM_BYTES].reshape(-1).astype(np.int64)


def walk_scores(codes: U8, bits: int, walked: I8) -> I64:
    """Return the scores [n] of walk codes [n, bytes] for a query, the nearest the smallest."""
    stored = coordinates(codes, bits) + (128 if bits == 8 else 8)
    return half_norms(codes) + stored @ factors(walked, bits)


def code_distances(codes: U8, bits: int, at: int) -> I64:
    """Return squared distances [n], in squared steps, of walk codes [n, bytes] from one of them."""
    whole = coordinates(codes, bits)
    return np.square(whole - whole[at]).sum(1)


def unpacked(planes: U8, count: int, bits: int) -> I64:
    """Return numbers [n, count] of so many bits that lie in planes [n, bytes], the lowest bits in the widest plane."""
    values, at, shift = np.zeros((len(planes), count), np.int64), 0, 0
    for width in (width for width in PLANES if bits & width):
        size = -(-count * width // 8)
        plane = planes[:, at : at + size].astype(np.int64)
        parts = [plane >> low & (1 << width) - 1 for low in range(0, 8, width)]
        values += np.concatenate(parts, axis=1)[:, :count] << shift
        at, shift = at + size, shift + width
    return values


def row_values(codes: U8, rows: U8, bits: int, extra: int, trailing: int, tail_bits: int) -> tuple[I64, I64]:
    """Return what rows [n, bytes] beside walk codes hold: leading coordinates, in steps by 2^extra, and trailing ones.

    A leading coordinate is its code's, refined by `extra` bits, of which half a step is taken; what refines one of the
    outermost of 4 bits counts `EDGE` times, outwards.
    """
    near = coordinates(codes, bits)
    size, half = sum(-(-near.shape[1] * width // 8) for width in PLANES if extra & width), (1 << extra) >> 1
    more = unpacked(rows[:, :size], near.shape[1], extra) - half
    if bits == 4:
        outwards = np.sign(near) * (EDGE * (more + half) - half)
        more = np.where(np.abs(near) == 7, outwards, more)
    return (near << extra) + more, unpacked(rows[:, size:], trailing, tail_bits) - ((1 << tail_bits) >> 1)


def robust_prune(distances: F32, between: F32, degree: int, alpha: float) -> list[int]:
    """Return which candidates become neighbours, the nearest first (RobustPrune, Subramanya et al. 2019).

    Args:
        distances: [n], ascending, of the candidates from the vertex.
        between: [n, n], of the candidates from each other.
        degree: how many at most.
        alpha: by how much a chosen one must be nearer to a candidate than the vertex is, to make it needless.
    """
    chosen: list[int] = []
    occlusion = np.zeros(len(distances), np.float32)
    for limit in (1.0, alpha):
        for at in range(len(distances)):
            if len(chosen) == degree:
                return chosen
            if at in chosen or occlusion[at] > limit:
                continue
            chosen.append(at)
            with np.errstate(divide="ignore", invalid="ignore"):
                ratio = np.where(between[at] > 0, distances / between[at], np.float32(1e30))
            occlusion[at + 1 :] = np.maximum(occlusion, ratio)[at + 1 :]
    rest = [at for at in range(len(distances)) if at not in chosen]
    return chosen + rest[: degree - len(chosen)]


class ReferenceGraph:
    """Vectors by slot, each linked to at most `degree` others."""

    def __init__(self, space: Any, degree: int, beam: int, alpha: float, entries: int = 256) -> None:
        self.space, self.degree, self.beam, self.alpha, self.most_entries = space, degree, beam, alpha, entries
        self.rows: dict[int, NDArray[Any]] = {}
        self.edges: dict[int, list[int]] = {}
        self.gone: set[int] = set()
        self.entries: list[int] = []

    def _space(self, metric: str | None) -> Any:
        return self.space if metric is None else type(self.space)(self.space.element, metric, self.space.dim)

    def _distances(self, query: NDArray[Any], slots: list[int], metric: str | None = None) -> F32:
        if not slots:
            return np.empty(0, np.float32)
        return reference_vectors.distances(self._space(metric), query[None], np.stack([self.rows[s] for s in slots]))[0]

    def insert(self, slots: list[int], vectors: NDArray[Any]) -> None:
        """Add vectors one after the other."""
        for slot, vector in zip(slots, vectors, strict=True):
            self.rows[slot] = vector
            candidates = self._walk(vector, self.beam)[1] if self.entries else []
            self.edges[slot] = []
            self._link(slot, candidates)
            if len(self.entries) < self.most_entries:
                self.entries.append(slot)
            for other in list(self.edges[slot]):
                self._receive(other, slot)

    def _link(self, slot: int, candidates: list[int]) -> None:
        others = sorted({c for c in candidates if c != slot})
        metric = "cosine" if self.space.metric == "cosine" else "l2"
        distances = self._distances(self.rows[slot], others, metric)
        order = np.argsort(distances, kind="stable")
        others = [others[i] for i in order]
        if others:
            rows = np.stack([self.rows[o] for o in others])
            between = reference_vectors.distances(self._space(metric), rows, rows)
            chosen = robust_prune(distances[order], between, self.degree, self.alpha)
            self.edges[slot] = [others[i] for i in chosen]

    def _receive(self, slot: int, source: int) -> None:
        if source in self.edges[slot]:
            return
        if len(self.edges[slot]) < self.degree:
            self.edges[slot].append(source)
        else:
            self._link(slot, [*self.edges[slot], source])

    def _walk(self, query: NDArray[Any], beam: int) -> tuple[list[int], list[int]]:
        """Return the beam and the vertices that were expanded."""
        seen = dict(zip(self.entries, self._distances(query, self.entries).tolist(), strict=True))
        expanded: list[int] = []
        while True:
            nearest = sorted(seen, key=lambda s: (seen[s], s))[:beam]
            waiting = [s for s in nearest if s not in expanded]
            if not waiting:
                return nearest, expanded
            expanded.append(waiting[0])
            fresh = [s for s in self.edges[waiting[0]] if s not in seen]
            seen.update(zip(fresh, self._distances(query, fresh).tolist(), strict=True))

    def remove(self, slots: list[int]) -> int:
        """Find slots no more."""
        there = [s for s in slots if s in self.rows and s not in self.gone]
        self.gone.update(there)
        return len(there)

    def consolidate(self) -> None:
        """Link the neighbours of removed slots around them (FreshDiskANN, algorithm 4) and forget those."""
        for slot in sorted(set(self.edges) - self.gone):
            lost = [s for s in self.edges[slot] if s in self.gone]
            if lost:
                wider = [*self.edges[slot], *(n for s in lost for n in self.edges[s])]
                self.edges[slot] = []
                self._link(slot, [s for s in wider if s not in self.gone])
        for slot in self.gone:
            del self.rows[slot], self.edges[slot]
        self.gone.clear()
        self.entries = [s for s in self.entries if s in self.rows]
        self.entries += [s for s in sorted(self.rows) if s not in self.entries][: self.most_entries - len(self.entries)]

    def search(self, query: NDArray[Any], k: int, beam: int, allowed: NDArray[np.bool_] | None) -> tuple[I64, F32]:
        """Return the nearest k slots and their distances; fewer where fewer were met."""
        found = self._walk(query, beam)[0] if allowed is None else list(self.rows)
        found = [s for s in found if s not in self.gone and (allowed is None or (s < len(allowed) and allowed[s]))]
        distances = self._distances(query, found)
        order = np.lexsort((found, distances))[:k]
        return np.array(found, np.int64)[order], distances[order]
