"""Sequences in two tiers: nothing is lost that was not pruned, whatever moves, forks and ends."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairlead_elastic_serving.arena.formats import K4V2, K8V4, K32V32
from fairlead_elastic_serving.arena.page_arena import PageArena
from fairlead_elastic_serving.arena.page_tables import PageTables, RowFull
from fairlead_elastic_serving.compression import TieredCache
from fairlead_elastic_serving.errors import OutOfPages
from fairlead_elastic_serving.kernels import reference
from fairlead_elastic_serving.kernels.placement import Thresholds
from fairlead_elastic_serving.kernels.significance import prompt_significance
from fairlead_elastic_serving.kernels.tiers import HIGH, LOW, Tiers

HEADS, GROUP, DIM, WINDOW = 2, 2, 8, 4
EXACT = Tiers.of(K32V32, K32V32, DIM, 288)


def cache(thresholds: Thresholds, tiers: Tiers = EXACT, pages: int = 120) -> TieredCache:
    tokens = (tiers.high.tokens, tiers.low.tokens)
    return TieredCache(PageTables(PageArena(pages), 3 * HEADS, 40, tokens), tiers, thresholds, WINDOW)


class Text:
    """A sequence beside the cache: all keys and values that it ever had."""

    def __init__(self, subject: TieredCache, random: np.random.Generator, tokens: int) -> None:
        self.subject, self.random = subject, random
        self.rows = subject.tables.open(HEADS)
        self.keys, self.values = (random.normal(0, 1, (tokens, HEADS, subject.tiers.head_dim)) for _ in "kv")
        queries = random.normal(0, 2, (tokens, HEADS * GROUP, subject.tiers.head_dim)).astype(np.float32)
        scores = prompt_significance(queries, self.keys.astype(np.float32), 0.5)
        subject.prompt(self.rows, self.keys.astype(np.float32), self.values.astype(np.float32), scores)

    def forked(self) -> Text:
        twin = object.__new__(Text)
        twin.subject, twin.random = self.subject, self.random
        twin.keys, twin.values = self.keys.copy(), self.values.copy()
        twin.rows = self.subject.tables.open(HEADS)
        self.subject.fork(self.rows, twin.rows)
        return twin

    def positions(self, head: int, tier: int) -> list[int]:
        row = self.rows[head]
        tables, count = self.subject.tables, self.subject.tables.counts[row, tier]
        return reference.read(self.subject.pages, self.subject.tiers, tier, tables.tables[row], count)[3].tolist()

    def expected(self, query: np.ndarray) -> np.ndarray:
        """Attention in float64 over the tokens that the cache says it holds."""
        output = []
        for query_head in range(HEADS * GROUP):
            head = query_head // GROUP
            kept = self.positions(head, HIGH) + self.positions(head, LOW)
            assert len(kept) == len(set(kept))
            weights = np.exp(self.keys[kept, head] @ query[query_head] * 0.5)
            output.append(weights @ self.values[kept, head] / weights.sum())
        return np.array(output)


def generate(texts: list[Text], steps: int, tolerance: float = 1e-4) -> None:
    """All texts get tokens in turn, as one batch."""
    subject, random = texts[0].subject, texts[0].random
    rows = np.stack([text.rows for text in texts])
    for _ in range(steps):
        now = np.array([len(text.keys) for text in texts], np.int32)
        fresh = random.normal(0, 1, (2, len(texts), HEADS, subject.tiers.head_dim))
        for text, key, value in zip(texts, *fresh, strict=True):
            text.keys, text.values = np.append(text.keys, key[None], 0), np.append(text.values, value[None], 0)
        subject.append(rows, *fresh.astype(np.float32), now)
        queries = random.normal(0, 2, (len(texts), HEADS * GROUP, subject.tiers.head_dim)).astype(np.float32)
        output = subject.attend(queries, rows, 0.5, now)
        for text, query, found in zip(texts, queries, output, strict=True):
            assert np.abs(found - text.expected(query)).max() < tolerance
        subject.settle(rows, now)
        subject.tables.check()
        for text in texts:
            for head in range(HEADS):
                newest = set(range(max(0, len(text.keys) - WINDOW + 1), len(text.keys)))
                assert newest <= set(text.positions(head, HIGH)), "the window stays high"


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(1, 30), st.integers(1, 25), st.floats(0, 2), st.integers(0, 2**31))
def test_without_pruning_attention_is_exact_whatever_moves(tokens: int, steps: int, alpha: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    subject = cache(Thresholds(high=np.array([alpha, 2.0], np.float32), low=0.0))
    text = Text(subject, random, tokens)
    generate([text], steps)
    for head in range(HEADS):
        everything = text.positions(head, HIGH) + text.positions(head, LOW)
        assert sorted(everything) == list(range(tokens + steps))


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(6, 40), st.integers(1, 12), st.integers(1, 12), st.floats(0, 0.6), st.integers(0, 2**31))
def test_forks_go_their_own_ways(tokens: int, before: int, after: int, alpha: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    subject = cache(Thresholds(high=0.8, low=alpha))
    text = Text(subject, random, tokens)
    generate([text], before)
    used = subject.tables.arena.used
    twin = text.forked()
    assert subject.tables.arena.used == used, "a fork takes no page"
    generate([text, twin], after)
    subject.tables.close(text.rows)
    subject.tables.check()
    generate([twin], 2)
    subject.tables.close(twin.rows)
    subject.tables.check()
    assert subject.tables.arena.used == 0


def test_significant_tokens_stay_high_and_others_go() -> None:
    random = np.random.default_rng(5)
    subject = cache(Thresholds(high=1.0, low=0.3))
    text = Text(subject, random, 60)
    generate([text], 40)
    counts = subject.tables.counts[text.rows]
    assert (counts > 0).all() and (counts.sum(axis=1) < 80).all()
    assert subject.tables.arena.used < HEADS * -(-100 // EXACT.high.tokens), "the pages of pruned tokens are free again"


def test_coarse_tiers_take_fewer_bytes_and_stay_near() -> None:
    random = np.random.default_rng(6)
    tiers = Tiers.of(K8V4, K4V2, 64, 2048)
    subject = cache(Thresholds(high=1.0, low=0.0), tiers)
    text = Text(subject, random, 120)
    # Two bits of a standard normal value are off by up to 0.9, and four of a key move the weights.
    generate([text], 10, tolerance=2.0)
    bytes_held = subject.tables.arena.used * 2048
    assert bytes_held < 130 * HEADS * 64 * 4 / 1.8


def test_what_finds_no_room_changes_nothing() -> None:
    random = np.random.default_rng(7)
    subject = cache(Thresholds(high=9.0, low=0.0), pages=2)
    with pytest.raises(OutOfPages):
        Text(subject, random, 40)
    subject.tables.check()
    assert subject.tables.arena.used == 0
    rows = subject.tables.open(HEADS)[None]
    vectors = random.normal(0, 1, (1, HEADS, DIM)).astype(np.float32)
    for number in range(EXACT.high.tokens):
        subject.append(rows, vectors, vectors, np.array([number], np.int32))
    with pytest.raises(OutOfPages):
        subject.append(rows, vectors, vectors, np.array([99], np.int32))
    subject.tables.check()
    assert (subject.tables.counts[rows[0], HIGH] == EXACT.high.tokens).all()
    before = subject.pages.copy()
    with pytest.raises(OutOfPages):
        subject.settle(rows, np.array([EXACT.high.tokens + WINDOW], np.int32))
    assert (subject.pages == before).all()


def test_a_full_arena_settles_what_needs_no_page() -> None:
    random = np.random.default_rng(8)
    # Seven tokens take a page of each tier, and the eighth one more high page: six pages for two heads.
    subject = cache(Thresholds(high=1e9, low=0.0), pages=6)
    text = Text(subject, random, 7)
    generate([text], 1)
    assert subject.tables.counts[text.rows].tolist() == [[4, 4]] * HEADS


@pytest.mark.parametrize(("pages", "fits"), [(14, True), (13, False)])
def test_only_shared_pages_that_are_appended_to_need_copies(pages: int, fits: bool) -> None:
    random = np.random.default_rng(9)
    subject = cache(Thresholds(high=1e9, low=0.0), pages=pages)
    text = Text(subject, random, 7)
    twin = text.forked()
    # The first token that is not shared leaves the window at position 11, and goes to the shared low page: each of the
    # four rows has two high pages of its own by then, beside the four pages that the twins share. Of two holders who
    # both append one keeps the page, so two copies are needed.
    if fits:
        generate([text, twin], 5)
        assert subject.tables.counts[twin.rows].tolist() == [[8, 4]] * HEADS
        return
    with pytest.raises(OutOfPages, match="2 pages are asked for and 1 are free"):
        generate([text, twin], 5)
    subject.tables.check()
    assert subject.tables.counts[twin.rows].tolist() == [[9, 3]] * HEADS


def test_a_row_whose_tiers_would_meet_keeps_all_of_its_tokens() -> None:
    random = np.random.default_rng(10)
    tokens = EXACT.high.tokens
    tables = PageTables(PageArena(20), HEADS, 2, (tokens, EXACT.low.tokens))
    subject = TieredCache(tables, EXACT, Thresholds(high=1e9, low=0.0), WINDOW)
    rows = tables.open(HEADS)[None]
    # Two full high pages: when two tokens go low, six still take both, and the low tier would need a third.
    for number in range(2 * tokens):
        vectors = random.normal(0, 1, (2, 1, HEADS, DIM)).astype(np.float32)
        subject.append(rows, *vectors, np.array([number], np.int32))
    before = subject.pages.copy(), tables.tables.copy(), tables.counts.copy()
    with pytest.raises(RowFull, match=r"table row \d: 3 pages; accepted: 2 in all"):
        subject.settle(rows, np.array([2 * tokens - 1], np.int32))
    for kept, now in zip(before, (subject.pages, tables.tables, tables.counts), strict=True):
        assert (kept == now).all()
    tables.check()


def test_tables_of_other_pages_are_refused() -> None:
    with pytest.raises(ValueError, match="as the tiers have"):
        TieredCache(PageTables(PageArena(4), 1, 1, (1, 1)), EXACT, Thresholds())
