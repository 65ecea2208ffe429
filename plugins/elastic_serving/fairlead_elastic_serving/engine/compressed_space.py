"""Room for sequences that are compressed once their prompt is computed, or when room is short (LeanKV)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch

from ..arena.allocation import I32
from ..arena.page_arena import Moves
from ..arena.page_tables import HIGH, LOW, PageTables
from ..compression.received import Received
from ..compression.tiered_rows import TieredRows
from ..errors import ElasticServingError
from ..kernels.tiers import Tiers
from ..model.batch import Batch
from ..prefix.compressed import CompressedPrefixes
from ..scheduling.requests import SwapIn, SwapOut
from .local_space import NO_ROWS, LocalSpace

When = Literal["always", "pressure"]
SETTLE_EVERY = 32
"""Tokens of a sequence between two looks at what has fallen below its thresholds."""


@dataclass(slots=True)
class _Lean:
    """What a request has beside its uncompressed rows."""

    received: Received
    rows: I32 = field(default_factory=lambda: NO_ROWS)
    tokens: int = 0
    """Its first tokens, which are compressed."""
    raw_tokens: int = 0
    """Stored uncompressed, after those."""
    growing: bool = False
    """Whether there is room for one token more, which is not written yet."""
    counts: I32 | None = None
    """Of its rows, while it is suspended."""


class CompressedSpace(LocalSpace):
    """Prompts in uncompressed pages; then, or under pressure, all of a request in two tiers, in the same arena.

    Args:
        tables: of uncompressed rows.
        layers: of the model.
        kv_heads: of each.
        rows: compressed rows, over the same arena.
        tiers: the layout of uncompressed pages.
        heads: query heads of a layer.
        when: "always": each request once its prompt is computed; "pressure": when room is missing.
        host_pages: for requests that are suspended.
        prefix: whether what ended is kept for later requests.
        kept: compressed sequences that are kept, at most.
        copy: copies pages as moves say, at once.
    """

    def __init__(
        self,
        tables: PageTables,
        layers: int,
        kv_heads: int,
        rows: TieredRows,
        tiers: Tiers,
        heads: int,
        *,
        when: When = "always",
        host_pages: int = 0,
        prefix: bool = False,
        kept: int = 8,
        copy: Callable[[Moves], None] = lambda moves: None,
    ) -> None:
        raw_prefix = prefix and when == "pressure"
        super().__init__(tables, layers, kv_heads, host_pages=host_pages, prefix=raw_prefix, copy=copy)
        self.lean, self.when, self.compressions = rows, when, 0
        self._tiers, self._heads = tiers, heads
        self._kept = CompressedPrefixes(rows.tables, kept if prefix else 0)
        self._states: dict[str, _Lean] = {}
        self._held_slots: dict[str, I32] = {}

    @property
    def free(self) -> int:
        """Pages that requests may take: free ones, and those of what is kept for later requests."""
        return super().free + self._kept.evictable

    def open(self, name: str, known: Sequence[int], room: int) -> int | None:
        """Start a request, with room for its tokens; see `KVSpace.open`."""
        kept = self._kept.find(known[:-1]) if len(known) > 1 else None
        lean = _Lean(Received(self.shape[0], self._heads, 0, self.lean.memory.device))
        if kept is not None and self.lean.tables.free_rows >= self.row_count:
            lean.rows, lean.tokens = self.lean.tables.open(self.row_count), len(kept.tokens)
            self.lean.tables.fork(kept.rows, lean.rows)
        # What follows reserves room, or releases all that is held, by these methods.
        self._states[name] = lean
        stored = super().open(name, () if lean.tokens else known, room)
        if stored is None:
            if self._states.pop(name, None) is not None:
                self._close_lean(lean)
            return None
        lean.received.known = lean.raw_tokens = stored
        self.hits += lean.tokens
        return lean.tokens + stored

    def reserve(self, name: str, tokens: int) -> bool:
        """Give a request room for so many tokens in all; false, changing nothing, if there is none."""
        lean = self._states[name]
        if name in self._held:
            return super().reserve(name, tokens - lean.tokens)
        return tokens <= lean.tokens or lean.growing or self._grow(lean)

    def stored(self, name: str, known: Sequence[int]) -> None:
        """Let others share full pages that are not compressed."""
        if name in self._held and not self._states[name].tokens:
            super().stored(name, known)

    def relieve(self, pages: int, names: Sequence[str]) -> bool:
        """Compress requests until so many pages are free by it; whether any was.

        It reads and writes keys and values once, where a swap moves them twice over a slower link, and computing them
        again costs their prefill: so it comes before both.
        """
        before = self.tables.arena.free
        for name in sorted(names, key=self._raw_tokens, reverse=True):
            if self.tables.arena.free - before >= pages:
                break
            if self._raw_tokens(name) > self.lean.window:
                self.compress(name)
        return self.tables.arena.free > before

    def compress(self, name: str) -> bool:
        """Move a request's uncompressed tokens to the two tiers; false, changing nothing, if there is no room for it.

        Whatever of them is not significant enough is pruned.
        """
        lean, held = self._states[name], self._held.get(name)
        if held is None or not lean.raw_tokens or (not len(lean.rows) and self.lean.tables.free_rows < self.row_count):
            return False
        scores = lean.received.significance(lean.raw_tokens, self.shape[1], lean.tokens)
        placed = self.lean.place(scores)
        opened = not len(lean.rows)
        if opened:
            lean.rows = self.lean.tables.open(self.row_count)
        raw = held.rows.reshape(self.shape)
        if not self._fits(raw, lean.rows.reshape(self.shape), placed):
            if opened:
                self._close_lean(lean)
            return False
        for layer in range(self.shape[0]):
            self._compress_layer(raw[layer], lean, layer, placed[layer], scores[layer])
        self._close(self._held.pop(name))
        lean.tokens, lean.raw_tokens = lean.tokens + lean.raw_tokens, 0
        self.compressions += 1
        return True

    def computed(self, batch: Batch) -> None:
        """Take note that a microbatch went through all layers: compress prompts that it ended, settle the others."""
        sampled = set(np.searchsorted(batch.starts, batch.samples, side="right") - 1)
        due: list[tuple[I32, int]] = []
        for place, (name, tokens) in enumerate(zip(batch.names, batch.lengths.tolist(), strict=True)):
            lean = self._states[name]
            if name in self._held:
                lean.raw_tokens += tokens
                if place in sampled and self.when == "always":
                    self.compress(name)
                continue
            lean.tokens, lean.growing = lean.tokens + 1, False
            if lean.tokens % SETTLE_EVERY == 0:
                due.append((lean.rows, lean.tokens - 1))
        if due:
            self.lean.settle(np.stack([rows for rows, _ in due]), np.array([now for _, now in due], np.int32))
        self._grow_ahead([self._states[name] for name in batch.names if name not in self._held])

    def suspend(self, name: str, stored: int) -> SwapOut | None:
        """Let a request wait in host memory; None where it does not fit there or is compressed in part only."""
        lean = self._states[name]
        if name in self._held:
            return None if lean.tokens else super().suspend(name, stored)
        self._shrink(lean)
        pages = self.lean.tables.held(lean.rows)
        if len(pages) > self._host.count:
            return None
        self._held_slots[name] = slots = self._host.take(len(pages))
        lean.counts = self.lean.tables.counts[lean.rows].copy()
        self._close_lean(lean)
        return SwapOut(name, pages, slots)

    def resume(self, name: str, room: int) -> SwapIn | None:
        """Bring a suspended request back, with room for so many tokens; None, changing nothing, if there is none."""
        lean = self._states[name]
        if lean.counts is None:
            return super().resume(name, room)
        tables, counts = self.lean.tables, lean.counts
        grown = counts + np.array([1, 0], np.int32)
        wanted = int(tables.pages_for(grown).sum())
        if tables.free_rows < self.row_count or wanted > self.free:
            return None
        self._make_free(wanted)
        lean.rows = tables.open(self.row_count)
        tables.resize(lean.rows, counts)
        pages, lean.counts = tables.held(lean.rows), None
        slots = self._held_slots.pop(name)
        self._host.give(slots)
        self.lean.grow(lean.rows)
        lean.growing = True
        return SwapIn(name, slots, pages)

    def release(self, name: str, known: Sequence[int]) -> None:
        """Forget a request; what stands for its first, known tokens is kept for others."""
        lean = self._states.pop(name)
        if name in self._held:
            super().release(name, () if lean.tokens else known)
            self._close_lean(lean)
            return
        if lean.counts is not None:
            self._host.give(self._held_slots.pop(name))
            return
        self._shrink(lean)
        if self._kept.most and len(known) == lean.tokens:
            self._kept.add(known, lean.rows)
        else:
            self._close_lean(lean)

    def rows(self, name: str) -> I32:
        """Return the rows that a request's new tokens go to: int32 [layers, kv_heads]."""
        return super().rows(name) if name in self._held else self._states[name].rows.reshape(self.shape)

    def raw(self, name: str) -> I32 | None:
        """Return the uncompressed rows of a request: int32 [layers, kv_heads]."""
        return super().rows(name) if name in self._held else None

    def tiered(self, name: str) -> I32 | None:
        """Return the compressed rows of a request: int32 [layers, kv_heads]."""
        rows = self._states[name].rows
        return rows.reshape(self.shape) if len(rows) else None

    def compressed(self, name: str) -> int:
        """Return how many of a request's first tokens are compressed."""
        return self._states[name].tokens

    def received(self, name: str) -> Received:
        """Return where the attention that a request's uncompressed tokens get is summed."""
        return self._states[name].received

    def moved(self, moves: Moves) -> None:
        """Follow pages that the arena moved to restore a layer."""
        super().moved(moves)
        self.lean.tables.apply(moves)

    def evict(self, pages: int) -> int:
        """Give up pages of what is kept for later requests; return how many."""
        given = super().evict(pages)
        return given + (self._kept.evict(pages - given) if pages > given else 0)

    def check(self) -> None:
        """Raise IntegrityError or ElasticServingError unless pages, rows and host memory are held as they must be."""
        of_tree = self.tree.uses() if self.tree is not None else np.zeros(self.tables.arena.pages, np.int64)
        self.tables.check(of_tree + self.lean.tables.uses())
        self.lean.tables.check(of_tree + self.tables.uses())
        slots = [held.slots for held in self._held.values() if held.slots is not None] + [*self._held_slots.values()]
        if sum(map(len, slots)) + self._host.count != self._host_pages:
            raise ElasticServingError(f"{sum(map(len, slots))} host pages are held, {self._host.count} free")
        rows = sum(len(held.rows) for held in self._held.values())
        lean = sum(len(state.rows) for state in self._states.values()) + self._kept.row_count
        for tables, number in ((self.tables, rows), (self.lean.tables, lean)):
            if number + tables.free_rows != len(tables.tables):
                raise ElasticServingError(f"{number} table rows are held, {tables.free_rows} free")

    def _raw_tokens(self, name: str) -> int:
        """Tokens of a request that compressing may make smaller: those whose attention was seen long enough."""
        lean = self._states.get(name)
        if lean is None or name not in self._held or self._held[name].slots is not None:
            return 0
        return lean.raw_tokens if lean.raw_tokens - lean.received.known >= self.lean.window else 0

    def _grow(self, lean: _Lean) -> bool:
        if self.lean.tables.advance(lean.rows):
            lean.growing = True
            return True
        wanted = self._pages_for_one(lean.rows)
        if wanted > self.tables.arena.free:
            if wanted > self.free:
                return False
            self._make_free(wanted)
        self.lean.grow(lean.rows)
        lean.growing = True
        return True

    def _grow_ahead(self, leans: Sequence[_Lean]) -> None:
        """Make room for the next token of sequences, all at once, where `reserve` would ask for one after another.

        Those that need pages get them while there are enough for all; else `reserve` decides who waits.
        """
        if not leans:
            return
        rows = np.stack([lean.rows for lean in leans])
        grown = self.lean.tables.advance_each(rows)
        others = rows[~grown].reshape(-1)
        if len(others) and self._pages_for_one(others) <= self.tables.arena.free:
            self.lean.grow(others)
            grown[:] = True
        for lean, there in zip(leans, grown.tolist(), strict=True):
            lean.growing = there

    def _pages_for_one(self, rows: I32) -> int:
        """How many pages compressed rows need at most for one token more."""
        return self.lean.pages_to_store(rows, np.tile(np.array([1, 0], np.int32), (len(rows), 1)))

    def _shrink(self, lean: _Lean) -> None:
        """Take room back that no token was written to."""
        if lean.growing:
            counts = self.lean.tables.counts[lean.rows] - np.array([1, 0], np.int32)
            self.lean.tables.resize(lean.rows, counts)
            lean.growing = False

    def _fits(self, raw: I32, rows: I32, placed: I32) -> bool:
        """Whether there are pages, layer after layer, as each gives its uncompressed ones back before it takes any."""
        arena, missing, free = self.tables.arena, 0, self.tables.arena.free
        for layer in range(len(raw)):
            counts = np.stack([(placed[layer] == tier).sum(axis=0) for tier in (HIGH, LOW)], axis=1).astype(np.int32)
            free += int((arena.holders(self.tables.held(raw[layer])) == 1).sum())
            free -= self.lean.pages_to_store(rows[layer], counts)
            missing = max(missing, -free)
        return not missing or self.evict(missing) >= missing

    def _compress_layer(self, raw: I32, lean: _Lean, layer: int, placed: I32, scores: np.ndarray) -> None:
        keys, values = self._read(raw, lean.raw_tokens)
        self.tables.resize(raw, np.zeros((len(raw), 2), np.int32))
        rows = lean.rows.reshape(self.shape)[layer]
        self.lean.store(rows, placed, keys, values, scores, lean.tokens)

    def _read(self, raw: I32, tokens: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values of one layer's uncompressed rows: float32 [tokens, kv_heads, head_dim] each."""
        lean, put = self.lean, self.lean.backend.put
        rows = np.tile(raw, tokens)
        slots = np.repeat(np.arange(tokens, dtype=np.int32), len(raw))
        tables = put(self.tables.tables)
        keys, values, *_ = lean.backend.gather(lean.memory.pages_t, self._tiers, HIGH, tables, put(rows), put(slots))
        return keys.unflatten(0, (tokens, len(raw))), values.unflatten(0, (tokens, len(raw)))

    def _close_lean(self, lean: _Lean) -> None:
        if len(lean.rows):
            self.lean.tables.close(lean.rows)
        lean.rows = NO_ROWS
