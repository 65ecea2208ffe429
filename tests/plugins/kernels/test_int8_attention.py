"""Attention over int8 pages: the float attention over what the pages stand for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fairlead_kernels as fk
from tests.plugins.kernels.cases import F32, each_backend, each_isa, examples, floats


def int8_pages(rng: np.random.Generator, *shape: int) -> tuple[np.ndarray, F32]:
    """Random full pages [pages, page_size, kv_heads, head_dim] and their scales."""
    return fk.quantize_heads(floats(rng, *shape))


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
def test_equals_float_attention_over_the_dequantized_pages(
    choice: str, kv_heads: int, group: int, head_dim: int, page_size: int, first: int, tokens: int, seed: int
) -> None:
    fk.select(choice)
    rng = np.random.default_rng(seed)
    used = -(-(first + tokens - 1) // page_size)
    shape = (used + 3, page_size, kv_heads, head_dim)
    (keys, key_scale), (values, value_scale) = int8_pages(rng, *shape), int8_pages(rng, *shape)
    table = rng.permutation(used + 3)[:used].astype(np.int32)
    # What no position maps to has the scale NaN: reading it would show.
    unused = np.setdiff1d(np.arange(used + 3), table)
    key_scale[unused] = value_scale[unused] = np.nan
    query, scale = floats(rng, tokens, kv_heads * group, head_dim), head_dim**-0.5
    got = fk.paged_attention_int8(query, keys, key_scale, values, value_scale, table, first, scale)
    pages = [(q * s[..., None]).astype(np.float32) for q, s in ((keys, key_scale), (values, value_scale))]
    expected = fk.paged_attention_prefill(query, pages[0], pages[1], table, first, scale)
    np.testing.assert_allclose(got, expected, rtol=3e-5, atol=5e-6)


@each_isa
def test_single_tokens_and_threads_give_the_same_bits(isa: str) -> None:
    fk.select(isa)
    rng = np.random.default_rng(8)
    keys, values = int8_pages(rng, 40, 16, 2, 24), int8_pages(rng, 40, 16, 2, 24)
    query, table = floats(rng, 6, 4, 24), rng.permutation(40).astype(np.int32)
    whole = fk.paged_attention_int8(query, *keys, *values, table, 600, 0.2)
    for threads in (1, 3):
        fk.set_threads(threads)
        for t in range(6):
            one = fk.paged_attention_int8(query[t : t + 1], *keys, *values, table, 600 + t, 0.2)
            np.testing.assert_array_equal(one[0], whole[t])


@each_isa
@examples(40)
@given(shape=st.tuples(st.integers(0, 4), st.integers(1, 3), st.integers(1, 70)), seed=st.integers(0, 2**32 - 1))
def test_rounding_has_the_bits_of_the_reference(isa: str, shape: tuple[int, int, int], seed: int) -> None:
    x = floats(np.random.default_rng(seed), *shape)
    fk.select("numpy")
    expected = fk.quantize_heads(x)
    fk.select(isa)
    for one, other in zip(fk.quantize_heads(x), expected, strict=True):
        np.testing.assert_array_equal(one, other)
    assert np.all(np.abs(expected[0] * expected[1][..., None] - x) <= expected[1][..., None] * 0.5001)


@each_backend
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_show(choice: str, bad: float) -> None:
    fk.select(choice)
    x = np.ones((2, 19), np.float32)
    x[0, 17] = bad
    q, scale = fk.quantize_heads(x)
    assert not q[0].any()
    assert np.isnan(scale[0])
    assert (q[1] == 127).all()


@each_backend
def test_bad_arguments_are_refused(choice: str) -> None:
    fk.select(choice)
    pages, scales, query = (
        np.zeros((3, 4, 2, 8), np.int8),
        np.zeros((3, 4, 2), np.float32),
        np.zeros((1, 4, 8), np.float32),
    )
    with pytest.raises(IndexError, match=r"page_table\[1\]: 3 is outside 0..2"):
        fk.paged_attention_int8(query, pages, scales, pages, scales, np.array([0, 3], np.int32), 5, 1.0)
    with pytest.raises(IndexError, match="5 positions need 2 pages of 4, the table has 1"):
        fk.paged_attention_int8(query, pages, scales, pages, scales, np.array([0], np.int32), 5, 1.0)
    with pytest.raises(ValueError, match=r"key_scale: must be float32 \[3, 4, 2\], got float32 \[3, 4, 1\]"):
        fk.paged_attention_int8(query, pages, scales[..., :1], pages, scales, np.array([0], np.int32), 1, 1.0)
    with pytest.raises(ValueError, match="value_pages: must be int8"):
        fk.paged_attention_int8(query, pages, scales, pages.astype(np.float32), scales, np.array([0], np.int32), 1, 1.0)  # type: ignore[arg-type]
