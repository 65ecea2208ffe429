"""Attention over key-value pages of int8, with checked arguments, on whichever backend is chosen."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels.checks import array_of, page_list, rows_of
from fairlead_kernels.ops import kernels

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]
I8 = NDArray[np.int8]


def quantize_heads(x: F32) -> tuple[I8, F32]:
    """Round float32 [..., head_dim] to int8 with the scale max|x| / 127 a head: what int8 pages hold.

    Returns:
        (int8 like x, float32 [...] scales); a head with a value that is not finite gets zeros and the scale NaN.
    """
    return kernels().quantize_heads(rows_of("x", x))


def paged_attention_int8(
    query: F32,
    key_pages: I8,
    key_scale: F32,
    value_pages: I8,
    value_scale: F32,
    page_table: I32,
    first_length: int,
    scale: float,
) -> F32:
    """Attend causally over int8 pages; token t of float32 [tokens, heads, head_dim] sees first_length + t positions.

    An entry stands for its int8 times the scale of its position and head; scores and sums are float32. See
    :func:`paged_attention_prefill`, of which this is the quantized form.

    Args:
        query: float32 [tokens, heads, head_dim].
        key_pages: int8 [pages, page_size, kv_heads, head_dim].
        key_scale: float32 [pages, page_size, kv_heads].
        value_pages: like key_pages.
        value_scale: like key_scale.
        page_table: int32; position p is at [page_table[p // page_size], p % page_size].
        first_length: positions that the first token sees, at least 1.
        scale: factor of the scores, usually head_dim ** -0.5.

    Returns:
        float32 [tokens, heads, head_dim].

    Raises:
        ValueError: wrong types or shapes. IndexError: the table is too short or names a page that is not there.
    """
    array_of("query", query, np.float32, (None, None, None))
    tokens, heads, head_dim = query.shape
    array_of("key_pages", key_pages, np.int8, (None, None, None, head_dim))
    array_of("key_scale", key_scale, np.float32, key_pages.shape[:3])
    array_of("value_pages", value_pages, np.int8, key_pages.shape)
    array_of("value_scale", value_scale, np.float32, key_pages.shape[:3])
    pages, page_size, kv_heads, _ = key_pages.shape
    if not kv_heads or heads % kv_heads:
        raise ValueError(f"query: heads must be a multiple of the {kv_heads} key-value heads, got {heads}")
    if first_length < 1 or page_size < 1 or tokens < 1:
        raise ValueError(f"length, page_size, tokens: must be at least 1, got {first_length}, {page_size}, {tokens}")
    page_list(page_table, first_length + tokens - 1, pages, page_size)
    return kernels().attend_int8(query, key_pages, key_scale, value_pages, value_scale, page_table, first_length, scale)
