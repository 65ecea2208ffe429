"""The page arena never loses, shares or invents a page."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead_language_model.config import ModelConfig
from fairlead_language_model.errors import LanguageModelError, OutOfPages
from fairlead_language_model.graph import KVPages, PageTable

CONFIG = ModelConfig(
    architecture="llama",
    vocab_size=8,
    hidden_size=8,
    intermediate_size=8,
    num_hidden_layers=1,
    num_attention_heads=2,
    num_key_value_heads=1,
    head_dim=4,
    max_position_embeddings=1000,
    rms_norm_eps=1e-5,
)
STEPS = st.lists(
    st.tuples(st.sampled_from(["append", "truncate", "release", "resize"]), st.integers(0, 3), st.integers(0, 9)),
    max_size=60,
)


def fill(pages: KVPages, table: PageTable, owner: int, count: int) -> None:
    """Append `count` tokens whose keys name their owner and position."""
    pages.reserve(table, table.length + count)
    keys = np.stack([np.full((1, 4), owner * 1000 + table.length + i, np.float32) for i in range(count)])
    pages.write(0, table, table.length, keys, -keys)
    table.length += count


@settings(max_examples=120, deadline=None)
@given(steps=STEPS, count=st.integers(1, 12), page_size=st.integers(1, 5))
def test_any_history_keeps_every_page_and_every_token(
    steps: list[tuple[str, int, int]], count: int, page_size: int
) -> None:
    pages, tables = KVPages(CONFIG, count, page_size), [PageTable() for _ in range(4)]
    for action, owner, amount in steps:
        table = tables[owner]
        try:
            if action == "append" and amount:
                fill(pages, table, owner, amount)
            elif action == "truncate":
                pages.truncate(table, min(amount, table.length))
            elif action == "release":
                pages.release(table)
            elif action == "resize":
                pages.resize(amount, tables)
        except OutOfPages as refusal:
            assert refusal.wanted > refusal.free or amount == 0
        pages.check(tables)
        assert pages.free + sum(len(t.pages) for t in tables) == pages.count
        for number, held in enumerate(tables):
            if held.length:
                keys, values = pages.read(0, held, held.length // 2, held.length)
                expected = number * 1000 + np.arange(held.length // 2, held.length)
                np.testing.assert_array_equal(keys[:, 0, 0], expected)
                np.testing.assert_array_equal(values, -keys)


def test_check_finds_a_shared_and_a_lost_page() -> None:
    pages, one, two = KVPages(CONFIG, 4, 2), PageTable(), PageTable()
    pages.reserve(one, 3)
    two.pages = [one.pages[0]]
    with pytest.raises(LanguageModelError, match=r"KV pages \[0\] are lost, shared"):
        pages.check([one, two])
    with pytest.raises(LanguageModelError, match=r"KV pages \[0, 1\] are lost"):
        pages.check([])


def test_check_finds_a_table_that_claims_too_much() -> None:
    pages, table = KVPages(CONFIG, 4, 2), PageTable()
    pages.reserve(table, 3)
    table.length = 5
    with pytest.raises(LanguageModelError, match="a table of 2 pages claims 5 tokens"):
        pages.check([table])


def test_releasing_twice_is_an_error() -> None:
    pages, table = KVPages(CONFIG, 4, 2), PageTable()
    pages.reserve(table, 3)
    copy = PageTable(list(table.pages), table.length)
    pages.release(table)
    with pytest.raises(LanguageModelError, match="released twice"):
        pages.release(copy)


def test_page_bytes_count_keys_and_values_of_all_layers() -> None:
    pages = KVPages(CONFIG, 3, 16)
    assert pages.page_bytes == 16 * CONFIG.kv_bytes_per_token()
    assert pages.page_bytes * 3 == pages.keys.nbytes + pages.values.nbytes
