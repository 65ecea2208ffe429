"""Cluster indexes in NumPy: what the native ones are tested against, and their announced, slower stand-in."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels import reference_vectors
from fairlead_kernels.vectors import F32, U32

U8 = NDArray[np.uint8]


def reference_kmeans(sample: F32, clusters: int, rounds: int, balance: float, seed: int) -> F32:
    """Balanced k-means as the native one has it, but for the draws."""
    random = np.random.default_rng(seed)
    centroids = sample[random.permutation(len(sample))[:clusters]].copy()
    price = np.zeros(clusters, np.float32)
    for _ in range(rounds):
        cost = np.einsum("ij,ij->i", centroids, centroids) + price - 2 * sample @ centroids.T
        nearest = cost.argmin(axis=1)
        distance = np.square(sample - centroids[nearest]).sum(axis=1).mean()
        sizes = np.bincount(nearest, minlength=clusters)
        price = (balance * distance * (sizes / (len(sample) / clusters) - 1)).astype(np.float32)
        for c in range(clusters):
            members = sample[nearest == c]
            centroids[c] = members.mean(axis=0) if len(members) else sample[random.integers(len(sample))]
    return centroids


def randomized(x: F32, signs: F32) -> F32:
    """Return rows turned by four rounds of signs and Hadamard transforms over the largest power of two, in turns."""
    size = x.shape[1]
    if size < 2:
        return x
    power, y = 1 << (size.bit_length() - 1), x.copy()
    hadamard = np.ones((1, 1), np.float32)
    while len(hadamard) < power:
        hadamard = np.block([[hadamard, hadamard], [hadamard, -hadamard]])
    for turn in range(4):
        y *= signs[turn]
        part = slice(0, power) if turn % 2 == 0 else slice(size - power, size)
        y[:, part] = y[:, part] @ hadamard / np.float32(np.sqrt(power))
    return y


class ReferenceLists:
    """A cluster index in NumPy; methods as the native class has them. Rows are handed out by slot order of arrival."""

    def __init__(self, training: Any, closure: Any = None) -> None:
        self._t, self._closure = training, closure
        self.row_bytes = training.space.row_bytes
        self._list: dict[int, int] = {}
        self._row: dict[int, int] = {}
        self._estimate: dict[int, tuple[F32, F32, float, float]] = {}  # lead, tail (scaled), float, error
        self._near: dict[int, U32] = {}  # all lists of a vector, its own first
        self._copies = np.zeros(len(training.centroids), np.int64)
        self._free: list[int] = []
        self.rows = 0

    @property
    def live(self) -> int:
        """Vectors."""
        return len(self._list)

    @property
    def copies(self) -> int:
        """Further entries of vectors."""
        return int(self._copies.sum())

    @property
    def dram_bytes(self) -> int:
        """Bytes of arrays, as good as NumPy's objects can be counted."""
        return (self.live + self.copies) * (4 * self._t.space.dim + 400) + self._t.centroids.nbytes

    def turned(self, rows: U8, centre: bool = True) -> tuple[F32, F32, F32]:
        """Return leading dimensions, the others turned at random, and the others' squared length."""
        t = self._t
        x = _floats(t.space, rows)
        if centre:
            x = x - t.mean
        y = (x - ((x @ t.reflectors.T) @ t.triangle.T) @ t.reflectors).astype(np.float32)
        tail = y[:, t.lead :]
        return y[:, : t.lead], randomized(tail, t.signs) if t.tail else tail, np.square(tail).sum(axis=1)

    def assign(self, rows: U8) -> tuple[U32, F32]:
        """Return each vector's list and its place along the main direction."""
        lead, _, _ = self.turned(rows)
        c = self._t.centroids
        nearest = (np.einsum("ij,ij->i", c, c) - 2 * lead @ c.T).argmin(axis=1).astype(np.uint32)
        return nearest, lead[:, 0] - c[nearest, 0]

    def closure(self, rows: U8, own: U32 | None = None, any_room: bool = True) -> U32:
        """Return each vector's lists [n, 1 + copies], its own first; see `vector_list_training.Closure`."""
        c, lead = self._t.centroids, self.turned(rows)[0]
        own = self.assign(rows)[0] if own is None else own
        most = self._closure.copies if self._closure else 0
        found = np.full((len(rows), 1 + most), 0xFFFFFFFF, np.uint32)
        found[:, 0] = own
        for line, x, number in zip(found, lead, own, strict=True):
            distance = np.square(c - x).sum(axis=1)
            order = np.argsort(distance, kind="stable")
            for other in order[order != number][:_LOOKED_AT] if most else ():
                if (
                    len(taken := line[line != 0xFFFFFFFF]) > most
                    or distance[other] > self._closure.near * distance[number]
                ):
                    break
                apart = self._closure.apart * np.square(c[taken] - c[other]).sum(axis=1)
                if (apart >= distance[other]).all() and (any_room or self._copies[other] < self._closure.room):
                    line[len(taken)] = other
        return found

    def add(self, tier: Any, slots: U32, rows: U8, lists: U32) -> None:
        """Add vectors."""
        for slot in map(int, slots):
            if slot in self._list:
                raise ValueError(f"slot {slot} is there already")
        into = lists if len(lists) == len(slots) else self.assign(rows)[0]
        for slot, number, row, codes in zip(slots, into, rows, self._codes(rows, into), strict=True):
            place = self._free.pop() if self._free else self.rows
            if (place + 1) * self.row_bytes > tier.size:
                raise ValueError("the region has no room for another vector")
            self.rows = max(self.rows, place + 1)
            tier.write(place * self.row_bytes, row)
            self._list[int(slot)], self._row[int(slot)] = int(number), place
            self._estimate[int(slot)] = codes
            near = self.closure(row[None], np.array([number], np.uint32), any_room=False)[0]
            self._near[int(slot)] = near = near[near != 0xFFFFFFFF]
            self._copies[near[1:]] += 1

    def remove(self, slots: U32) -> int:
        """Remove vectors."""
        there = [int(slot) for slot in slots if int(slot) in self._list]
        for slot in there:
            self._free.append(self._row.pop(slot))
            self._copies[self._near.pop(slot)[1:]] -= 1
            del self._list[slot], self._estimate[slot]
        return len(there)

    def has(self, slot: int) -> bool:
        """Return whether a slot is there."""
        return slot in self._list

    def vectors(self, tier: Any, slots: U32, out: U8) -> None:
        """Read exact vectors."""
        for slot in map(int, slots):
            if slot not in self._row:
                raise IndexError(f"slot {slot} is not there")
        rows = np.array([self._row[int(slot)] for slot in slots], np.uint64)
        sizes = np.full(len(rows), self.row_bytes, np.uint32)
        tier.read(rows * np.uint64(self.row_bytes), sizes, out.reshape(-1))

    def search(
        self,
        tiers: list[Any],
        queries: U8,
        k: int,
        effort: tuple[int, int, int, float, float, int, int, bool],
        allowed: U8 | None,
        into: tuple[NDArray[np.int64], F32, NDArray[np.int32], NDArray[np.int64]],
    ) -> None:
        """Search one query after the other."""
        probes, candidates, reads, confidence, spread, _, _, exact = effort
        slots, distances, counts, tier_bytes = into
        reads = max(reads, k)
        for q, query in enumerate(queries):
            found, estimates, errors, counts[2, q] = self._scan(query, probes, allowed, max(candidates, reads))
            if exact:
                keep = self._worth(estimates, errors, k, reads, confidence * spread)
                found = found[keep]
                out = np.empty((len(found), self.row_bytes), np.uint8)
                self.vectors(tiers[0], found.astype(np.uint32), out)
                space = self._t.space
                typed = (a.view(space.dtype).reshape(-1, space.columns) for a in (query[None].copy(), out))
                estimates = reference_vectors.distances(space, *typed)[0] if len(found) else estimates[:0]
                counts[0, q], counts[1, q], tier_bytes[q] = len(found), len(found) > 0, out.nbytes
            order = np.lexsort((found, estimates))[:k]
            slots[q], distances[q] = -1, np.inf
            slots[q, : len(order)], distances[q, : len(order)] = found[order], estimates[order]

    def estimates(self, queries: U8, rows: U8, centroid: F32, out: F32) -> None:
        """What codes of vectors in a list of that centroid say about queries."""
        codes = self._codes(rows, np.zeros(len(rows), np.uint32), centroid[None])
        for q, query in enumerate(queries):
            out[q] = self._estimates(query, codes, np.repeat(centroid[None], len(rows), 0))[0]

    def maintain(self, tier: Any, target: int) -> bool:
        """Nothing: lists here have no layout that wears out."""
        return False

    def wanting(self, target: int) -> int:
        """None."""
        return 0

    @property
    def lists(self) -> int:
        """Lists."""
        return len(self._t.centroids)

    def sizes(self) -> U32:
        """Return the vectors of each list."""
        numbers = np.fromiter(self._list.values(), np.int64, len(self._list))
        return np.bincount(numbers, minlength=len(self._t.centroids)).astype(np.uint32)

    def saved(self) -> dict[str, NDArray[Any]]:
        """Return slots, lists and rows: codes are made again from the vectors."""
        raise ValueError("saving a cluster index needs the native kernels; build fairlead-kernels with a compiler")

    def adopt(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Refuse, as `saved` does."""
        self.saved()

    def _codes(self, rows: U8, lists: U32, centroids: F32 | None = None) -> list[tuple[F32, F32, float, float]]:
        t = self._t
        lead, tail, norm2 = self.turned(rows)
        residual = lead - (t.centroids if centroids is None else centroids)[lists]
        half = np.where(np.arange(t.lead) < t.bytes_dims, 128, 8)
        code = np.clip(np.floor(residual / t.steps) + half, 0, 2 * half - 1)
        own = np.square(residual).sum(axis=1) + norm2
        total = np.abs(tail).sum(axis=1)
        if t.tail:
            scale = np.where(total > 0, norm2 / np.where(total > 0, total, 1), 0)
        elif tail.shape[1]:
            scale = np.sqrt(norm2 / tail.shape[1]) / _BESIDE
        else:
            scale = np.full(len(rows), np.sqrt(np.square(t.steps).mean() / 12) / _BESIDE)
        signs = np.where(tail > 0, 1, -1) if t.tail else np.zeros_like(tail)
        tails = (signs * scale[:, None]).astype(np.float32)
        leads = ((code - half + 0.5) * t.steps).astype(np.float32)
        return [(leads[i], tails[i], float(own[i]), float(scale[i])) for i in range(len(rows))]

    def _estimates(self, query: U8, codes: list[Any], centroids: F32) -> tuple[F32, F32]:
        space = self._t.space
        dots, cosine = _dots(space), space.metric == "cosine" and space.element != "bit"
        lead, tail, norm2 = self.turned(query[None], centre=not dots)
        leads, tails = np.stack([c[0] for c in codes]), np.stack([c[1] for c in codes])
        own, scale = np.array([c[2] for c in codes]), np.array([c[3] for c in codes])
        beyond = norm2[0] if tail.shape[1] else np.square(lead).sum()
        errors = _BESIDE * np.sqrt(beyond) * scale * (1 if dots or cosine else 2)
        if dots:
            whole = _floats(space, query[None])[0]
            return -(whole @ self._t.mean + centroids @ lead[0] + leads @ lead[0] + tails @ tail[0]), errors
        residual = lead - centroids
        inner = np.einsum("ij,ij->i", residual, leads) + tails @ tail[0]
        found = np.square(residual).sum(axis=1) + norm2[0] + own - 2 * inner
        return found / 2 if cosine else found, errors

    def _scan(self, query: U8, probes: int, allowed: U8 | None, most: int) -> tuple[Any, Any, Any, int]:
        c = self._t.centroids
        lead, _, _ = self.turned(query[None], centre=not _dots(self._t.space))
        far = -(c @ lead[0]) if _dots(self._t.space) else np.einsum("ij,ij->i", c, c) - 2 * c @ lead[0]
        chosen = set(np.argsort(far, kind="stable")[:probes].tolist())
        probed = [(s, len(chosen.intersection(near.tolist()))) for s, near in self._near.items()]
        scanned, slots = sum(count for _, count in probed), [s for s, count in probed if count]
        if allowed is not None:
            slots = [s for s in slots if s // 8 < len(allowed) and allowed[s // 8] >> (s % 8) & 1]
        if not slots:
            return np.zeros(0, np.int64), np.zeros(0, np.float32), np.zeros(0), scanned
        centroids = c[[self._list[s] for s in slots]]
        estimates, errors = self._estimates(query, [self._estimate[s] for s in slots], centroids)
        order = np.argsort(estimates, kind="stable")[:most]
        return np.array(slots, np.int64)[order], estimates[order].astype(np.float32), errors[order], scanned

    @staticmethod
    def _worth(estimates: F32, errors: Any, k: int, reads: int, confidence: float) -> NDArray[np.bool_]:
        keep = np.arange(len(estimates)) < reads
        if len(estimates) > k and errors.max() > 0:
            margin = confidence * np.sqrt(errors**2 + errors[k - 1] ** 2)
            keep &= (np.arange(len(estimates)) < k) | (estimates - estimates[k - 1] <= margin)
        return keep


#: Nearest lists that closure looks at.
_LOOKED_AT = 32
#: What the signs of a random direction leave of it: sqrt(1 - 2 / pi).
_BESIDE = 0.6028103


def _dots(space: Any) -> bool:
    return space.metric == "dot" and space.element != "bit"


def _floats(space: Any, rows: U8) -> F32:
    typed = np.ascontiguousarray(rows).view(space.dtype).reshape(len(rows), space.columns)
    values = reference_vectors.as_floats(typed, space.element, space.dim).astype(np.float32)
    if space.metric == "cosine" and space.element != "bit":
        length = np.sqrt(np.square(values).sum(axis=1, keepdims=True))
        values = values / np.where(length > 0, length, 1)
    return values
