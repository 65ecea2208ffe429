"""Room in one instance's own arena, with its prefix tree and its host memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..arena.allocation import I32, Ring
from ..arena.page_arena import Moves
from ..arena.page_tables import HIGH, PageTables
from ..errors import ElasticServingError
from ..prefix.tree import Block, Match, PrefixTree
from ..scheduling.requests import SwapIn, SwapOut

NO_ROWS = np.zeros(0, np.int32)


@dataclass(slots=True)
class _Held:
    """What a request holds: rows with room for full pages, the blocks at their beginning, or slots in host memory."""

    rows: I32 = field(default_factory=lambda: NO_ROWS)
    pages: int = 0
    """Of each row."""
    blocks: list[Block] = field(default_factory=list)
    slots: I32 | None = None


class LocalSpace:
    """All tokens in the high tier; a request has a row for each layer and KV head (see `space.KVSpace`).

    Args:
        tables: over the instance's arena.
        layers: of the model.
        kv_heads: of each.
        host_pages: for requests that are suspended.
        prefix: whether full pages of tokens are kept for later requests.
        copy: copies pages as moves say, at once.
    """

    def __init__(
        self,
        tables: PageTables,
        layers: int,
        kv_heads: int,
        *,
        host_pages: int = 0,
        prefix: bool = False,
        copy: Callable[[Moves], None] = lambda moves: None,
    ) -> None:
        self.tables = tables
        self.shape = (layers, kv_heads)
        self.tree = PrefixTree(tables.arena, tables.page_tokens[HIGH]) if prefix else None
        self.hits = 0
        self._copy = copy
        self._host_pages = host_pages
        self._host = Ring(host_pages, np.arange(host_pages))
        self._held: dict[str, _Held] = {}

    @property
    def row_count(self) -> int:
        """Rows that a request has."""
        return self.shape[0] * self.shape[1]

    @property
    def page_tokens(self) -> int:
        """Tokens in a page."""
        return self.tables.page_tokens[HIGH]

    @property
    def capacity(self) -> int:
        """Pages for keys and values, held and free."""
        return self.tables.arena.capacity

    @property
    def lasting(self) -> int:
        """Those that belong to no layer."""
        return self.tables.arena.own_capacity

    @property
    def free(self) -> int:
        """Pages that requests may take: free ones and those of blocks that nobody uses."""
        return self.tables.arena.free + (self.tree.evictable if self.tree else 0)

    @property
    def used(self) -> int:
        """Pages that requests hold."""
        return self.capacity - self.free

    @property
    def most_tokens(self) -> int:
        """Tokens that fit into a request's rows and into the pages that last."""
        width = min(self.tables.tables.shape[1], self.lasting // self.row_count)
        return width * self.page_tokens

    def needed(self, tokens: int) -> int:
        """Return the pages that a request of so many tokens takes where it shares none."""
        return self.row_count * self._pages(tokens)

    def open(self, name: str, known: Sequence[int], room: int) -> int | None:
        """Start a request, with room for its tokens; see `KVSpace.open`."""
        if self.tables.free_rows < self.row_count:
            return None
        match = self._known(known)
        stored = self._opened(name, match, room)
        # Rather room than a few tokens less to compute.
        return self._opened(name, Match(match.blocks), room) if stored is None and match.tail else stored

    def _opened(self, name: str, match: Match, room: int) -> int | None:
        blocks = list(match.blocks)
        self._use([*blocks, *([match.tail] if match.tail else [])])
        held = _Held(self.tables.open(self.row_count), len(blocks), blocks)
        if blocks:
            self.tables.adopt(held.rows, np.stack([block.pages for block in blocks], axis=1))
        self._held[name] = held
        there = self.reserve(name, room)
        if there and match.tail is not None:
            self._copy(Moves(match.tail.pages, self.tables.tables[held.rows, len(blocks)]))
        self._leave([match.tail] if match.tail else [])
        if not there:
            self.release(name, ())
            return None
        stored = len(blocks) * self.page_tokens + match.agreeing
        self.hits += stored
        return stored

    def reserve(self, name: str, tokens: int) -> bool:
        """Give a request room for so many tokens in all; false, changing nothing, if there is none."""
        held, pages = self._held[name], self._pages(tokens)
        if pages <= held.pages:
            return True
        more = (pages - held.pages) * self.row_count
        if more > self.free:
            return False
        self._make_free(more)
        self._resize(held, pages)
        return True

    def stored(self, name: str, known: Sequence[int]) -> None:
        """Let others share the full pages of these first tokens; where they are known already, share theirs."""
        if self.tree is None:
            return
        held, whole = self._held[name], len(known) // self.page_tokens
        first = len(held.blocks)
        if whole <= first:
            return
        new = self._insert(held, known, whole)
        for place, block in enumerate(new, first):
            if not np.array_equal(block.pages, self.tables.tables[held.rows, place]):
                # Computed twice, side by side: one copy is enough.
                self.tables.exchange(held.rows, place, block.pages)
        self._use(new)
        held.blocks += new

    def relieve(self, pages: int, names: Sequence[str]) -> bool:
        """Uncompressed requests have no other way to make room than to be preempted."""
        return False

    def suspend(self, name: str, stored: int) -> SwapOut | None:
        """Let a request wait in host memory; None where it does not fit there or has nothing stored."""
        held, count = self._held[name], self._pages(stored)
        pages = self.tables.tables[held.rows, :count].reshape(-1).copy()
        if not stored or len(pages) > self._host.count:
            return None
        held.slots = self._host.take(len(pages))
        self._close(held)
        return SwapOut(name, pages, held.slots)

    def resume(self, name: str, room: int) -> SwapIn | None:
        """Bring a suspended request back, with room for so many tokens; None, changing nothing, if there is none."""
        held, pages = self._held[name], self._pages(room)
        if held.slots is None:
            raise ElasticServingError(f"request {name!r} is not suspended")
        if self.tables.free_rows < self.row_count or pages * self.row_count > self.free:
            return None
        self._make_free(pages * self.row_count)
        held.rows = self.tables.open(self.row_count)
        self._resize(held, pages)
        slots, held.slots = held.slots, None
        self._host.give(slots)
        count = len(slots) // self.row_count
        return SwapIn(name, slots, self.tables.tables[held.rows, :count].reshape(-1).copy())

    def release(self, name: str, known: Sequence[int]) -> None:
        """Forget a request; the full pages of its first tokens are kept for others."""
        held = self._held.pop(name)
        if held.slots is not None:
            self._host.give(held.slots)
            return
        whole = len(known) // self.page_tokens
        if self.tree is not None and whole > len(held.blocks):
            self._insert(held, known, whole)
        self._close(held)

    def rows(self, name: str) -> I32:
        """Return a request's rows of the page tables: int32 [layers, kv_heads]."""
        return self._held[name].rows.reshape(self.shape)

    def moved(self, moves: Moves) -> None:
        """Follow pages that the arena moved to restore a layer."""
        self.tables.apply(moves)
        if self.tree is not None:
            self.tree.apply(moves)

    def evict(self, pages: int) -> int:
        """Give up pages of blocks that nobody uses; return how many."""
        return self.tree.evict(pages) if self.tree is not None else 0

    def hand_over(self) -> dict[str, I32]:
        """Give all running requests' rows to the caller, int32 [layers, kv_heads] each; nothing is kept for others."""
        given = {name: held.rows.reshape(self.shape) for name, held in self._held.items() if held.slots is None}
        for name in given:
            self._leave(self._held.pop(name).blocks)
        self.evict(self.tables.arena.pages)
        return given

    def take_over(self, name: str, rows: I32, tokens: int) -> None:
        """Take a request with its rows, int32 [layers, kv_heads], that hold at least so many tokens each."""
        held = self._held[name] = _Held(rows.reshape(-1))
        self._resize(held, self._pages(tokens))

    def check(self) -> None:
        """Raise IntegrityError or ElasticServingError unless pages, rows and host memory are held as they must be."""
        self.tables.check(self.tree.uses() if self.tree is not None else None)
        slots = sum(len(held.slots) for held in self._held.values() if held.slots is not None)
        if slots + self._host.count != self._host_pages:
            raise ElasticServingError(f"{slots} host pages are held, {self._host.count} free")
        open_rows = sum(len(held.rows) for held in self._held.values())
        if open_rows + self.tables.free_rows != len(self.tables.tables):
            raise ElasticServingError(f"{open_rows} table rows are held, {self.tables.free_rows} free")

    def _pages(self, tokens: int) -> int:
        return -(-tokens // self.page_tokens)

    def _known(self, known: Sequence[int]) -> Match:
        # The last token is always computed, as its logits are not kept.
        return self.tree.find(known[:-1]) if self.tree is not None and len(known) > 1 else Match(())

    def _make_free(self, pages: int) -> None:
        self.evict(pages - self.tables.arena.free)

    def _resize(self, held: _Held, pages: int) -> None:
        counts = np.zeros((self.row_count, 2), np.int32)
        counts[:, HIGH] = pages * self.page_tokens
        self.tables.resize(held.rows, counts)
        held.pages = pages

    def _insert(self, held: _Held, known: Sequence[int], whole: int) -> tuple[Block, ...]:
        assert self.tree is not None
        first = len(held.blocks)
        pages = self.tables.tables[held.rows, first:whole]
        return self.tree.insert(held.blocks, known[first * self.page_tokens : whole * self.page_tokens], pages)

    def _use(self, blocks: Sequence[Block]) -> None:
        if self.tree is not None:
            self.tree.use(blocks)

    def _leave(self, blocks: Sequence[Block]) -> None:
        if self.tree is not None:
            self.tree.leave(blocks)

    def _close(self, held: _Held) -> None:
        self.tables.close(held.rows)
        self._leave(held.blocks)
        held.rows, held.pages, held.blocks = NO_ROWS, 0, []
