"""An index of a few thousand vectors that lie in a tier: all their 8-bit codes are compared, the best are read.

Each vector's code is its numbers over its own largest one, rounded to 8 bits: a quarter of float32 in main memory. What
a query reads from the tier, it reads in one batch.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .bitmap import has
from .distances import distances, exact_distances
from .errors import BudgetExceeded, CorruptFile, NotFound, TieredRetrievalError
from .index import Found, Limits, Progress, Sizes, Told
from .space import Space, to_float
from .tiers.region import Region, TierError

#: Exact vectors that are read beside the k asked for: so many, and so many times k.
EXTRA, TIMES = 16, 1.5
CHUNK = 2048
_FILES = ("slots.npy", "codes.npy", "scales.npy")


class CodedIndex:
    """Codes in main memory, vectors in a region. Attributes and methods as `index.Index` has them.

    Row r of the region holds a vector; rows of removed ones are filled again.
    """

    kind = "codes"
    batched = False

    def __init__(self, space: Space, region: Region) -> None:
        self.space, self._region = space, region
        self._codes = np.zeros((0, space.columns), np.uint8 if space.element == "bit" else np.int8)
        self._scales = np.zeros(0, np.float32)
        #: Slot of each row, -1 where there is none.
        self._slots = np.zeros(0, np.int64)
        self._rows: dict[int, int] = {}
        self._free: list[int] = []

    @classmethod
    def build(
        cls,
        space: Space,
        slots: NDArray[np.int64],
        vectors: NDArray,
        *,
        limits: Limits = Limits(),
        region: Any = None,
        told: Told | None = None,
    ) -> CodedIndex:
        """Write vectors into the region and keep their codes."""
        if region is None:
            raise TieredRetrievalError("region = None of an index of codes; accepted: a region for its vectors")
        index = cls(space, region)
        needed = index.more_bytes(len(slots))
        if limits.memory_bytes is not None and needed > limits.memory_bytes:
            raise BudgetExceeded(f"codes of {len(slots)} vectors", needed, limits.memory_bytes)
        for start in range(0, len(slots), CHUNK):
            part = slots[start : start + CHUNK]
            index.add(part, vectors[part])
            if told is not None:
                told((start + len(part)) / len(slots))
        return index

    @classmethod
    def load(cls, folder: Path, space: Space, *, region: Any = None) -> CodedIndex:
        """Read what `save` wrote."""
        try:
            slots, codes, scales = (np.load(folder / f"code-{name}", allow_pickle=False) for name in _FILES)
        except (OSError, ValueError) as error:
            raise CorruptFile(folder, 0, str(error), "the vectors are kept elsewhere") from None
        index = cls(space, region)
        if region is None or codes.shape != (len(slots), space.columns) or scales.shape != slots.shape:
            raise CorruptFile(folder, 0, "it is of another shape", "the vectors are kept elsewhere")
        index._slots, index._codes, index._scales = slots, codes, scales
        index._rows = {slot: row for row, slot in enumerate(slots.tolist()) if slot >= 0}
        index._free = np.flatnonzero(slots < 0).tolist()
        return index

    @property
    def count(self) -> int:
        """Vectors that can be found."""
        return len(self._rows)

    def search(
        self,
        queries: NDArray,
        k: int,
        *,
        recall: float = 0.95,
        allowed: NDArray[np.uint8] | None = None,
        threads: int = 1,
    ) -> Found:
        """Compare with all codes, read the best from the tier in one batch, and order them exactly.

        Where the tier does not answer, the order is that of the codes, and what was found is not `complete`.
        """
        # Rows are copied when they change, never in place: what was taken here stays whole.
        slots, codes, scales, region = self._slots, self._codes, self._scales, self._region
        live = np.flatnonzero(slots >= 0 if allowed is None else (slots >= 0) & has(allowed, slots))
        reads = min(len(live), k + max(EXTRA, int(TIMES * k)) if recall < 1 else len(live))
        near, found = self._coarse(queries, codes, scales, live, reads)
        try:
            near, found = self._exact(queries, near, region)
            complete = True
        except TierError:
            complete = False
        # A row that was filled anew meanwhile held a vector that is removed now.
        found = np.where(self._slots[near] == slots[near], found, np.float32(np.inf))
        names, best = np.full((len(queries), k), -1, np.int64), np.full((len(queries), k), np.inf, np.float32)
        for row in range(len(queries)):
            order = np.lexsort((slots[near[row]], found[row]))[:k]
            order = order[np.isfinite(found[row][order])]
            names[row, : len(order)], best[row, : len(order)] = slots[near[row]][order], found[row][order]
        each = np.full(len(queries), reads if complete else 0, np.int32)
        return Found(names, best, each, np.minimum(each, 1), each.astype(np.int64) * self.space.bytes, complete)

    def _coarse(
        self, queries: NDArray, codes: NDArray, scales: NDArray, live: NDArray, count: int
    ) -> tuple[NDArray, NDArray]:
        """The rows of the nearest codes [queries, count], and how far they are."""
        best, rows = np.zeros((len(queries), 0), np.float32), np.zeros((len(queries), 0), np.int64)
        for start in range(0, len(live), CHUNK):
            part = live[start : start + CHUNK]
            found = np.hstack((best, self._code_distances(queries, codes[part], scales[part])))
            names = np.hstack((rows, np.broadcast_to(part, (len(queries), len(part)))))
            keep = min(count, found.shape[1])
            order = np.argpartition(found, max(0, keep - 1), axis=1)[:, :keep]
            best, rows = np.take_along_axis(found, order, 1), np.take_along_axis(names, order, 1)
        return rows, best

    def _code_distances(self, queries: NDArray, codes: NDArray, scales: NDArray) -> NDArray:
        if self.space.element == "bit":
            return distances(queries, codes, self.space)
        values = codes.astype(np.float32) * scales[:, None]
        return distances(to_float(queries, self.space), values, Space("float32", self.space.metric, self.space.dim))

    def _exact(self, queries: NDArray, near: NDArray, region: Region) -> tuple[NDArray, NDArray]:
        """Read the rows of all queries in one batch; return them with exact distances."""
        read = self._read(near.reshape(-1), region).reshape(*near.shape, self.space.columns)
        exact = [exact_distances(query, rows, self.space) for query, rows in zip(queries, read, strict=True)]
        return near, np.array(exact, np.float32).reshape(near.shape)

    def _read(self, rows: NDArray, region: Region) -> NDArray:
        if not len(rows):
            return np.zeros((0, self.space.columns), self.space.dtype)
        size = self.space.bytes
        return region.read_batch(rows * size, size).view(self.space.dtype).reshape(-1, self.space.columns)

    def add(self, slots: NDArray[np.int64], vectors: NDArray) -> None:
        """Write vectors into the region; raises BudgetExceeded where it is full."""
        if not len(slots):
            return
        self.remove(slots)
        rows = self._room(len(slots))
        size, data = self.space.bytes, np.ascontiguousarray(vectors, self.space.dtype)
        for begin, end in _runs(rows):
            self._region.write(int(rows[begin]) * size, data[begin:end])
        codes, scales = self._coded(data)
        more = int(rows.max()) + 1
        kept = [_sized(array, more, nothing) for array, nothing in self._arrays()]
        kept[0][rows], kept[1][rows], kept[2][rows] = slots, codes, scales
        # Searches take the slots first: what they name must be there.
        self._scales, self._codes, self._slots = kept[2], kept[1], kept[0]
        self._rows.update(zip(slots.tolist(), rows.tolist(), strict=True))

    def _arrays(self) -> tuple[tuple[NDArray, int], ...]:
        return (self._slots, -1), (self._codes, 0), (self._scales, 0)

    def _room(self, count: int) -> NDArray[np.int64]:
        """Rows for so many vectors: free ones first."""
        fresh, total = max(0, count - len(self._free)), len(self._slots)
        if (needed := (total + fresh) * self.space.bytes) > self._region.size:
            raise BudgetExceeded(f"{self._region.url}: {count} more vectors", needed, self._region.size)
        rows = sorted([self._free.pop() for _ in range(count - fresh)]) + list(range(total, total + fresh))
        return np.array(rows, np.int64)

    def _coded(self, vectors: NDArray) -> tuple[NDArray, NDArray]:
        if self.space.element == "bit":
            return vectors, np.ones(len(vectors), np.float32)
        values = to_float(vectors, self.space)
        scales = np.maximum(np.abs(values).max(axis=1), np.finfo(np.float32).tiny) / np.float32(127)
        return np.rint(values / scales[:, None]).astype(np.int8), scales.astype(np.float32)

    def remove(self, slots: NDArray[np.int64]) -> None:
        """Remove slots; their rows are free for others."""
        rows = [row for slot in slots.tolist() if (row := self._rows.pop(slot, None)) is not None]
        if rows:
            kept = self._slots.copy()
            kept[rows] = -1
            self._slots = kept
            self._free += rows

    def busy(self) -> NDArray[np.int64]:
        """Return none: rows are free at once."""
        return np.zeros(0, np.int64)

    def vectors(self, slots: NDArray[np.int64]) -> NDArray:
        """Return exact vectors, from the tier."""
        missing = next((slot for slot in slots.tolist() if slot not in self._rows), None)
        if missing is not None:
            raise NotFound(f"slot {missing} is not in the index")
        return self._read(np.array([self._rows[slot] for slot in slots.tolist()], np.int64), self._region)

    def sizes(self) -> Sizes:
        """Return what codes and tables take, and the rows in the tier."""
        table = 100 * len(self._rows)
        arrays = self._codes.nbytes + self._scales.nbytes + self._slots.nbytes
        return Sizes(arrays + table, len(self._slots) * self.space.bytes)

    def more_bytes(self, count: int) -> int:
        """Return what more codes take, and the copy that is made when they grow."""
        return count * (self._codes.itemsize * self.space.columns + 112) + self._codes.nbytes

    def maintain(self, budget_s: float) -> Progress:
        """Return that nothing is left to do."""
        return Progress()

    def calibrate(self, queries: NDArray, true: NDArray[np.int64]) -> None:
        """Nothing: what is compared does not depend on the recall."""

    def save(self, folder: Path) -> None:
        """Write codes and tables; the vectors stay in the region."""
        for name, array in zip(_FILES, (self._slots, self._codes, self._scales), strict=True):
            np.save(folder / f"code-{name}", array)

    def move(self, region: Region) -> None:
        """Copy all rows to another region and read from there from now on."""
        size = len(self._slots) * self.space.bytes
        if size > region.size:
            raise BudgetExceeded(f"{region.url}: {self.count} vectors", size, region.size)
        for start in range(0, size, 1 << 20):
            region.write(start, self._region.read(start, min(1 << 20, size - start)))
        self._region = region


def _runs(rows: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Where rows follow each other: [begin, end) of each run."""
    cuts = np.flatnonzero(np.diff(rows) != 1) + 1
    bounds = [0, *cuts.tolist(), len(rows)]
    return list(pairwise(bounds))


def _sized(array: NDArray, size: int, nothing: int) -> NDArray:
    """A copy with at least so many rows."""
    more = np.full((max(size, len(array)), *array.shape[1:]), nothing, array.dtype)
    more[: len(array)] = array
    return more
