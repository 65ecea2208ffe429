"""The queries of late that recall is measured on."""

import numpy as np

from fairlead_tiered_retrieval.store.seen import KEPT, OF_ONE, SeenQueries


def rows(first, count):
    return np.arange(first, first + count, dtype=np.float32)[:, None].repeat(4, 1)


def test_the_last_ones_are_kept():
    seen = SeenQueries()
    for first in range(KEPT + 100):
        seen.note(rows(first, 1))
    kept = sorted(seen.rows()[:, 0].tolist())
    assert seen.came == KEPT + 100 and kept == list(range(100, KEPT + 100))


def test_one_request_does_not_take_all_places():
    seen = SeenQueries()
    seen.note(rows(0, 10_000))
    kept = seen.rows()[:, 0]
    assert 1 < len(kept) <= OF_ONE and kept.max() > 9000


def test_the_same_query_counts_once_and_no_more_than_asked_for_are_given():
    seen = SeenQueries()
    assert len(seen.rows()) == 0
    for _ in range(20):
        seen.note(rows(7, 1))
    assert len(seen.rows()) == 1
    for first in range(60):
        seen.note(rows(first, 1))
    assert len(seen.rows(most=30)) <= 30


def test_what_the_caller_changes_afterwards_is_kept_as_it_came():
    seen, given = SeenQueries(), rows(3, 1)
    seen.note(given)
    given[:] = 0
    assert seen.rows().tolist() == [[3.0] * 4]
