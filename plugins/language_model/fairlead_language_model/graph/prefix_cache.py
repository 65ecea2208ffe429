"""Keys and values that outlive their sequence, for prompts that begin alike. Pure: no clock, no thread."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from .kv_pages import KVPages
from .page_table import PageTable

Block = tuple[int, ...]


@dataclass(eq=False, slots=True)
class _Node:
    """A page and the tokens it holds; only a full page has children."""

    block: Block
    page: int
    parent: _Node | None
    children: dict[Block, _Node] = field(default_factory=dict[Block, "_Node"])

    def path(self) -> Iterator[_Node]:
        """Yield this node and those before it, up to the first page."""
        node = self
        while node.parent is not None:
            yield node
            node = node.parent


class PrefixCache:
    """A radix tree over pages: the path to a page spells all tokens before it, as its keys and values depend on them.

    Whole pages are shared between tables and the tree; of a page that agrees only at its beginning a copy is made.
    Pages that no table holds are given up, least recently used first, when a sequence needs room. Tokens are compared
    themselves, not hashes of them, so that nothing is shared by mistake.
    """

    def __init__(self, pages: KVPages, *, enabled: bool = True) -> None:
        """Begin empty; one that is not enabled keeps nothing."""
        self.pages, self.enabled = pages, enabled
        self._root = _Node((), -1, None)
        # Least recently used first; a node comes after its children.
        self._recent: dict[_Node, None] = {}

    @property
    def held(self) -> list[int]:
        """The pages that the tree holds."""
        return [node.page for node in tuple(self._recent)]

    @property
    def evictable(self) -> int:
        """Number of pages that only the tree holds."""
        return sum(self.pages.pool.holders(page) == 1 for page in self.held)

    def match(self, tokens: Sequence[int]) -> int:
        """Return how many of the first tokens are known."""
        nodes, _, agreeing = self._find(tokens)
        return len(nodes) * self.pages.page_size + agreeing

    def room(self, tokens: Sequence[int], length: int) -> bool:
        """Say whether `reserve` would succeed."""
        nodes, _, _ = self._find(tokens[:-1])
        pool = self.pages.pool
        # What is shared needs no page, but cannot be given up either.
        spare = self.evictable - sum(pool.holders(node.page) == 1 for node in nodes)
        return self.pages.pages_for(length) - len(nodes) <= pool.free + spare

    def reserve(self, table: PageTable, tokens: Sequence[int], length: int) -> int:
        """Give an empty table the pages of `length` tokens, and what is known of `tokens`.

        The last token is always left to compute, as its logits are not kept. Returns how many are known: the table's
        length afterwards. Raises OutOfPages, with the table empty, where `room` is false.
        """
        nodes, tail, agreeing = self._find(tokens[:-1])
        pool = self.pages.pool
        table.pages = [node.page for node in nodes]
        pool.retain(table.pages)
        table.length = len(nodes) * self.pages.page_size
        missing = self.pages.pages_for(length) - len(nodes) - pool.free
        self.evict(missing, spare=tail)
        if missing > 0 and pool.free + len(nodes) < self.pages.pages_for(length):
            # Rather room than a few tokens less to compute.
            self.evict(1)
        try:
            self.pages.reserve(table, length)
        except Exception:
            self.pages.release(table)
            raise
        if tail is not None and tail in self._recent:
            self.pages.copy(tail.page, table.pages[len(nodes)])
            table.length += agreeing
            nodes.append(tail)
        if nodes:
            self._touch(nodes[-1])
        return table.length

    def insert(self, tokens: Sequence[int], table: PageTable) -> None:
        """Remember the full pages of a table that goes on; `tokens` are those it holds, or more."""
        self._insert(tokens, table, table.length // self.pages.page_size * self.pages.page_size)

    def retire(self, tokens: Sequence[int], table: PageTable) -> None:
        """Remember what a table holds of `tokens`, and give its pages back."""
        self._insert(tokens, table, min(table.length, len(tokens)))
        self.pages.release(table)

    def export(self, tokens: Sequence[int]) -> tuple[int, dict[str, NDArray[Any]]]:
        """Return how many of the first tokens are known, and copies of their keys and values."""
        nodes, tail, agreeing = self._find(tokens)
        pages = [node.page for node in (*nodes, *([tail] if tail else ()))]
        length = len(nodes) * self.pages.page_size + agreeing
        return length, self.pages.export(PageTable(pages, length))

    def restore(self, tokens: Sequence[int], exported: Mapping[str, NDArray[Any]]) -> bool:
        """Remember tokens whose keys and values were computed before: arrays as `KVPages.export` gives them.

        Returns false where there is no room for them. Raises ValueError for arrays of another kind of pages.
        """
        table = PageTable()
        if not (self.enabled and tokens and self.room(tokens, len(tokens))):
            return False
        known = self.reserve(table, tokens, len(tokens))
        try:
            self.pages.restore(table, known, len(tokens), exported)
        finally:
            self.retire(tokens, table)
        return True

    def evict(self, number: int, *, spare: _Node | None = None) -> int:
        """Give up pages that only the tree holds; return how many, which is fewer where there are not so many."""
        given = 0
        for node in tuple(self._recent) if number > 0 else ():
            if node.children or node is spare or self.pages.pool.holders(node.page) > 1:
                continue
            self._forget(node)
            given += 1
            if given == number:
                break
        return given

    def renumber(self, numbers: dict[int, int]) -> None:
        """Follow the pages to their new numbers after a resize of the arena."""
        for node in self._recent:
            node.page = numbers[node.page]

    def _find(self, tokens: Sequence[int]) -> tuple[list[_Node], _Node | None, int]:
        """Return the full pages that agree, the page after them that agrees for a while, and for how long it does."""
        size, node, nodes = self.pages.page_size, self._root, list[_Node]()
        while (child := node.children.get(tuple(tokens[len(nodes) * size : (len(nodes) + 1) * size]))) is not None:
            if len(child.block) < size:
                break
            node = child
            nodes.append(child)
        rest = tuple(tokens[len(nodes) * size : (len(nodes) + 1) * size])
        tail = max(node.children.values(), key=lambda child: _agreeing(child.block, rest), default=None)
        agreeing = 0 if tail is None else _agreeing(tail.block, rest)
        return nodes, tail if agreeing else None, agreeing

    def _insert(self, tokens: Sequence[int], table: PageTable, length: int) -> None:
        node, size = self._root, self.pages.page_size
        for place, start in enumerate(range(0, length if self.enabled else 0, size)):
            block = tuple(tokens[start : min(start + size, length)])
            child = node.children.get(block) or _longer(node, block, size)
            if child is None:
                child = self._add(node, block, table.pages[place])
            elif child.block != block:
                # An unfinished page at the end, all of whose tokens are known.
                node = child
                break
            elif child.page != table.pages[place]:
                # Computed twice, side by side: one copy is enough.
                self.pages.pool.retain([child.page])
                self.pages.pool.release([table.pages[place]])
                table.pages[place] = child.page
            node = child
        self._touch(node)

    def _add(self, parent: _Node, block: Block, page: int) -> _Node:
        for shorter in [node for known, node in parent.children.items() if block[: len(known)] == known]:
            # Its tokens are a part of the new page's.
            self._forget(shorter)
        self.pages.pool.retain([page])
        node = parent.children[block] = _Node(block, page, parent)
        self._recent[node] = None
        return node

    def _forget(self, node: _Node) -> None:
        assert node.parent is not None
        del node.parent.children[node.block], self._recent[node]
        self.pages.pool.release([node.page])

    def _touch(self, last: _Node) -> None:
        for node in last.path():
            self._recent[node] = self._recent.pop(node)


def _longer(node: _Node, block: Block, size: int) -> _Node | None:
    """Return the page after `node` that begins with an unfinished page's tokens."""
    children = node.children.values() if len(block) < size else ()
    return next((child for child in children if child.block[: len(block)] == block), None)


def _agreeing(block: Block, rest: Block) -> int:
    """Return how many tokens two blocks have in common at their beginning."""
    for place, (one, other) in enumerate(zip(block, rest, strict=False)):
        if one != other:
            return place
    return min(len(block), len(rest))
