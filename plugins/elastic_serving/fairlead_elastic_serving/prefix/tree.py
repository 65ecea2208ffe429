"""A radix tree over blocks of tokens: the path to a block spells all tokens before it, on which its content depends.

A block is one full page of tokens, with a page for each layer and KV head. Tokens are compared themselves, not hashes
of them, so that nothing is shared by mistake. Pure: numbers only, no clock; blocks are given up by least recent use.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..arena.allocation import I32
from ..arena.page_arena import Moves, PageArena

Tokens = tuple[int, ...]


@dataclass(eq=False, slots=True)
class Block:
    """A page of tokens in each row of a sequence.

    Attributes:
        tokens: as many as a page holds.
        pages: int32 [rows].
        parent: the block before; None for the root.
        users: requests whose rows begin with it.
    """

    tokens: Tokens
    pages: I32
    parent: Block | None
    users: int = 0
    children: dict[Tokens, Block] = field(default_factory=dict)

    def path(self) -> Iterator[Block]:
        """Yield this block and those before it, the nearest first."""
        block = self
        while block.parent is not None:
            yield block
            block = block.parent


@dataclass(frozen=True, slots=True)
class Match:
    """What is known of some tokens: whole blocks, and a block of which `agreeing` first tokens are the same."""

    blocks: tuple[Block, ...]
    tail: Block | None = None
    agreeing: int = 0


class PrefixTree:
    """Blocks of one arena. The tree is one holder of each block's pages, however many requests use them.

    Args:
        arena: whose pages.
        page_tokens: tokens in a page.
    """

    def __init__(self, arena: PageArena, page_tokens: int) -> None:
        self.arena, self.page_tokens = arena, page_tokens
        self._root = Block((), np.zeros(0, np.int32), None)
        # Least recently used first; a block comes after its children.
        self._recent: dict[Block, None] = {}
        self._unused = 0

    def __len__(self) -> int:
        """Number of blocks."""
        return len(self._recent)

    @property
    def evictable(self) -> int:
        """Pages of blocks that no request uses."""
        return self._unused

    def find(self, tokens: Sequence[int]) -> Match:
        """Return what is known of the first tokens; changes nothing."""
        size, block, blocks = self.page_tokens, self._root, list[Block]()
        while child := block.children.get(tuple(tokens[len(blocks) * size : (len(blocks) + 1) * size])):
            block = child
            blocks.append(child)
        rest = tuple(tokens[len(blocks) * size : (len(blocks) + 1) * size])
        tail = max(block.children.values(), key=lambda other: _agreeing(other.tokens, rest), default=None)
        agreeing = 0 if tail is None else _agreeing(tail.tokens, rest)
        return Match(tuple(blocks), tail if agreeing else None, agreeing)

    def use(self, blocks: Sequence[Block]) -> None:
        """Keep blocks of one path, as a request uses them from now on."""
        for block in blocks:
            if not block.users:
                self._unused -= len(block.pages)
            block.users += 1
        if blocks:
            self._touch(blocks[-1])

    def leave(self, blocks: Sequence[Block]) -> None:
        """A request uses blocks no more."""
        for block in blocks:
            block.users -= 1
            if not block.users:
                self._unused += len(block.pages)

    def insert(self, blocks: Sequence[Block], tokens: Sequence[int], pages: I32) -> tuple[Block, ...]:
        """Add the blocks that follow a path, or find them there; nobody uses them by this.

        Args:
            blocks: the path, from the first block on.
            tokens: as many as fill the new blocks.
            pages: int32 [rows, new blocks], held by the caller.

        Returns:
            the blocks, whose pages may be others than those given where they were known.
        """
        parent, found = blocks[-1] if blocks else self._root, []
        for place in range(pages.shape[1]):
            key = tuple(tokens[place * self.page_tokens : (place + 1) * self.page_tokens])
            child = parent.children.get(key)
            if child is None:
                own = pages[:, place].copy()
                self.arena.retain(own)
                child = parent.children[key] = Block(key, own, parent)
                self._recent[child] = None
                self._unused += len(own)
            found.append(child)
            parent = child
        self._touch(parent)
        return tuple(found)

    def evict(self, pages: int) -> int:
        """Give blocks up that nobody uses until so many pages are given; return how many, fewer if there are no more.

        A page that somebody holds beside the tree is not free by this.
        """
        given = 0
        for block in tuple(self._recent) if pages > 0 and self._unused else ():
            if block.users or block.children:
                continue
            assert block.parent is not None
            del block.parent.children[block.tokens], self._recent[block]
            self._unused -= len(block.pages)
            self.arena.release(block.pages)
            given += len(block.pages)
            if given >= pages:
                break
        return given

    def apply(self, moves: Moves) -> None:
        """Write the new page numbers after the arena moved pages."""
        if len(moves):
            new = np.arange(self.arena.pages, dtype=np.int32)
            new[moves.source] = moves.target
            for block in self._recent:
                block.pages = new[block.pages]

    def uses(self) -> NDArray[np.int64]:
        """Return how often the tree holds each of the arena's pages."""
        every = [block.pages for block in self._recent]
        return np.bincount(np.concatenate([*every, np.zeros(0, np.int32)]), minlength=self.arena.pages)

    def _touch(self, last: Block) -> None:
        for block in last.path():
            self._recent[block] = self._recent.pop(block)


def _agreeing(block: Tokens, rest: Tokens) -> int:
    """How many tokens two blocks have in common at their beginning."""
    for place, (one, other) in enumerate(zip(block, rest, strict=False)):
        if one != other:
            return place
    return min(len(block), len(rest))
