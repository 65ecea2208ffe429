"""Vectors that wait beside an index and are compared one by one meanwhile; their rows are in the file."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..bitmap import has
from ..distances import nearest
from ..index import Found
from .vector_file import VectorFile

Slots = NDArray[np.int64]


class SideIndex:
    """A set of slots. It is replaced when it changes, never changed in place: whoever took `slots` may go on with it.

    Args:
        file: with the rows of all slots.
    """

    def __init__(self, file: VectorFile) -> None:
        self._file = file
        self.slots: Slots = np.zeros(0, np.int64)
        """Ascending."""

    @property
    def count(self) -> int:
        """Vectors that wait."""
        return len(self.slots)

    @property
    def bytes(self) -> int:
        """What it takes in memory."""
        return self.slots.nbytes

    def add(self, slots: Slots) -> None:
        """Let slots wait."""
        self.slots = np.union1d(self.slots, slots)

    def remove(self, slots: Slots) -> None:
        """Let slots wait no more; those that do not are passed over."""
        if self.count:
            self.slots = np.setdiff1d(self.slots, slots, assume_unique=True)

    def search(self, slots: Slots, queries: NDArray, k: int, allowed: NDArray[np.uint8] | None) -> Found:
        """Compare with all of some slots that waited, and are allowed (`Index.search`)."""
        if allowed is not None:
            slots = slots[has(allowed, slots)]
        names, distances = nearest(queries, self._file.rows, slots, k, self._file.space)
        none = np.zeros(len(queries), np.int32)
        return Found(names, distances, none, none, none.astype(np.int64))
