"""Compressed sequences that ended, kept for prompts that begin with all of their tokens: the next turns of a chat.

What is compressed cannot be cut: which tokens were pruned depends on what came after them. So a sequence is shared as
a whole or not at all; whoever goes on from it shares its pages and copies those that it writes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..arena.allocation import I32
from ..arena.page_tables import PageTables

Tokens = tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """Tokens, and int32 [rows] of the tables that hold them."""

    tokens: Tokens
    rows: I32


class CompressedPrefixes:
    """Sequences by their tokens, the least recently used first.

    Args:
        tables: of compressed rows.
        most: sequences that are kept.
    """

    def __init__(self, tables: PageTables, most: int) -> None:
        self.tables, self.most = tables, most
        self._kept: dict[Tokens, Kept] = {}

    def __len__(self) -> int:
        """Number of sequences."""
        return len(self._kept)

    def find(self, tokens: Sequence[int]) -> Kept | None:
        """Return the longest sequence with which some tokens begin, and count it as used."""
        known = tuple(tokens)
        lengths = sorted({len(key) for key in self._kept if len(key) <= len(known)}, reverse=True)
        for length in lengths:
            if found := self._kept.pop(known[:length], None):
                self._kept[found.tokens] = found
                return found
        return None

    def add(self, tokens: Sequence[int], rows: I32) -> None:
        """Take a sequence's rows; whoever gives them holds them no more."""
        key = tuple(tokens)
        if key in self._kept:
            self.tables.close(self._kept.pop(key).rows)
        self._kept[key] = Kept(key, rows)
        while len(self._kept) > self.most:
            self._drop(next(iter(self._kept)))

    @property
    def evictable(self) -> int:
        """Pages that nobody else holds."""
        if not self._kept:
            return 0
        pages = self.tables.held(self._rows())
        own = np.bincount(pages, minlength=self.tables.arena.pages)
        return int(((own > 0) & (own == self.tables.arena.holders(np.arange(len(own))))).sum())

    def evict(self, pages: int) -> int:
        """Give up sequences until so many pages are free by it; return how many, fewer if there are no more."""
        arena, given = self.tables.arena, 0
        while self._kept and given < pages:
            before = arena.free
            self._drop(next(iter(self._kept)))
            given += arena.free - before
        return given

    @property
    def row_count(self) -> int:
        """Rows that are held."""
        return sum(len(kept.rows) for kept in self._kept.values())

    def _drop(self, key: Tokens) -> None:
        self.tables.close(self._kept.pop(key).rows)

    def _rows(self) -> I32:
        return np.concatenate([kept.rows for kept in self._kept.values()])
