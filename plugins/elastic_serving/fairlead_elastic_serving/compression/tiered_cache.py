"""A layer's keys and values in two tiers and unified pages (LeanKV, whole), on the host.

A prompt's tokens are placed by their significance. While text is generated, the new token goes to the high tier,
attention updates every token's significance, and `settle` moves what has to move: gaps are filled with the tier's
last token, and a page that empties goes back to the arena in the same step. Forked sequences share their pages;
shared pages are neither written nor moved from, and whoever appends to one gets a copy of it first.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..arena.allocation import I32
from ..arena.page_arena import Moves
from ..arena.page_tables import PageTables, RowFull
from ..errors import OutOfPages
from ..kernels import reference
from ..kernels.placement import WINDOW, Step, Thresholds, compact, place_prompt, place_step
from ..kernels.segments import segments
from ..kernels.tiers import HIGH, LOW, Tiers, places

F32 = NDArray[np.float32]
NONE = -1


class TieredCache:
    """The keys and values of sequences; each has a row of the tables for each KV head.

    Args:
        tables: with as many tokens in a page as the tiers' layouts have.
        tiers: the layouts of both tiers.
        thresholds: the alphas; arrays are [kv_heads].
        window: newest tokens that always stay high.

    Raises:
        ValueError: the tables' pages hold other numbers of tokens.
    """

    def __init__(self, tables: PageTables, tiers: Tiers, thresholds: Thresholds, window: int = WINDOW) -> None:
        tokens = (tiers.high.tokens, tiers.low.tokens)
        if tables.page_tokens != tokens:
            raise ValueError(f"tables of pages with {tables.page_tokens} tokens; accepted: {tokens}, as the tiers have")
        self.tables = tables
        self.tiers = tiers
        self.thresholds = thresholds
        self.window = window
        self.pages = np.zeros((tables.arena.pages, tiers.page_bytes), np.uint8)

    def prompt(self, rows: I32, keys: F32, values: F32, scores: F32) -> None:
        """Store a prompt's tokens in the empty rows of a sequence.

        Args:
            rows: int32 [kv_heads].
            keys: float [tokens, kv_heads, head_dim].
            values: likewise.
            scores: relative significance float32 [tokens, kv_heads].

        Raises:
            OutOfPages: nothing was stored.
        """
        slots, counts = compact(place_prompt(scores, self.thresholds, self.window))
        self.tables.resize(rows, counts)
        positions = np.arange(len(keys), dtype=np.int32)
        every = np.broadcast_to(rows, scores.shape)
        for tier in (HIGH, LOW):
            self._write(tier, every, slots[tier], keys, values, scores, positions)

    def fork(self, rows: I32, target: I32) -> None:
        """Let empty rows share what other rows hold."""
        self.tables.fork(rows, target)

    def append(self, rows: I32, keys: F32, values: F32, positions: I32) -> None:
        """Store one more token of each sequence.

        Args:
            rows: int32 [sequences, kv_heads].
            keys: float [sequences, kv_heads, head_dim].
            values: likewise.
            positions: int32 [sequences].

        Raises:
            OutOfPages: nothing was stored.
        """
        flat = rows.reshape(-1)
        counts = self.tables.counts[flat]
        self.tables.resize(flat, counts + np.array([1, 0], np.int32))
        try:
            self._own_page(flat, HIGH, counts[:, HIGH])
        except OutOfPages:
            self.tables.resize(flat, counts)
            raise
        slots = counts[:, HIGH].reshape(rows.shape)
        self._write(HIGH, rows, slots, keys, values, np.zeros(rows.shape, np.float32), positions)

    def attend(self, queries: F32, rows: I32, scale: float, now: I32) -> F32:
        """Attention of one query per sequence over all that is stored, and its tokens' significance updated by it.

        Args:
            queries: float [sequences, query_heads, head_dim].
            rows: int32 [sequences, kv_heads].
            scale: of the logits.
            now: int32 [sequences], the queries' positions.

        Returns:
            float32 [sequences, query_heads, head_dim].
        """
        stored = (self.pages, self.tiers, self.tables.tables, rows, self.tables.counts)
        output, _ = reference.attend(queries, *stored, scale)
        holders = self.tables.arena.holders(np.arange(self.tables.arena.pages))
        reference.update_scores(queries, *stored, scale, now, holders)
        return output

    def settle(self, rows: I32, now: I32) -> Step:
        """Move what has to move after the token at position ``now`` of each sequence, and give empty pages back.

        Args:
            rows: int32 [sequences, kv_heads].
            now: int32 [sequences].

        Returns:
            what moved, by row.

        Raises:
            OutOfPages: the low tiers found no room; nothing was moved.
            RowFull: the tiers of a row would meet; nothing was moved.
        """
        flat, heads = rows.reshape(-1), rows.shape[1]
        step = self._decide(flat, np.repeat(now, heads), np.tile(np.arange(heads), len(rows)))
        to_low = [
            np.where(target == LOW, token, NONE)
            for token, target in ((step.leaving, step.leaving_to), (step.demoted, step.demoted_to))
        ]
        counts, after = self.tables.counts[flat], self.tables.counts[flat].copy()
        after[:, HIGH] -= (step.leaving >= 0).astype(np.int32) + (step.demoted >= 0)
        after[:, LOW] += sum((token >= 0).astype(np.int32) for token in to_low) - (step.pruned >= 0)
        place = counts[:, LOW] - (step.pruned >= 0)
        # Before anything moves: gaps that are filled for a step that is refused would lose tokens.
        self._refuse_without_room(flat, after, place, (to_low[0] >= 0) | (to_low[1] >= 0))
        read = [self._gather(flat, token) for token in to_low]
        self._close_gaps(flat, HIGH, counts[:, HIGH], [step.leaving, step.demoted])
        self._close_gaps(flat, LOW, counts[:, LOW], [step.pruned])
        self.tables.resize(flat, after)
        for token, vectors in zip(to_low, read, strict=True):
            self._append_low(flat, token, place, vectors)
            place = place + (token >= 0)
        return step

    def moved(self, moves: Moves) -> None:
        """Copy pages that the arena moved, and follow them in the tables."""
        self.pages[moves.target] = self.pages[moves.source]
        self.tables.apply(moves)

    def _decide(self, rows: I32, now: NDArray[np.integer], heads: NDArray[np.integer]) -> Step:
        high_scores, high_positions, high_shared = self._tokens(rows, HIGH)
        low_scores, _, low_shared = self._tokens(rows, LOW)
        alphas = (np.asarray(alpha, np.float32) for alpha in (self.thresholds.high, self.thresholds.low))
        of_row = Thresholds(*(alpha[heads][:, None] if alpha.ndim else float(alpha) for alpha in alphas))
        # Tokens of shared pages stay where they are: one as young as the query is never looked at.
        high_positions = np.where(high_shared, now[:, None], high_positions).astype(np.int32)
        low_scores = np.where(low_shared, np.float32(np.inf), low_scores)
        counts = self.tables.counts[rows]
        return place_step(high_scores, high_positions, low_scores, counts, now, of_row, self.window)

    def _refuse_without_room(self, rows: I32, counts: I32, place: I32, appended: NDArray[np.bool_]) -> None:
        """Raise OutOfPages or RowFull unless there is room for ``counts`` tokens, the new ones at ``place`` if low."""
        # A shared page that is appended to is copied.
        copies = self.tables.copies(rows[appended], LOW, place[appended] // self.tiers.low.tokens)
        wanted, free = self.tables.missing(rows, counts) + copies, self.tables.arena.free
        if wanted > free:
            raise OutOfPages(wanted, free)
        width, needed = self.tables.tables.shape[1], self.tables.pages_for(counts).sum(axis=1)
        if (needed > width).any():
            row = int(rows[needed.argmax()])
            raise RowFull(f"table row {row}: {int(needed.max())} pages; accepted: {width} in all")

    def _tokens(self, rows: I32, tier: int) -> tuple[F32, I32, NDArray[np.bool_]]:
        """Scores, positions, and whether their page is shared, of all tokens of a tier: [rows, longest]."""
        counts = self.tables.counts[rows, tier]
        number = np.arange(int(counts.max(initial=0)))
        column, slot = places(self.tables.tables.shape[1], self.tiers.layout(tier), tier, number)
        page = np.where(number < counts[:, None], self.tables.tables[rows][:, column], 0)
        stored = segments(self.pages, self.tiers.layout(tier))
        shared = self.tables.arena.holders(page) > 1
        return stored.scores[page, slot].astype(np.float32), stored.positions[page, slot], shared

    def _gather(self, rows: I32, tokens: I32) -> tuple[NDArray, ...]:
        chosen = tokens >= 0
        return reference.gather(self.pages, self.tiers, HIGH, self.tables.tables, rows[chosen], tokens[chosen])

    def _close_gaps(self, rows: I32, tier: int, counts: I32, gaps: list[I32]) -> None:
        """Fill each row's gaps with its last tokens, the gap nearer to the end first."""
        last = counts.copy()
        for gap in np.sort(np.stack(gaps), axis=0)[::-1]:
            last = last - (gap >= 0)
            source = np.where((gap >= 0) & (gap != last), last, NONE).astype(np.int32)
            reference.copy_slots(self.pages, self.tiers, tier, self.tables.tables, rows, source, gap.astype(np.int32))

    def _append_low(self, rows: I32, tokens: I32, place: I32, read: tuple[NDArray, ...]) -> None:
        chosen = tokens >= 0
        rows, place = rows[chosen], place[chosen].astype(np.int32)
        self._own_page(rows, LOW, place)
        keys, values, scores, positions = read
        # One token a row, as `write` takes tokens of one head.
        for_write = (keys[:, None], values[:, None], scores[:, None].astype(np.float32), positions)
        self._write(LOW, rows[:, None], place[:, None], *for_write)

    def _own_page(self, rows: I32, tier: int, tokens: I32) -> None:
        """Make the page that each row's token stands on the row's own."""
        moves = self.tables.own(rows, tier, tokens // self.tiers.layout(tier).tokens)
        self.pages[moves.target] = self.pages[moves.source]

    def _write(self, tier: int, rows: I32, slots: I32, *vectors: NDArray) -> None:
        reference.write(self.pages, self.tiers, tier, self.tables.tables, rows, slots, *vectors)
