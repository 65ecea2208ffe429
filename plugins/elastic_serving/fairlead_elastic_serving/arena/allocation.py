"""Pages for many rows at once by a prefix sum, from rings of free pages (LeanKV, "parallel memory management").

The counts' exclusive prefix sum gives each row a slice of the free list that no other row has, so that all rows take
their pages at the same time without a lock. Free pages stand in two rings: an instance's own, and those borrowed from
weights, which are taken only when the own ones are used up.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..errors import OutOfPages

I32 = NDArray[np.int32]


class Ring:
    """A circular list of free pages: taken at its head, given back at its tail. Room for ``capacity`` pages."""

    def __init__(self, capacity: int, pages: NDArray[np.integer] | None = None) -> None:
        self.pages = np.zeros(max(1, capacity), np.int32)
        self.head = 0
        self.count = 0
        if pages is not None:
            self.give(pages)

    def peek(self, count: int) -> I32:
        """Return the next ``count`` pages without taking them."""
        return self.pages[(self.head + np.arange(min(count, self.count))) % len(self.pages)]

    def take(self, count: int) -> I32:
        """Take pages in the order in which they were given; raises OutOfPages, changing nothing."""
        if count > self.count:
            raise OutOfPages(count, self.count)
        taken = self.peek(count)
        self.head = (self.head + count) % len(self.pages)
        self.count -= count
        return taken

    def give(self, pages: NDArray[np.integer]) -> None:
        """Append pages; raises ValueError where they are more than the ring has room for."""
        if self.count + len(pages) > len(self.pages):
            raise ValueError(f"{len(pages)} pages: accepted: up to {len(self.pages) - self.count}")
        self.pages[(self.head + self.count + np.arange(len(pages))) % len(self.pages)] = pages
        self.count += len(pages)

    def remove(self, pages: NDArray[np.integer]) -> None:
        """Take certain pages out of the list, wherever they stand; the others keep their order."""
        kept = self.peek(self.count)
        kept = kept[~np.isin(kept, pages)]
        self.head, self.count = 0, len(kept)
        self.pages[: len(kept)] = kept


def slices(counts: NDArray[np.integer]) -> NDArray[np.int64]:
    """Return where each row's slice begins: the exclusive prefix sum, int64 [rows + 1]; the last is the total."""
    starts = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=starts[1:])
    return starts


def fill(
    tables: I32, rows: NDArray[np.integer], first: NDArray[np.integer], counts: I32, pages: I32, *, from_right: bool
) -> None:
    """Write pages into the rows of a table, each row's slice behind those it has.

    Args:
        tables: int32 [all rows, width]; written.
        rows: [asked] table rows, each at most once.
        first: [asked] how many pages the row has on that side already.
        counts: [asked] how many it gets.
        pages: int32 [sum of counts].
        from_right: the side: the low tier's.
    """
    item, number = ragged(counts)
    row = np.asarray(rows, np.int64)[item]
    place = number + np.asarray(first, np.int64)[item]
    tables[row, tables.shape[1] - 1 - place if from_right else place] = pages


def ragged(counts: NDArray[np.integer]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return, for rows with some items each, every item's row and its number within the row."""
    starts = slices(counts)
    row = np.repeat(np.arange(len(counts)), counts)
    return row, np.arange(starts[-1]) - starts[row]
