"""Attention over a page table against a plain float64 one over contiguous keys."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fairlead_kernels as fk
from tests.plugins.kernels.cases import each_backend, each_isa, examples, floats


def plain(query: np.ndarray, keys: np.ndarray, values: np.ndarray, scale: float) -> np.ndarray:
    """One query [heads, d] over contiguous keys and values [length, kv_heads, d]."""
    group = query.shape[0] // keys.shape[1]
    out = np.empty(query.shape, np.float64)
    for head in range(query.shape[0]):
        k, v = keys[:, head // group].astype(np.float64), values[:, head // group].astype(np.float64)
        weight = np.exp((k @ query[head].astype(np.float64)) * scale)
        out[head] = weight / weight.sum() @ v
    return out


@each_backend
@examples(40)
@given(
    kv_heads=st.integers(1, 3),
    group=st.integers(1, 3),
    head_dim=st.integers(1, 75),
    page_size=st.integers(1, 9),
    first=st.integers(1, 40),
    tokens=st.integers(1, 4),
    seed=st.integers(0, 2**32 - 1),
)
def test_equals_contiguous_attention(
    choice: str, kv_heads: int, group: int, head_dim: int, page_size: int, first: int, tokens: int, seed: int
) -> None:
    fk.select(choice)
    rng = np.random.default_rng(seed)
    length = first + tokens - 1
    used = -(-length // page_size)
    keys, values = floats(rng, length, kv_heads, head_dim), floats(rng, length, kv_heads, head_dim)
    query = floats(rng, tokens, kv_heads * group, head_dim)
    table = rng.permutation(used + 3)[:used].astype(np.int32)
    # What no position maps to is NaN: reading it would show.
    pages = np.full((2, used + 3, page_size, kv_heads, head_dim), np.nan, np.float32)
    for store, entries in zip(pages, (keys, values), strict=True):
        for position in range(length):
            store[table[position // page_size], position % page_size] = entries[position]
    scale = head_dim**-0.5
    got = fk.paged_attention_prefill(query, pages[0], pages[1], table, first, scale)
    for t in range(tokens):
        seen = first + t
        expected = plain(query[t], keys[:seen], values[:seen], scale)
        np.testing.assert_allclose(got[t], expected, rtol=3e-5, atol=3e-6)


@each_isa
def test_prefill_computes_the_bits_of_single_tokens(isa: str) -> None:
    fk.select(isa)
    rng = np.random.default_rng(8)
    pages = floats(rng, 2, 5, 4, 2, 24)
    query, table = floats(rng, 6, 4, 24), np.array([4, 0, 3, 1], np.int32)
    whole = fk.paged_attention_prefill(query, pages[0], pages[1], table, 7, 0.2)
    for t in range(6):
        one = fk.paged_attention(query[t], pages[0], pages[1], table, 7 + t, 0.2)
        np.testing.assert_array_equal(one, whole[t])


@each_backend
def test_large_scores_do_not_overflow(choice: str) -> None:
    fk.select(choice)
    keys = np.zeros((1, 4, 1, 16), np.float32)
    keys[0, 2] = 100
    values = np.arange(4, dtype=np.float32).reshape(1, 4, 1, 1) * np.ones(16, np.float32)
    out = fk.paged_attention(np.full((1, 16), 100, np.float32), keys, values, np.zeros(1, np.int32), 4, 1.0)
    np.testing.assert_array_equal(out, np.full((1, 16), 2, np.float32))


@each_backend
def test_bad_tables_are_refused(choice: str) -> None:
    fk.select(choice)
    pages, query = np.zeros((3, 4, 2, 8), np.float32), np.zeros((4, 8), np.float32)
    with pytest.raises(IndexError, match=r"page_table\[1\]: 3 is outside 0..2"):
        fk.paged_attention(query, pages, pages, np.array([0, 3], np.int32), 5, 1.0)
    with pytest.raises(IndexError, match=r"page_table\[0\]: -1 is outside 0..2"):
        fk.paged_attention(query, pages, pages, np.array([-1], np.int32), 4, 1.0)
    with pytest.raises(IndexError, match="5 positions need 2 pages of 4, the table has 1"):
        fk.paged_attention(query, pages, pages, np.array([0], np.int32), 5, 1.0)
    with pytest.raises(ValueError, match="heads must be a multiple of the 2 key-value heads, got 3"):
        fk.paged_attention(np.zeros((3, 8), np.float32), pages, pages, np.zeros(1, np.int32), 1, 1.0)
    with pytest.raises(ValueError, match="must be at least 1, got 0"):
        fk.paged_attention(query, pages, pages, np.zeros(1, np.int32), 0, 1.0)
    with pytest.raises(ValueError, match="value_pages: must be float32"):
        fk.paged_attention(query, pages, pages[:2], np.zeros(1, np.int32), 1, 1.0)


@each_backend
def test_entries_past_the_length_are_not_looked_at(choice: str) -> None:
    fk.select(choice)
    pages = np.ones((1, 4, 1, 8), np.float32)
    out = fk.paged_attention(np.ones((1, 8), np.float32), pages, pages, np.array([0, -7], np.int32), 4, 1.0)
    np.testing.assert_allclose(out, 1, rtol=1e-6)
