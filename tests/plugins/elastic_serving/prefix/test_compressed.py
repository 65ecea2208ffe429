"""Compressed sequences are found by all of their tokens, shared without copies, and given up when pages are needed."""

from __future__ import annotations

import numpy as np

from fairlead_elastic_serving.arena.page_arena import PageArena
from fairlead_elastic_serving.arena.page_tables import PageTables
from fairlead_elastic_serving.prefix.compressed import CompressedPrefixes


def kept(most: int = 3) -> CompressedPrefixes:
    return CompressedPrefixes(PageTables(PageArena(40), 20, 8, (4, 8)), most)


def rows_with(subject: CompressedPrefixes, tokens: int) -> np.ndarray:
    rows = subject.tables.open(2)
    subject.tables.resize(rows, np.full((2, 2), tokens, np.int32))
    return rows


def test_the_longest_sequence_that_a_prompt_begins_with_is_found() -> None:
    subject = kept()
    for tokens in ([1, 2], [1, 2, 3, 4], [1, 2, 9]):
        subject.add(tokens, rows_with(subject, len(tokens)))
    found = subject.find([1, 2, 3, 4, 5])
    assert found is not None and found.tokens == (1, 2, 3, 4)
    assert subject.find([1, 2, 3, 5]) is not None and subject.find([2, 1]) is None


def test_the_least_recently_used_goes_first_and_only_pages_of_its_own_come_back() -> None:
    subject = kept(2)
    first, second = rows_with(subject, 8), rows_with(subject, 4)
    subject.add([1], first)
    subject.add([2], second)
    shared = subject.tables.open(2)
    subject.tables.fork(first, shared)
    # Four rows' pages stand there; those of the first are held by somebody else too.
    assert subject.evictable == 4 and subject.tables.arena.used == 10
    subject.find([1, 7])
    assert subject.evict(1) == 4 and len(subject) == 1
    assert subject.evict(1) == 0 and len(subject) == 0
    subject.tables.close(shared)
    assert subject.tables.arena.used == 0 and subject.row_count == 0


def test_a_sequence_that_comes_again_is_kept_once() -> None:
    subject = kept()
    for _ in range(3):
        subject.add([5, 6], rows_with(subject, 4))
    assert len(subject) == 1 and subject.row_count == 2
    subject.tables.check()
