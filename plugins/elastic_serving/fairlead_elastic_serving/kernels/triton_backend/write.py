"""Quantize and write: keys and values of new tokens go to pages of a tier's format, in Triton."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from ..tiers import LOW, Tiers
from .pages import checked, layout_arguments, views

LARGEST = tl.constexpr(65504.0)


@triton.jit
def _elements(source, at, valid, PLANE: tl.constexpr, WIDTH: tl.constexpr):
    """A plane of some vectors as float32 [tokens, WIDTH], cut off to what a float16 can hold."""
    place = at[:, None] + PLANE * WIDTH + tl.arange(0, WIDTH)[None, :]
    found = tl.load(source + place, mask=valid[:, None], other=0.0).to(tl.float32)
    return tl.minimum(tl.maximum(found, -LARGEST), LARGEST)


@triton.jit
def _store(source, at, valid, bytes8, halves, base, slot, BITS: tl.constexpr, SEGMENT: tl.constexpr,
           META: tl.constexpr, D: tl.constexpr):  # fmt: skip
    """Store the vectors at `at` of `source` in their slots of the pages at `base`."""
    PLANES: tl.constexpr = 8 // BITS if BITS < 8 else 1
    WIDTH: tl.constexpr = D // PLANES
    target = slot[:, None] * WIDTH + tl.arange(0, WIDTH)[None, :]
    first = _elements(source, at, valid, 0, WIDTH)
    if BITS == 16:
        tl.store(halves + (base[:, None] + SEGMENT) // 2 + target, first.to(tl.float16), mask=valid[:, None])
    else:
        low = tl.min(first, 1)
        high = tl.max(first, 1)
        for plane in tl.static_range(1, PLANES):
            more = _elements(source, at, valid, plane, WIDTH)
            low = tl.minimum(low, tl.min(more, 1))
            high = tl.maximum(high, tl.max(more, 1))
        scale = tl.div_rn(high - low, tl.full(low.shape, 2**BITS - 1, tl.float32)).to(tl.float16)
        zero = low.to(tl.float16)
        wide = scale.to(tl.float32)
        step = tl.where(wide == 0.0, 1.0, wide)
        packed = tl.zeros(first.shape, tl.int32)
        for plane in tl.static_range(PLANES):
            some = _elements(source, at, valid, plane, WIDTH)
            offset = some - zero.to(tl.float32)[:, None]
            code = tl.floor(tl.div_rn(offset, tl.broadcast_to(step[:, None], offset.shape)) + 0.5)
            code = tl.minimum(tl.maximum(code, 0.0), 2**BITS - 1)
            code = tl.where((wide == 0.0)[:, None], 0.0, code)
            packed = packed | (code.to(tl.int32) << (plane * BITS))
        tl.store(bytes8 + base[:, None] + SEGMENT + target, packed.to(tl.uint8), mask=valid[:, None])
        meta = halves + (base + META) // 2 + slot * 2
        tl.store(meta, scale, mask=valid)
        tl.store(meta + 1, zero, mask=valid)


@triton.jit
def _write_tier(bytes8, halves, words, tables, rows, slots, keys, values, scores, positions, tokens, kv_heads, width,
                FROM_RIGHT: tl.constexpr, PAGE_BYTES: tl.constexpr, D: tl.constexpr, BLOCK: tl.constexpr,
                KEY_BITS: tl.constexpr, VALUE_BITS: tl.constexpr, TOKENS: tl.constexpr, KEYS: tl.constexpr,
                KEY_META: tl.constexpr, VALUES: tl.constexpr, VALUE_META: tl.constexpr, SCORES: tl.constexpr,
                POSITIONS: tl.constexpr):  # fmt: skip
    """Tokens of one head: program (block of tokens, head)."""
    token = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    head = tl.program_id(1)
    here = token < tokens
    pair = token * kv_heads + head
    number = tl.load(slots + pair, mask=here, other=-1)
    valid = number >= 0
    number = tl.maximum(number, 0)
    row = tl.load(rows + pair, mask=valid, other=0).to(tl.int64)
    place = number // TOKENS
    slot = number % TOKENS
    if FROM_RIGHT:
        place = width - 1 - place
    base = tl.load(tables + row * width + place, mask=valid, other=0).to(tl.int64) * PAGE_BYTES
    _store(keys, pair * D, valid, bytes8, halves, base, slot, KEY_BITS, KEYS, KEY_META, D)
    _store(values, pair * D, valid, bytes8, halves, base, slot, VALUE_BITS, VALUES, VALUE_META, D)
    score = tl.load(scores + pair, mask=valid, other=0.0).to(tl.float16)
    tl.store(halves + (base + SCORES) // 2 + slot, score, mask=valid)
    position = tl.load(positions + token, mask=here, other=0)
    tl.store(words + (base + POSITIONS) // 4 + slot, position, mask=valid)


def write(
    pages: torch.Tensor,
    tiers: Tiers,
    tier: int,
    tables: torch.Tensor,
    rows: torch.Tensor,
    slots: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    scores: torch.Tensor,
    positions: torch.Tensor,
    *,
    block: int = 16,
) -> None:
    """Quantize keys and values to a tier's format and store them; see `reference.write`.

    Elements that are no numbers are not looked for: the whole vector is lost then. Raises ValueError for arguments of
    another type or shape.
    """
    tokens, kv_heads, head_dim = keys.shape
    checked("keys", keys, keys.dtype, tokens, kv_heads, tiers.head_dim)
    checked("values", values, values.dtype, tokens, kv_heads, tiers.head_dim)
    checked("rows", rows, torch.int32, tokens, kv_heads)
    checked("slots", slots, torch.int32, tokens, kv_heads)
    checked("scores", scores, torch.float32, tokens, kv_heads)
    checked("positions", positions, torch.int32, tokens)
    checked("tables", tables, torch.int32, None, None)
    bytes8, halves, words = views(pages)
    layout = tiers.layout(tier)
    _write_tier[(triton.cdiv(max(1, tokens), block), kv_heads)](
        bytes8, halves, words, tables, rows, slots, keys, values, scores, positions, tokens, kv_heads, tables.shape[1],
        FROM_RIGHT=tier == LOW, PAGE_BYTES=tiers.page_bytes, D=head_dim, BLOCK=block, SCORES=layout.scores,
        POSITIONS=layout.positions, **layout_arguments(layout), num_warps=4,
    )  # fmt: skip
