"""Shared pages: nothing is leaked, nothing is shared by mistake, and nobody's tokens change under them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead_language_model.errors import LanguageModelError, OutOfPages
from fairlead_language_model.graph import KVPages, PageTable, PrefixCache
from fairlead_language_model.graph.page_pool import PagePool

from .test_kv_pages import CONFIG


@dataclass
class Owner:
    """A sequence: its tokens and its pages."""

    tokens: list[int] = field(default_factory=list)
    table: PageTable = field(default_factory=PageTable)


def compute(pages: KVPages, owner: Owner, known: int) -> None:
    """Write what a model would: keys that depend on all tokens up to their own."""
    for position in range(known, len(owner.tokens)):
        keys = np.full((1, 1, 4), hash(tuple(owner.tokens[: position + 1])) % 99991, np.float32)
        pages.write(0, owner.table, position, keys, -keys)
        owner.table.length = position + 1


def holds(pages: KVPages, owner: Owner) -> None:
    """Assert that a table's pages hold its own tokens' keys."""
    keys, values = pages.read(0, owner.table, 0, owner.table.length)
    expected = [hash(tuple(owner.tokens[: i + 1])) % 99991 for i in range(owner.table.length)]
    np.testing.assert_array_equal(keys[:, 0, 0], np.asarray(expected, np.float32))
    np.testing.assert_array_equal(values, -keys)


def check(pages: KVPages, cache: PrefixCache, owners: Sequence[Owner]) -> None:
    """Assert that every page is accounted for and every table holds what it should."""
    pages.check([owner.table for owner in owners], cache.held)
    assert len(set(cache.held)) == len(cache.held)
    for owner in owners:
        holds(pages, owner)


TOKENS = st.lists(st.integers(0, 2), min_size=1, max_size=14)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("start"), TOKENS, st.integers(0, 4)),
        st.tuples(st.just("insert"), st.just([]), st.integers(0, 9)),
        st.tuples(st.just("append"), TOKENS, st.integers(0, 9)),
        st.tuples(st.just("retire"), st.just([]), st.integers(0, 9)),
        st.tuples(st.just("drop"), st.just([]), st.integers(0, 9)),
        st.tuples(st.just("evict"), st.just([]), st.integers(0, 5)),
        st.tuples(st.just("resize"), st.just([]), st.integers(1, 14)),
    ),
    max_size=60,
)


@settings(max_examples=300, deadline=None)
@given(steps=STEPS, count=st.integers(1, 12), size=st.integers(1, 4), enabled=st.booleans())
def test_any_history_keeps_every_page_and_every_token(
    steps: list[tuple[str, list[int], int]], count: int, size: int, enabled: bool
) -> None:
    pages = KVPages(CONFIG, count, size)
    cache, owners = PrefixCache(pages, enabled=enabled), list[Owner]()
    for action, tokens, number in steps:
        owner = owners[number % len(owners)] if owners else None
        if action == "start":
            start(pages, cache, owners, tokens, number)
        elif action == "evict":
            free, spare = pages.free, cache.evictable
            assert cache.evict(number) == min(number, spare) == pages.free - free
        elif action == "resize" and number >= pages.pool.used:
            cache.renumber(pages.resize(number, [owner.table for owner in owners]))
        elif owner is not None and action == "insert":
            cache.insert(owner.tokens, owner.table)
        elif owner is not None and action == "append":
            room = len(owner.table.pages) * size - owner.table.length
            owner.tokens += tokens[:room]
            compute(pages, owner, owner.table.length)
        elif owner is not None and action in ("retire", "drop"):
            cache.retire(owner.tokens, owner.table) if action == "retire" else pages.release(owner.table)
            owners.remove(owner)
        check(pages, cache, owners)
    for owner in owners:
        pages.release(owner.table)
    cache.evict(count + 14)
    assert pages.free == pages.count
    assert cache.held == []


def start(pages: KVPages, cache: PrefixCache, owners: list[Owner], tokens: list[int], extra: int) -> None:
    """Begin a sequence, with room for some more tokens, exactly where the cache says that there is room."""
    owner, length = Owner(list(tokens)), len(tokens) + extra
    if not cache.room(tokens, length):
        with pytest.raises(OutOfPages):
            cache.reserve(owner.table, tokens, length)
        assert owner.table.pages == []
        return
    known = cache.reserve(owner.table, tokens, length)
    assert known == owner.table.length < len(tokens)
    holds(pages, owner)
    compute(pages, owner, known)
    owners.append(owner)


def run(pages: KVPages, cache: PrefixCache, tokens: list[int]) -> int:
    """Compute a sequence to its end; return how much of it was known."""
    owner = Owner(tokens)
    known = cache.reserve(owner.table, tokens, len(tokens))
    compute(pages, owner, known)
    holds(pages, owner)
    cache.retire(tokens, owner.table)
    return known


def test_a_conversation_goes_on_where_it_ended() -> None:
    pages = KVPages(CONFIG, 16, 4)
    cache = PrefixCache(pages)
    first = [5, 6, 7, 8, 9, 1]
    assert run(pages, cache, first) == 0
    # One whole page is shared, of the second one what agrees is copied.
    assert run(pages, cache, [*first, 3, 4, 4]) == 6
    assert run(pages, cache, [*first, 3, 9]) == 7
    assert run(pages, cache, [5, 6, 0, 0]) == 2
    assert run(pages, cache, [6, 6]) == 0


def test_the_last_token_is_always_computed() -> None:
    pages = KVPages(CONFIG, 8, 4)
    cache = PrefixCache(pages)
    tokens = [1, 2, 3, 4, 5, 6, 7, 8]
    run(pages, cache, tokens)
    assert run(pages, cache, tokens) == 7
    assert cache.match(tokens) == 8


def test_the_least_recently_used_goes_first_and_beginnings_go_last() -> None:
    pages = KVPages(CONFIG, 6, 2)
    cache = PrefixCache(pages)
    run(pages, cache, [1, 1, 2, 2])
    run(pages, cache, [3, 3, 4, 4])
    run(pages, cache, [1, 1, 9])
    cache.evict(1)
    assert (cache.match([3, 3, 4, 4]), cache.match([1, 1, 2, 2])) == (4, 2)
    cache.evict(1)
    assert (cache.match([3, 3, 4, 4]), cache.match([1, 1, 9])) == (2, 3)


def test_two_that_computed_the_same_keep_one_copy() -> None:
    pages = KVPages(CONFIG, 8, 2)
    cache = PrefixCache(pages)
    owners = [Owner([1, 2, 3, 4, 5]) for _ in range(2)]
    for owner in owners:
        cache.reserve(owner.table, owner.tokens, 6)
        compute(pages, owner, 0)
    for owner in owners:
        cache.insert(owner.tokens, owner.table)
    assert owners[0].table.pages[:2] == owners[1].table.pages[:2]
    assert owners[0].table.pages[2] != owners[1].table.pages[2]
    check(pages, cache, owners)


def test_who_writes_a_shared_page_gets_a_copy() -> None:
    pages, one = KVPages(CONFIG, 8, 2), Owner([1, 2, 3])
    pages.reserve(one.table, 3)
    compute(pages, one, 0)
    two = Owner([1, 2, 3], PageTable(list(one.table.pages), 3))
    pages.pool.retain(two.table.pages)
    pages.own(two.table, 2)
    assert (two.table.pages[0], two.table.pages[1] != one.table.pages[1]) == (one.table.pages[0], True)
    two.tokens[2] = 7
    two.table.length = 2
    compute(pages, two, 2)
    check(pages, PrefixCache(pages), [one, two])
    pages.pool.take(pages.free)
    two.table.pages[0] = one.table.pages[0]
    with pytest.raises(OutOfPages):
        pages.own(two.table, 0)


def test_a_pool_refuses_what_nobody_holds() -> None:
    pool = PagePool(2)
    with pytest.raises(LanguageModelError, match=r"KV pages \[1\] are shared though nobody holds them"):
        pool.retain([1])
    assert pool.wrong({0: 1}) == [0]
