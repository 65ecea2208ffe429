"""Bidirectional page tables of all sequences, over one arena.

A sequence has a row for each KV head of each layer. A row's high tier takes pages from its left end on, its low tier
from its right end on (LeanKV); tokens are counted by tier. All rows of a call get, or give back, their pages
together.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..errors import ElasticServingError, IntegrityError
from .allocation import I32, fill, ragged
from .page_arena import Moves, PageArena

HIGH, LOW = 0, 1
"""The tiers' places where arrays count by tier."""
NOTHING = -1
"""Stands in a table where there is no page."""


class RowFull(ElasticServingError):
    """The two tiers of a row would meet; nothing was changed."""


class PageTables:
    """The tables, and how many tokens stand in each row's tiers.

    Attributes:
        tables: int32 [rows, width], page numbers.
        counts: int32 [rows, 2], tokens.

    Args:
        arena: where pages come from.
        rows: of all sequences together.
        width: pages that a row can hold.
        page_tokens: tokens in a page of the high and of the low tier's format.
    """

    def __init__(self, arena: PageArena, rows: int, width: int, page_tokens: tuple[int, int]) -> None:
        if rows < 1 or width < 1 or min(page_tokens) < 1:
            raise ValueError(f"rows {rows}, width {width}, page_tokens {page_tokens}: accepted: 1 and above")
        self.arena = arena
        self.tables = np.full((rows, width), NOTHING, np.int32)
        self.counts = np.zeros((rows, 2), np.int32)
        self._room = np.zeros((rows, 2), np.int32)
        self._tokens = np.array(page_tokens, np.int32)
        self._free_rows = list(range(rows))[::-1]
        self._open = np.zeros(rows, bool)

    @property
    def free_rows(self) -> int:
        """Rows that no sequence has."""
        return len(self._free_rows)

    @property
    def page_tokens(self) -> tuple[int, int]:
        """Tokens in a page of the high and of the low tier."""
        return int(self._tokens[HIGH]), int(self._tokens[LOW])

    def open(self, number: int) -> I32:
        """Give rows to a sequence; raises ElasticServingError, changing nothing, if there are too few."""
        if number > len(self._free_rows):
            raise ElasticServingError(f"{number} table rows are asked for and {len(self._free_rows)} are free")
        rows = np.array([self._free_rows.pop() for _ in range(number)], np.int32)
        self._open[rows] = True
        return rows

    def grow(self, number: int) -> None:
        """Add rows; `tables` and `counts` are other arrays then."""
        if number < 1:
            raise ValueError(f"{number} rows: accepted: 1 and above")
        first, width = self.tables.shape
        self.tables = np.concatenate([self.tables, np.full((number, width), NOTHING, np.int32)])
        self.counts = np.concatenate([self.counts, np.zeros((number, 2), np.int32)])
        self._room = np.concatenate([self._room, np.zeros((number, 2), np.int32)])
        self._open = np.concatenate([self._open, np.zeros(number, bool)])
        self._free_rows = [*range(first, first + number)][::-1] + self._free_rows

    def close(self, rows: NDArray[np.integer]) -> None:
        """Give rows and their pages back."""
        self._refuse_closed(rows)
        self.resize(rows, np.zeros((len(rows), 2), np.int32))
        self._open[rows] = False
        self._free_rows += rows.tolist()

    def pages_for(self, counts: NDArray[np.integer]) -> I32:
        """Return how many pages token counts [..., 2] take in each tier."""
        return (-(-counts // self._tokens)).astype(np.int32)

    def missing(self, rows: NDArray[np.integer], counts: NDArray[np.integer]) -> int:
        """Return how many pages the rows need beyond those that they have, for token counts [rows, 2]."""
        return int(np.maximum(self.pages_for(counts) - self._room[rows], 0).sum())

    def resize(self, rows: NDArray[np.integer], counts: NDArray[np.integer]) -> None:
        """Give the rows, each at most once, the pages that token counts [rows, 2] need, and take back all others.

        Raises:
            OutOfPages: the arena has too few; nothing was changed.
            RowFull: a row's tiers would meet; nothing was changed.
        """
        self._refuse_closed(rows)
        needed, had = self.pages_for(counts), self._room[rows]
        full = np.flatnonzero(needed.sum(axis=1) > self.tables.shape[1])
        if len(full):
            row = int(rows[full[0]])
            raise RowFull(f"table row {row}: {needed[full[0]].tolist()} pages; accepted: {self.tables.shape[1]} in all")
        more = np.maximum(needed - had, 0)
        fewer = np.maximum(had - needed, 0)
        # What a row gives back is free only when it cannot fail any more: it might have to be taken again.
        pages = self.arena.take(int(more.sum()))
        self._forget(rows, needed, fewer)
        high = int(more[:, HIGH].sum())
        fill(self.tables, rows, np.minimum(had, needed)[:, HIGH], more[:, HIGH], pages[:high], from_right=False)
        fill(self.tables, rows, np.minimum(had, needed)[:, LOW], more[:, LOW], pages[high:], from_right=True)
        self._room[rows], self.counts[rows] = needed, counts

    def advance(self, rows: NDArray[np.integer]) -> bool:
        """Count one token more in each row's high tier where no row needs a page for it; else false, changing nothing.

        What most steps do, and so without what `resize` and `own` check.
        """
        return bool(self.advance_each(rows[None])[0])

    def advance_each(self, rows: NDArray[np.integer]) -> NDArray[np.bool_]:
        """As `advance`, for many sequences at once: which of them need no page, and are counted: bool [sequences].

        Args:
            rows: [sequences, rows of each].
        """
        counts = self.counts[rows, HIGH]
        place, slot = np.divmod(counts, self._tokens[HIGH])
        # A row that is full may have no such place; it needs a page in any case.
        pages = self.tables[rows, np.minimum(place, self.tables.shape[1] - 1)]
        fits = ((slot > 0) & (self.arena.every_holder[pages] <= 1)).all(axis=1)
        self.counts[rows[fits], HIGH] = counts[fits] + 1
        return fits

    def fork(self, source: NDArray[np.integer], target: NDArray[np.integer]) -> None:
        """Let empty rows share the pages of other rows; whoever writes first makes copies (see `own`)."""
        self._refuse_closed(source)
        self._refuse_closed(target)
        if self._room[target].any() or len(source) != len(target):
            raise ElasticServingError(f"{len(source)} rows to {len(target)}: accepted: as many, and empty ones")
        pages = self._held(source)
        self.arena.retain(pages)
        for kept in (self.tables, self.counts, self._room):
            kept[target] = kept[source]

    def adopt(self, rows: NDArray[np.integer], pages: I32) -> None:
        """Let empty rows begin with full pages of the high tier that others hold too; nobody may write them.

        Args:
            rows: each at most once.
            pages: int32 [rows, pages of each], all held by somebody.

        Raises:
            RowFull: a row is too short; nothing was changed.
        """
        self._refuse_closed(rows)
        count = pages.shape[1]
        if self._room[rows].any() or len(pages) != len(rows):
            raise ElasticServingError(f"{len(pages)} rows of pages to {len(rows)}: accepted: as many, and empty ones")
        if count > self.tables.shape[1]:
            raise RowFull(f"{count} pages a row; accepted: {self.tables.shape[1]} in all")
        self.arena.retain(pages.reshape(-1))
        self.tables[rows, :count] = pages
        self._room[rows, HIGH] = count
        self.counts[rows, HIGH] = count * self._tokens[HIGH]

    def exchange(self, rows: NDArray[np.integer], place: int, pages: I32) -> None:
        """Let each row's page at a place of the high tier be another one with the same content, int32 [rows]."""
        had = self.tables[rows, place]
        self.arena.retain(pages)
        self.tables[rows, place] = pages
        self.arena.release(had)

    def own(self, rows: NDArray[np.integer], tier: int, places: NDArray[np.integer]) -> Moves:
        """Copy on write: make one page of each row the row's own, so that it may be written.

        Args:
            rows: each at most once.
            tier: HIGH or LOW.
            places: int [rows], which of the row's pages in that tier.

        Returns:
            the copies to make.

        Raises:
            OutOfPages: too few pages are free; nothing was changed.
        """
        column = self.tables.shape[1] - 1 - np.asarray(places) if tier == LOW else np.asarray(places)
        if (np.asarray(places) >= self._room[rows, tier]).any():
            raise ElasticServingError(f"places {np.asarray(places)[:8].tolist()} are beyond what their rows have")
        pages = self.tables[rows, column]
        # Of rows that share a page among themselves, all but the last holder copy: mentions are counted one by one.
        order = np.argsort(pages, kind="stable")
        ranked = pages[order]
        first = np.searchsorted(ranked, ranked, side="left")
        outside = self.arena.holders(ranked) - (np.searchsorted(ranked, ranked, side="right") - first)
        copied = order[(outside > 0) | (np.arange(len(ranked)) > first)]
        copies = self.arena.take(len(copied))
        moves = Moves(pages[copied], copies)
        self.arena.release(moves.source)
        self.tables[rows[copied], column[copied]] = copies
        return moves

    def copies(self, rows: NDArray[np.integer], tier: int, places: NDArray[np.integer]) -> int:
        """Return how many pages `own` takes for these rows; places that a row has no page for yet take none."""
        there = np.asarray(places) < self._room[rows, tier]
        row, place = np.asarray(rows)[there], np.asarray(places)[there]
        pages, times = np.unique(
            self.tables[row, self.tables.shape[1] - 1 - place if tier == LOW else place], return_counts=True
        )
        # Where all of its holders write to a page, one of them keeps it.
        return int(np.minimum(times, self.arena.holders(pages) - 1).sum())

    def apply(self, moves: Moves) -> None:
        """Write the new page numbers after the arena moved pages."""
        if len(moves):
            new = np.arange(self.arena.pages + 1, dtype=np.int32)
            new[-1] = NOTHING
            new[moves.source] = moves.target
            self.tables[...] = new[self.tables]

    def held(self, rows: NDArray[np.integer]) -> I32:
        """Return all pages of some rows, in an order that the rows' counts decide: int32 [pages]."""
        return self._held(rows)

    def uses(self) -> NDArray[np.int64]:
        """Return how often each of the arena's pages stands in a table."""
        pages = self._held(np.arange(len(self.tables)))
        return np.bincount(pages, minlength=self.arena.pages)

    def check(self, elsewhere: NDArray[np.integer] | None = None) -> None:
        """Raise IntegrityError unless every page is held by those who use it and by nobody else.

        Args:
            elsewhere: how often each page is held by others than these tables: int [pages].
        """
        wrong = np.flatnonzero((self._room != self.pages_for(self.counts)).any(axis=1))
        if len(wrong):
            raise IntegrityError(f"table rows {wrong[:8].tolist()} have other pages than their tokens need")
        if self._room[~self._open].any() or (self._room.sum() != (self.tables != NOTHING).sum()):
            raise IntegrityError("pages stand in tables where no tier has them")
        self.arena.check(self.uses() if elsewhere is None else self.uses() + elsewhere)

    def _forget(self, rows: NDArray[np.integer], kept: I32, fewer: I32) -> None:
        for tier in (HIGH, LOW):
            item, number = ragged(fewer[:, tier])
            column = kept[item, tier] + number
            at = (rows[item], self.tables.shape[1] - 1 - column if tier == LOW else column)
            self.arena.release(self.tables[at])
            self.tables[at] = NOTHING

    def _held(self, rows: NDArray[np.integer]) -> I32:
        """Return all pages of some rows."""
        pages = []
        for tier in (HIGH, LOW):
            item, number = ragged(self._room[rows, tier])
            pages.append(self.tables[rows[item], self.tables.shape[1] - 1 - number if tier == LOW else number])
        return np.concatenate(pages)

    def _refuse_closed(self, rows: NDArray[np.integer]) -> None:
        if not self._open[rows].all():
            raise ElasticServingError(f"table rows {rows[~self._open[rows]][:8].tolist()} belong to no sequence")
