"""An index that compares with every vector: exact, and the best there is for a few thousand of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .bitmap import grown, has, set_bits, slots_of
from .distances import nearest
from .errors import BudgetExceeded, CorruptFile, NotFound, TieredRetrievalError
from .index import Found, Limits, Progress, Sizes, Told
from .space import Space

_LEAST = 64


class FlatIndex:
    """All vectors in memory, by slot. Attributes and methods as `index.Index` has them."""

    kind = "flat"
    batched = False

    def __init__(self, space: Space, capacity: int = _LEAST) -> None:
        self.space = space
        self._rows = np.zeros((capacity, space.columns), space.dtype)
        self._live = np.zeros(-(-capacity // 8), np.uint8)
        self._count = 0

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
    ) -> FlatIndex:
        """Copy the vectors."""
        if region is not None:
            raise TieredRetrievalError(f"region = {region!r} of a flat index; accepted: none, it lies in memory")
        capacity = max(_LEAST, int(slots[-1]) + 1 if len(slots) else 0)
        needed = capacity * space.bytes + -(-capacity // 8)
        if limits.memory_bytes is not None and needed > limits.memory_bytes:
            raise BudgetExceeded(f"a flat index of {len(slots)} vectors", needed, limits.memory_bytes)
        index = cls(space, capacity)
        for start in range(0, len(slots), 1 << 14):
            part = slots[start : start + (1 << 14)]
            index.add(part, vectors[part])
            if told is not None:
                told((start + len(part)) / len(slots))
        return index

    @classmethod
    def load(cls, folder: Path, space: Space, *, region: Any = None) -> FlatIndex:
        """Read what `save` wrote."""
        rows, live = (_read(folder / name) for name in ("rows.npy", "live.npy"))
        fits = rows.ndim == 2 and rows.shape[1] == space.columns and rows.dtype == space.dtype
        if not fits or live.dtype != np.uint8 or live.shape != (-(-len(rows) // 8),):
            raise CorruptFile(
                folder / "rows.npy", 0, "it is of another shape or type", "the vectors are kept elsewhere"
            )
        index = cls(space, 0)
        index._rows, index._live = rows, live
        index._count = len(slots_of(live))
        return index

    @property
    def count(self) -> int:
        """Vectors that can be found."""
        return self._count

    def search(
        self,
        queries: NDArray,
        k: int,
        *,
        recall: float = 1.0,
        allowed: NDArray[np.uint8] | None = None,
        threads: int = 1,
    ) -> Found:
        """Return the nearest exactly, whatever recall is asked for; BLAS decides on the threads."""
        # Rows are replaced when they grow, never in place: what was taken here stays whole.
        live, rows = self._live, self._rows
        if allowed is not None:
            size = min(len(live), len(allowed))
            live = live[:size] & allowed[:size]
        slots, found = nearest(queries, rows, slots_of(live), k, self.space)
        none = np.zeros(len(queries), np.int32)
        return Found(slots, found, none, none, none.astype(np.int64))

    def add(self, slots: NDArray[np.int64], vectors: NDArray) -> None:
        """Add vectors, which are found at once."""
        if not len(slots):
            return
        self._grow(int(slots.max()) + 1)
        self._count += int(len(slots) - has(self._live, slots).sum())
        self._rows[slots] = vectors
        set_bits(self._live, slots, True)

    def remove(self, slots: NDArray[np.int64]) -> None:
        """Remove slots, whose places can be used at once."""
        there = slots[has(self._live, slots)]
        set_bits(self._live, there, False)
        self._count -= len(there)

    def slots(self) -> NDArray[np.int64]:
        """Return the slots that can be found, ascending."""
        return slots_of(self._live)

    def busy(self) -> NDArray[np.int64]:
        """Return none."""
        return np.zeros(0, np.int64)

    def vectors(self, slots: NDArray[np.int64]) -> NDArray:
        """Return exact vectors."""
        missing = slots[~has(self._live, slots)]
        if len(missing):
            raise NotFound(f"slot {missing[0]} is not in the index")
        return self._rows[slots]

    def sizes(self) -> Sizes:
        """Return what the index takes."""
        return Sizes(self._rows.nbytes + self._live.nbytes, 0)

    def more_bytes(self, count: int) -> int:
        """Return what `count` more vectors would add: none while there is room."""
        wanted = self._capacity(self._count + count)
        # While the rows are copied to a larger array, both are there.
        return 0 if wanted <= len(self._rows) else wanted * self.space.bytes + wanted // 8

    def maintain(self, budget_s: float) -> Progress:
        """Do nothing: removed rows are used again as they are."""
        return Progress()

    def calibrate(self, queries: NDArray, true: NDArray[np.int64]) -> None:
        """Nothing: what is compared does not depend on the recall."""

    def save(self, folder: Path) -> None:
        """Write rows and which of them are there."""
        np.save(folder / "rows.npy", self._rows)
        np.save(folder / "live.npy", self._live)

    def move(self, region: Any) -> None:
        """Refuse: it lies in memory."""
        raise TieredRetrievalError(f"move to {region!r}: a flat index has nothing in a tier; accepted: graph or lists")

    def _capacity(self, count: int) -> int:
        capacity = max(_LEAST, len(self._rows))
        while capacity < count:
            capacity += max(_LEAST, capacity // 2)
        return capacity

    def _grow(self, count: int) -> None:
        if count > len(self._rows):
            rows = np.zeros((self._capacity(count), self.space.columns), self.space.dtype)
            rows[: len(self._rows)] = self._rows
            self._rows, self._live = rows, grown(self._live, len(rows))


def _read(path: Path) -> NDArray:
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError, MemoryError) as error:
        raise CorruptFile(path, 0, str(error).splitlines()[0], "the vectors are kept elsewhere") from error
