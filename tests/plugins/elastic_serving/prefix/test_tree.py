"""The radix tree, against a plain list of everything that was ever stored."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead_elastic_serving.arena.page_arena import Moves, PageArena
from fairlead_elastic_serving.prefix.tree import PrefixTree

TOKENS, ROWS = 3, 2
TEXTS = st.lists(st.lists(st.integers(0, 1), min_size=0, max_size=13), min_size=1, max_size=12)


def store(tree: PrefixTree, arena: PageArena, text: list[int]) -> None:
    """Store the full pages of a text as a request does that ends."""
    blocks = tree.find(text).blocks
    more = len(text) // TOKENS - len(blocks)
    pages = arena.take(more * ROWS).reshape(ROWS, more)
    tree.insert(blocks, text[len(blocks) * TOKENS :], pages)
    arena.release(pages.reshape(-1))


@settings(max_examples=60, deadline=None)
@given(TEXTS, TEXTS, st.integers(0, 30))
def test_the_longest_stored_beginning_is_found(stored: list[list[int]], asked: list[list[int]], evicted: int) -> None:
    arena = PageArena(200)
    tree = PrefixTree(arena, TOKENS)
    for text in stored:
        store(tree, arena, text)
    arena.check(tree.uses())
    assert arena.used == tree.evictable == ROWS * len(tree)
    for text in asked:
        match = tree.find(text)
        agreeing = max(
            next((at for at in range(limit) if text[at] != other[at]), limit)
            for other in stored
            for limit in [min(len(text), len(other) // TOKENS * TOKENS)]
        )
        assert len(match.blocks) * TOKENS + match.agreeing == agreeing
    free, blocks = arena.free, len(tree)
    given_up = tree.evict(evicted)
    assert arena.free == free + given_up == free + ROWS * (blocks - len(tree))
    assert given_up >= min(evicted, ROWS * blocks) and given_up < evicted + ROWS
    arena.check(tree.uses())


def test_blocks_that_are_used_stay_and_the_least_recently_used_go_first() -> None:
    arena = PageArena(40)
    tree = PrefixTree(arena, TOKENS)
    old, kept, new = ([number] * 6 for number in range(3))
    for text in (old, kept, new):
        store(tree, arena, text)
    blocks = tree.find(kept).blocks
    tree.use(blocks)
    assert tree.evictable == 2 * 2 * ROWS
    tree.evict(2 * ROWS)
    assert [len(tree.find(text).blocks) for text in (old, kept, new)] == [0, 2, 2]
    tree.evict(100)
    assert [len(tree.find(text).blocks) for text in (old, kept, new)] == [0, 2, 0]
    tree.leave(blocks)
    assert tree.evict(1) == ROWS and len(tree.find(kept).blocks) == 1, "the end of a path goes before its beginning"


def test_blocks_follow_pages_that_move() -> None:
    arena = PageArena(8, [4])
    tree = PrefixTree(arena, TOKENS)
    arena.drop([0])
    held = arena.take(4)
    store(tree, arena, [1, 2, 3])
    arena.release(held)
    moves = arena.restore(0)
    assert isinstance(moves, Moves) and len(moves) == ROWS
    tree.apply(moves)
    assert not np.isin(tree.find([1, 2, 3]).blocks[0].pages, range(4, 8)).any()
    arena.check(tree.uses())
