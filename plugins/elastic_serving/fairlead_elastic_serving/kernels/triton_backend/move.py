"""Tokens that change their place in Triton: read back from a tier, or copied within one to fill a gap."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from ..tiers import LOW, Tiers
from .pages import checked, layout_arguments, views


@triton.jit
def _load(target, number, valid, bytes8, halves, base, slot, BITS: tl.constexpr, SEGMENT: tl.constexpr,
          META: tl.constexpr, D: tl.constexpr):  # fmt: skip
    """Dequantize the vectors at `slot` of the pages at `base` to rows `number` of `target`."""
    PLANES: tl.constexpr = 8 // BITS if BITS < 8 else 1
    WIDTH: tl.constexpr = D // PLANES
    element = tl.arange(0, WIDTH)[None, :]
    source = slot[:, None] * WIDTH + element
    to = target + number[:, None] * D + element
    if BITS == 16:
        found = tl.load(halves + (base[:, None] + SEGMENT) // 2 + source, mask=valid[:, None], other=0.0)
        tl.store(to, found.to(tl.float32), mask=valid[:, None])
    else:
        meta = halves + (base + META) // 2 + slot * 2
        scale = tl.load(meta, mask=valid, other=0.0).to(tl.float32)
        zero = tl.load(meta + 1, mask=valid, other=0.0).to(tl.float32)
        packed = tl.load(bytes8 + base[:, None] + SEGMENT + source, mask=valid[:, None], other=0).to(tl.int32)
        for plane in tl.static_range(PLANES):
            code = ((packed >> (plane * BITS)) & (2**BITS - 1)).to(tl.float32)
            tl.store(to + plane * WIDTH, code * scale[:, None] + zero[:, None], mask=valid[:, None])


@triton.jit
def _read_tier(bytes8, halves, words, tables, rows, slots, keys, values, scores, positions, number_of_tokens, width,
               FROM_RIGHT: tl.constexpr, PAGE_BYTES: tl.constexpr, D: tl.constexpr, BLOCK: tl.constexpr,
               KEY_BITS: tl.constexpr, VALUE_BITS: tl.constexpr, TOKENS: tl.constexpr, KEYS: tl.constexpr,
               KEY_META: tl.constexpr, VALUES: tl.constexpr, VALUE_META: tl.constexpr, SCORES: tl.constexpr,
               POSITIONS: tl.constexpr):  # fmt: skip
    """A block of tokens, each of a row of its own."""
    number = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    index = tl.load(slots + number, mask=number < number_of_tokens, other=-1)
    valid = index >= 0
    index = tl.maximum(index, 0)
    row = tl.load(rows + number, mask=valid, other=0).to(tl.int64)
    place = index // TOKENS
    slot = index % TOKENS
    if FROM_RIGHT:
        place = width - 1 - place
    base = tl.load(tables + row * width + place, mask=valid, other=0).to(tl.int64) * PAGE_BYTES
    _load(keys, number, valid, bytes8, halves, base, slot, KEY_BITS, KEYS, KEY_META, D)
    _load(values, number, valid, bytes8, halves, base, slot, VALUE_BITS, VALUES, VALUE_META, D)
    score = tl.load(halves + (base + SCORES) // 2 + slot, mask=valid, other=0.0)
    tl.store(scores + number, score.to(tl.float32), mask=valid)
    position = tl.load(words + (base + POSITIONS) // 4 + slot, mask=valid, other=0)
    tl.store(positions + number, position, mask=valid)


@triton.jit
def _copy_segment(bytes8, source, target, START: tl.constexpr, SIZE: tl.constexpr, PADDED: tl.constexpr, valid,
                  from_slot, to_slot):  # fmt: skip
    """Copy SIZE bytes of one segment from slot to slot."""
    byte = tl.arange(0, PADDED)[None, :]
    inside = valid[:, None] & (byte < SIZE)
    found = tl.load(bytes8 + (source + START + from_slot * SIZE)[:, None] + byte, mask=inside, other=0)
    tl.store(bytes8 + (target + START + to_slot * SIZE)[:, None] + byte, found, mask=inside)


@triton.jit
def _copy_slots(bytes8, tables, rows, sources, targets, number_of_tokens, width, FROM_RIGHT: tl.constexpr,
                PAGE_BYTES: tl.constexpr, BLOCK: tl.constexpr, TOKENS: tl.constexpr,
                KEYS: tl.constexpr, KEY_SIZE: tl.constexpr, KEY_PADDED: tl.constexpr,
                KEY_META: tl.constexpr, KEY_META_SIZE: tl.constexpr,
                VALUES: tl.constexpr, VALUE_SIZE: tl.constexpr, VALUE_PADDED: tl.constexpr,
                VALUE_META: tl.constexpr, VALUE_META_SIZE: tl.constexpr,
                SCORES: tl.constexpr, POSITIONS: tl.constexpr):  # fmt: skip
    """A block of copies, each within a row of its own."""
    number = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = number < number_of_tokens
    source = tl.load(sources + number, mask=inside, other=-1)
    target = tl.load(targets + number, mask=inside, other=-1)
    valid = (source >= 0) & (target >= 0)
    source = tl.maximum(source, 0)
    target = tl.maximum(target, 0)
    table = tl.load(rows + number, mask=valid, other=0).to(tl.int64) * width
    source_place = source // TOKENS
    target_place = target // TOKENS
    if FROM_RIGHT:
        source_place = width - 1 - source_place
        target_place = width - 1 - target_place
    from_page = tl.load(tables + table + source_place, mask=valid, other=0).to(tl.int64) * PAGE_BYTES
    to_page = tl.load(tables + table + target_place, mask=valid, other=0).to(tl.int64) * PAGE_BYTES
    from_slot = source % TOKENS
    to_slot = target % TOKENS
    _copy_segment(bytes8, from_page, to_page, KEYS, KEY_SIZE, KEY_PADDED, valid, from_slot, to_slot)
    _copy_segment(bytes8, from_page, to_page, VALUES, VALUE_SIZE, VALUE_PADDED, valid, from_slot, to_slot)
    if KEY_META_SIZE > 0:
        _copy_segment(bytes8, from_page, to_page, KEY_META, KEY_META_SIZE, 4, valid, from_slot, to_slot)
    if VALUE_META_SIZE > 0:
        _copy_segment(bytes8, from_page, to_page, VALUE_META, VALUE_META_SIZE, 4, valid, from_slot, to_slot)
    _copy_segment(bytes8, from_page, to_page, SCORES, 2, 2, valid, from_slot, to_slot)
    _copy_segment(bytes8, from_page, to_page, POSITIONS, 4, 4, valid, from_slot, to_slot)


def read(
    pages: torch.Tensor, tiers: Tiers, tier: int, tables: torch.Tensor, rows: torch.Tensor, slots: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Dequantize one token of each of some rows; see `reference.gather`.

    Args:
        pages: see `reference`.
        tiers: the layouts.
        tier: HIGH or LOW.
        tables: see `reference`.
        rows: int32 [tokens].
        slots: int32 [tokens], the token's number within the row's tier; negative: nothing, what is returned is zero.

    Returns:
        keys and values float32 [tokens, head_dim], scores float32 [tokens], positions int32 [tokens].
    """
    tokens = len(checked("rows", rows, torch.int32, None))
    checked("slots", slots, torch.int32, tokens)
    checked("tables", tables, torch.int32, None, None)
    bytes8, halves, words = views(pages)
    layout = tiers.layout(tier)
    keys, values = (torch.zeros((tokens, tiers.head_dim), device=pages.device) for _ in "kv")
    scores = torch.zeros(tokens, device=pages.device)
    positions = torch.zeros(tokens, dtype=torch.int32, device=pages.device)
    _read_tier[(triton.cdiv(max(1, tokens), 16),)](
        bytes8, halves, words, tables, rows, slots, keys, values, scores, positions, tokens, tables.shape[1],
        FROM_RIGHT=tier == LOW, PAGE_BYTES=tiers.page_bytes, D=tiers.head_dim, BLOCK=16, SCORES=layout.scores,
        POSITIONS=layout.positions, **layout_arguments(layout),
    )  # fmt: skip
    return keys, values, scores, positions


