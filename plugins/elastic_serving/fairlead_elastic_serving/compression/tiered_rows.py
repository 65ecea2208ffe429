"""Keys and values of whole sequences in two tiers, all layers and heads at once, by whatever kernels compute.

`tiered_cache` is the same for one layer, in NumPy, token by token: the specification. Here a sequence has a row for
each layer and KV head; a prompt comes layer by layer from uncompressed pages, which are recycled as it goes; generated
tokens are appended to all rows together; and rows settle every few steps (`settling`). Where the arena has no page for
what moves to the low tier it stays where it is: nothing is lost and nothing fails.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from ..arena.allocation import I32
from ..arena.page_tables import HIGH, LOW, PageTables
from ..kernels.backends import KernelBackend
from ..kernels.placement import WINDOW, Thresholds, compact, place_prompt
from ..kernels.tiers import Tiers
from ..memory import PageMemory
from . import settling

F32 = NDArray[np.float32]


class TieredRows:
    """The compressed rows of an instance.

    Attributes:
        tables: int32 page numbers and token counts of all rows.
        tiers: the layouts.

    Args:
        tables: with as many tokens in a page as the tiers' layouts have.
        memory: the pages.
        tiers: the layouts.
        backend: the kernels.
        thresholds: the alphas, float32 [layers, kv_heads] each.
        window: newest tokens that always stay high.

    Raises:
        ValueError: the tables' pages hold other numbers of tokens.
    """

    def __init__(
        self,
        tables: PageTables,
        memory: PageMemory,
        tiers: Tiers,
        backend: KernelBackend,
        thresholds: Thresholds,
        window: int = WINDOW,
    ) -> None:
        tokens = (tiers.high.tokens, tiers.low.tokens)
        if tables.page_tokens != tokens:
            raise ValueError(f"tables of pages with {tables.page_tokens} tokens; accepted: {tokens}, as the tiers have")
        self.tables, self.memory, self.tiers, self.backend = tables, memory, tiers, backend
        self.thresholds, self.window = thresholds, window
        self._alphas = tuple(np.asarray(alpha, np.float32).reshape(-1) for alpha in (thresholds.high, thresholds.low))

    @property
    def row_count(self) -> int:
        """Rows that a sequence has: layers times KV heads."""
        return len(self._alphas[0])

    def place(self, scores: F32) -> I32:
        """Return the tier of each token of a prompt in each layer: int32 [layers, tokens, kv_heads].

        Args:
            scores: relative significance, float32 [layers, tokens, kv_heads].
        """
        high, low = (np.asarray(alpha, np.float32) for alpha in (self.thresholds.high, self.thresholds.low))
        return np.stack([place_prompt(some, Thresholds(high[i], low[i]), self.window) for i, some in enumerate(scores)])

    def store(self, rows: I32, placed: I32, keys: torch.Tensor, values: torch.Tensor, scores: F32, first: int) -> None:
        """Append a prompt's tokens to the rows of one layer, which may hold tokens of an earlier part of it.

        Args:
            rows: int32 [kv_heads].
            placed: int32 [tokens, kv_heads], their tiers.
            keys: float [tokens, kv_heads, head_dim].
            values: likewise.
            scores: relative significance float32 [tokens, kv_heads].
            first: position of the first of them.

        Raises:
            OutOfPages, RowFull: nothing was stored.
        """
        slots, counts = compact(placed)
        before = self.tables.counts[rows]
        self._own_last(rows, before, counts > 0)
        self.tables.resize(rows, before + counts)
        slots = np.where(slots >= 0, slots + before.T[:, None], -1).astype(np.int32)
        positions = np.arange(first, first + len(placed), dtype=np.int32)
        every = np.ascontiguousarray(np.broadcast_to(rows, placed.shape))
        for tier in (HIGH, LOW):
            self._write(tier, every, slots[tier], keys, values, scores, positions)

    def pages_to_store(self, rows: I32, counts: I32) -> int:
        """Return how many pages the rows need at most to hold so many tokens [rows, 2] beside theirs."""
        before = self.tables.counts[rows]
        needed = self.tables.missing(rows, before + counts)
        for tier in (HIGH, LOW):
            some = (counts[:, tier] > 0) & (before[:, tier] > 0)
            needed += self.tables.copies(rows[some], tier, (before[some, tier] - 1) // self.tables.page_tokens[tier])
        return needed

    def grow(self, rows: I32) -> None:
        """Make room for one more token in the high tier of each row; `append` fills it.

        Raises:
            OutOfPages, RowFull: nothing was changed.
        """
        if self.tables.advance(rows):
            return
        before = self.tables.counts[rows]
        one = np.broadcast_to(np.array([1, 0], np.int32), before.shape)
        self._own_last(rows, before, one > 0)
        self.tables.resize(rows, before + one)

    def append(self, rows: I32, keys: torch.Tensor, values: torch.Tensor, positions: I32) -> None:
        """Write the newest token of sequences in one layer, for which there is room by `grow`.

        Args:
            rows: int32 [sequences, kv_heads].
            keys: float [sequences, kv_heads, head_dim].
            values: likewise.
            positions: int32 [sequences].
        """
        slots = self.tables.counts[rows, HIGH] - 1
        self._write(HIGH, rows, slots, keys, values, np.zeros(rows.shape, np.float32), positions)

    def attend(self, queries: torch.Tensor, rows: I32, scale: float, positions: I32) -> torch.Tensor:
        """Attention of one query a sequence over all that is stored, whose significance takes it in.

        Args:
            queries: [sequences, heads, head_dim].
            rows: int32 [sequences, kv_heads].
            scale: of the logits.
            positions: int32 [sequences], of the queries.
        """
        put = self.backend.put
        output, _ = self.backend.attend(
            queries, *self._stored(), put(rows), put(self.tables.counts), scale, now=put(positions),
            holders=self._holders(),
        )  # fmt: skip
        return output

    def attend_part(
        self, queries: torch.Tensor, starts: I32, rows: I32, scale: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Attention of chunks of queries over rows that all come before them; with it the sums, for merging."""
        put = self.backend.put
        stored = (*self._stored(), put(rows), put(self.tables.counts), scale)
        return self.backend.attend(queries, *stored, starts=put(starts))

    def settle(self, rows: I32, now: I32) -> None:
        """Move what has fallen below its thresholds, and give empty pages back.

        Args:
            rows: int32 [sequences, row_count].
            now: int32 [sequences], newest positions.
        """
        flat, repeated = rows.reshape(-1), np.repeat(now, rows.shape[1])
        high, low = (self._tier(flat, tier) for tier in (HIGH, LOW))
        alphas = tuple(np.tile(alpha, len(rows)) for alpha in self._alphas)
        step = settling.decide(high, low, repeated, (alphas[0], alphas[1]), self.window)
        chosen = self._affordable(flat, step)
        if chosen.any():
            self._move(flat, step, chosen)

    def _move(self, rows: I32, step: settling.Settling, chosen: NDArray[np.bool_]) -> None:
        """Carry out what was decided for some of the rows."""
        row, place, number = settling.ranked(step.to_low & chosen[:, None])
        read = self._gather(rows[row], place.astype(np.int32)) if len(row) else ()
        for tier, stays in ((HIGH, step.high_stays), (LOW, step.low_stays)):
            self._close_gaps(tier, rows, stays | ~chosen[:, None])
        some = rows[chosen]
        # Given back before anything is taken: what the high tier leaves serves the low one in the same step.
        self.tables.resize(some, np.stack([step.counts[chosen, HIGH], step.kept_low[chosen]], axis=1))
        growing = step.to_low.any(axis=1) & chosen
        kept = np.stack([step.counts[growing, HIGH], step.kept_low[growing]], axis=1)
        grows = np.broadcast_to(np.array([False, True]), kept.shape)
        self._own_last(rows[growing], kept, grows)
        self.tables.resize(rows[growing], step.counts[growing])
        slots = step.kept_low[row] + number
        self._append_low(rows[row], slots, read)

    def _affordable(self, rows: I32, step: settling.Settling) -> NDArray[np.bool_]:
        """Rows that move: all of them, or where pages are short those that need the fewest beyond what they give."""
        tables, counts = self.tables, step.counts
        kept = np.stack([counts[:, HIGH], step.kept_low], axis=1)
        wanted = tables.pages_for(counts)[:, LOW] - tables.pages_for(kept)[:, LOW]
        # A shared page that is appended to is copied.
        wanted = wanted + (step.to_low.any(axis=1) & (step.kept_low > 0))
        moves = step.moves & (tables.pages_for(counts).sum(axis=1) <= tables.tables.shape[1])
        net = np.where(moves, wanted - self._freed(rows, kept), 0)
        if net.sum() <= tables.arena.free:
            return moves
        order = np.argsort(net, kind="stable")
        fits = np.zeros(len(rows), bool)
        fits[order] = np.cumsum(net[order]) <= tables.arena.free
        return moves & fits

    def _freed(self, rows: I32, counts: I32) -> I32:
        """Pages that nobody else holds and that each row gives back where it keeps token counts [rows, 2]."""
        tables = self.tables
        held, needed = tables.pages_for(tables.counts[rows]), tables.pages_for(counts)
        width = tables.tables.shape[1]
        column = np.arange(width)
        high = (column >= needed[:, HIGH, None]) & (column < held[:, HIGH, None])
        low = (column >= width - held[:, LOW, None]) & (column < width - needed[:, LOW, None])
        own = tables.arena.holders(tables.tables[rows]) == 1
        return ((high | low) & own).sum(axis=1, dtype=np.int32)

    def _tier(self, rows: I32, tier: int) -> settling.Tier:
        counts = self.tables.counts[rows]
        put = self.backend.put
        found = self.backend.bookkeeping(*self._stored(tier), put(rows), put(counts))
        scores, positions, page = (part.cpu().numpy() for part in found)
        shared = self.tables.arena.holders(page) > 1
        return settling.Tier(scores, positions, shared, counts[:, tier])

    def _gather(self, rows: I32, slots: I32) -> tuple[torch.Tensor, ...]:
        put = self.backend.put
        return self.backend.gather(*self._stored(HIGH), put(rows), put(slots))

    def _close_gaps(self, tier: int, rows: I32, stays: NDArray[np.bool_]) -> None:
        inside = np.arange(stays.shape[1]) < self.tables.counts[rows, tier][:, None]
        row, source, target = settling.gaps(stays & inside)
        if len(row):
            put = self.backend.put
            self.backend.copy_slots(*self._stored(tier), put(rows[row]), put(source), put(target))

    def _append_low(self, rows: I32, slots: I32, read: tuple[torch.Tensor, ...]) -> None:
        if not len(rows):
            return
        keys, values, scores, positions = read
        # One token a row, as `write` takes tokens of one head.
        put = self.backend.put
        self.backend.write(
            *self._stored(LOW), put(rows[:, None]), put(slots[:, None].astype(np.int32)), keys[:, None].contiguous(),
            values[:, None].contiguous(), scores[:, None].float().contiguous(), positions,
        )  # fmt: skip

    def _own_last(self, rows: I32, counts: I32, grows: NDArray[np.bool_]) -> None:
        """Make the page that a tier's next token stands on the row's own, where it has begun and others hold it."""
        for tier in (HIGH, LOW):
            begun = grows[:, tier] & (counts[:, tier] % self.tables.page_tokens[tier] > 0)
            if begun.any():
                place = counts[begun, tier] // self.tables.page_tokens[tier]
                self.memory.copy(self.tables.own(rows[begun], tier, place))

    def _holders(self) -> torch.Tensor | None:
        holders = self.tables.arena.every_holder
        return self.backend.put(holders) if (holders > 1).any() else None

    def _stored(self, tier: int | None = None) -> tuple:
        pages, tables = self.memory.pages_t, self.backend.put(self.tables.tables)
        return (pages, self.tiers, tables) if tier is None else (pages, self.tiers, tier, tables)

    def _write(
        self, tier: int, rows: I32, slots: I32, keys: torch.Tensor, values: torch.Tensor, scores: F32, positions: I32
    ) -> None:
        put = self.backend.put
        self.backend.write(
            *self._stored(tier), put(rows), put(slots), keys.contiguous(), values.contiguous(), put(scores),
            put(positions),
        )  # fmt: skip