def copy_slots(
    pages: torch.Tensor,
    tiers: Tiers,
    tier: int,
    tables: torch.Tensor,
    rows: torch.Tensor,
    sources: torch.Tensor,
    targets: torch.Tensor,
) -> None:
    """Copy a token within its tier as it is, in each of some rows, each mentioned once; see `reference.copy_slots`.

    Args:
        pages: see `reference`; written.
        tiers: the layouts.
        tier: HIGH or LOW.
        tables: see `reference`.
        rows: int32 [copies].
        sources: int32 [copies], number within the tier; negative: nothing is copied.
        targets: int32 [copies], likewise.
    """
    copies = len(checked("rows", rows, torch.int32, None))
    checked("sources", sources, torch.int32, copies)
    checked("targets", targets, torch.int32, copies)
    checked("tables", tables, torch.int32, None, None)
    layout = tiers.layout(tier)
    known = layout_arguments(layout)
    key_size, value_size = (known[name] * tiers.head_dim // 8 for name in ("KEY_BITS", "VALUE_BITS"))
    _copy_slots[(triton.cdiv(max(1, copies), 16),)](
        views(pages)[0], tables, rows, sources, targets, copies, tables.shape[1], FROM_RIGHT=tier == LOW,
        PAGE_BYTES=tiers.page_bytes, BLOCK=16, TOKENS=layout.tokens,
        KEYS=layout.keys, KEY_SIZE=key_size, KEY_PADDED=triton.next_power_of_2(key_size),
        KEY_META=layout.key_meta, KEY_META_SIZE=4 if layout.format.key_bits < 16 else 0,
        VALUES=layout.values, VALUE_SIZE=value_size, VALUE_PADDED=triton.next_power_of_2(value_size),
        VALUE_META=layout.value_meta, VALUE_META_SIZE=4 if layout.format.value_bits < 16 else 0,
        SCORES=layout.scores, POSITIONS=layout.positions,
    )  # fmt: skip
