"""Paged decode attention over pages of mixed precision, in Triton.

Each pair of sequence and KV head is cut into splits of its high and of its low tier (FlashDecoding: Dao et al. 2023),
one program each; a second kernel adds the splits up. The codes themselves go through the tensor cores: with k = scale
* code + zero, q.k = scale * (q.code) + zero * sum(q), and the same for values, so that nothing is dequantized element
by element. All query heads of a group read the keys and values once.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl

from ..tiers import Tiers
from .pages import checked, layout_arguments, views

LOG2E = tl.constexpr(1.4426950408889634)
OFFSET = tl.constexpr(1024.0)
LOG2E_HOST = 1.4426950408889634


@triton.jit
def _stored(bytes8, halves, base, slot, valid, BITS: tl.constexpr, SEGMENT: tl.constexpr, WIDTH: tl.constexpr):
    """What is stored of the vectors of some tokens: packed codes uint8 [tokens, WIDTH], or float16 elements."""
    at = slot[:, None] * WIDTH + tl.arange(0, WIDTH)[None, :]
    if BITS == 16:
        found = tl.load(halves + (base[:, None] + SEGMENT) // 2 + at, mask=valid[:, None], other=0.0)
    else:
        found = tl.load(bytes8 + base[:, None] + SEGMENT + at, mask=valid[:, None], other=0)
    return found


@triton.jit
def _plane(stored, PLANE: tl.constexpr, BITS: tl.constexpr):
    """The codes of one plane as float16, OFFSET too large; elements where there are 16 bits.

    The bits 0x6400 are 1024, and with a code below 1024 in the last ten bits they are 1024 + code: one operation, where
    a conversion from integers takes as long as eight.
    """
    if BITS == 16:
        found = stored
    else:
        code = stored.to(tl.uint16)
        if BITS < 8:
            code = (code >> (PLANE * BITS)) & (2**BITS - 1)
        found = (code | 0x6400).to(tl.float16, bitcast=True)
    return found


@triton.jit
def _part(queries, bytes8, halves, table, step, begin, end, partial, sums, logits_out, logits_stride, scale,
          LOGITS: tl.constexpr, GROUP: tl.constexpr, ROWS: tl.constexpr, D: tl.constexpr,
          PAGE_BYTES: tl.constexpr, BLOCK: tl.constexpr,
          KEY_BITS: tl.constexpr, VALUE_BITS: tl.constexpr, TOKENS: tl.constexpr, KEYS: tl.constexpr,
          KEY_META: tl.constexpr, VALUES: tl.constexpr, VALUE_META: tl.constexpr):  # fmt: skip
    """Attention of a group of queries over tokens [begin, end) of one tier of one table row."""
    KEY_PLANES: tl.constexpr = 8 // KEY_BITS if KEY_BITS < 8 else 1
    VALUE_PLANES: tl.constexpr = 8 // VALUE_BITS if VALUE_BITS < 8 else 1
    KEY_WIDTH: tl.constexpr = D // KEY_PLANES
    VALUE_WIDTH: tl.constexpr = D // VALUE_PLANES
    group = tl.arange(0, ROWS)
    in_group = (group < GROUP)[:, None]
    query = queries + group[:, None] * D + tl.arange(0, KEY_WIDTH)[None, :]
    q0 = (tl.load(query, mask=in_group, other=0.0).to(tl.float32) * scale).to(tl.float16)
    q_sum = tl.sum(q0.to(tl.float32), 1)
    if KEY_PLANES > 1:
        q1 = (tl.load(query + KEY_WIDTH, mask=in_group, other=0.0).to(tl.float32) * scale).to(tl.float16)
        q_sum += tl.sum(q1.to(tl.float32), 1)
    if KEY_PLANES > 2:
        q2 = (tl.load(query + 2 * KEY_WIDTH, mask=in_group, other=0.0).to(tl.float32) * scale).to(tl.float16)
        q3 = (tl.load(query + 3 * KEY_WIDTH, mask=in_group, other=0.0).to(tl.float32) * scale).to(tl.float16)
        q_sum += tl.sum(q2.to(tl.float32), 1) + tl.sum(q3.to(tl.float32), 1)
    largest = tl.full((ROWS,), -float("inf"), tl.float32)
    summed = tl.zeros((ROWS,), tl.float32)
    zeros = tl.zeros((ROWS,), tl.float32)
    out0 = tl.zeros((ROWS, VALUE_WIDTH), tl.float32)
    if VALUE_PLANES > 1:
        out1 = tl.zeros((ROWS, VALUE_WIDTH), tl.float32)
    if VALUE_PLANES > 2:
        out2 = tl.zeros((ROWS, VALUE_WIDTH), tl.float32)
        out3 = tl.zeros((ROWS, VALUE_WIDTH), tl.float32)
    for start in range(begin, end, BLOCK):
        token = start + tl.arange(0, BLOCK)
        valid = token < end
        slot = token % TOKENS
        base = tl.load(table + (token // TOKENS) * step, mask=valid, other=0).to(tl.int64) * PAGE_BYTES
        # All loads come before what is computed of any, so that they are on their way together.
        stored = _stored(bytes8, halves, base, slot, valid, KEY_BITS, KEYS, KEY_WIDTH)
        stored_values = _stored(bytes8, halves, base, slot, valid, VALUE_BITS, VALUES, VALUE_WIDTH)
        if KEY_BITS < 16:
            meta = halves + (base + KEY_META) // 2 + slot * 2
            key_scale = tl.load(meta, mask=valid, other=0.0).to(tl.float32)
            key_zero = tl.load(meta + 1, mask=valid, other=0.0).to(tl.float32)
        if VALUE_BITS < 16:
            meta = halves + (base + VALUE_META) // 2 + slot * 2
            value_scale = tl.load(meta, mask=valid, other=0.0).to(tl.float32)
            value_zero = tl.load(meta + 1, mask=valid, other=0.0).to(tl.float32)
        logits = tl.dot(q0, tl.trans(_plane(stored, 0, KEY_BITS)))
        if KEY_PLANES > 1:
            logits += tl.dot(q1, tl.trans(_plane(stored, 1, KEY_BITS)))
        if KEY_PLANES > 2:
            logits += tl.dot(q2, tl.trans(_plane(stored, 2, KEY_BITS)))
            logits += tl.dot(q3, tl.trans(_plane(stored, 3, KEY_BITS)))
        if KEY_BITS < 16:
            logits = logits * key_scale[None, :] + q_sum[:, None] * (key_zero - OFFSET * key_scale)[None, :]
        if LOGITS:
            place = group[:, None] * logits_stride + token[None, :]
            tl.store(logits_out + place, logits, mask=in_group & valid[None, :])
        logits = tl.where(valid[None, :], logits, -float("inf"))
        higher = tl.maximum(largest, tl.max(logits, 1))
        shrink = tl.exp2(largest - higher)
        weights = tl.exp2(logits - higher[:, None])
        summed = summed * shrink + tl.sum(weights, 1)
        largest = higher
        back = 1.0
        if VALUE_BITS < 16:
            zeros = zeros * shrink + tl.sum(weights * value_zero[None, :], 1)
            # Weights times scales become float16: brought to its upper range first, so that small ones keep their bits.
            greatest = tl.maximum(tl.max(value_scale, 0), 1e-30)
            weights = weights * (value_scale * (16384.0 / greatest))[None, :]
            back = greatest * (1.0 / 16384.0)
        narrow = weights.to(tl.float16)
        if VALUE_BITS < 16:
            # With the weights as they were rounded, so that the offset leaves nothing behind.
            zeros -= tl.sum(narrow.to(tl.float32), 1) * (OFFSET * back)
        out0 = out0 * shrink[:, None] + tl.dot(narrow, _plane(stored_values, 0, VALUE_BITS)) * back
        if VALUE_PLANES > 1:
            out1 = out1 * shrink[:, None] + tl.dot(narrow, _plane(stored_values, 1, VALUE_BITS)) * back
        if VALUE_PLANES > 2:
            out2 = out2 * shrink[:, None] + tl.dot(narrow, _plane(stored_values, 2, VALUE_BITS)) * back
            out3 = out3 * shrink[:, None] + tl.dot(narrow, _plane(stored_values, 3, VALUE_BITS)) * back
    tl.store(sums + group, largest + tl.log2(summed), mask=group < GROUP)
    target = partial + group[:, None] * D + tl.arange(0, VALUE_WIDTH)[None, :]
    tl.store(target, (out0 + zeros[:, None]) / summed[:, None], mask=in_group)
    if VALUE_PLANES > 1:
        tl.store(target + VALUE_WIDTH, (out1 + zeros[:, None]) / summed[:, None], mask=in_group)
    if VALUE_PLANES > 2:
        tl.store(target + 2 * VALUE_WIDTH, (out2 + zeros[:, None]) / summed[:, None], mask=in_group)
        tl.store(target + 3 * VALUE_WIDTH, (out3 + zeros[:, None]) / summed[:, None], mask=in_group)


@triton.jit
def _attend_splits(queries, bytes8, halves, tables, rows, counts, partial, sums, logits, width, scale,
                   split_tokens, high_splits, splits, longest_high, longest, LOGITS: tl.constexpr,
                   GROUP: tl.constexpr, ROWS: tl.constexpr, D: tl.constexpr,
                   PAGE_BYTES: tl.constexpr, BLOCK: tl.constexpr,
                   HIGH_KEY_BITS: tl.constexpr, HIGH_VALUE_BITS: tl.constexpr,
                   HIGH_TOKENS: tl.constexpr, HIGH_KEYS: tl.constexpr, HIGH_KEY_META: tl.constexpr,
                   HIGH_VALUES: tl.constexpr, HIGH_VALUE_META: tl.constexpr, LOW_KEY_BITS: tl.constexpr,
                   LOW_VALUE_BITS: tl.constexpr, LOW_TOKENS: tl.constexpr, LOW_KEYS: tl.constexpr,
                   LOW_KEY_META: tl.constexpr, LOW_VALUES: tl.constexpr, LOW_VALUE_META: tl.constexpr):  # fmt: skip
    """One split of one pair of sequence and KV head: program (pair, split). An empty split only says so."""
    pair = tl.program_id(0).to(tl.int64)
    split = tl.program_id(1)
    row = tl.load(rows + pair).to(tl.int64)
    query = queries + pair * GROUP * D
    part = partial + (pair * splits + split) * GROUP * D
    part_sums = sums + (pair * splits + split) * GROUP
    part_logits = logits + pair * GROUP * longest
    low = split >= high_splits
    begin = tl.where(low, split - high_splits, split) * split_tokens
    count = tl.load(counts + row * 2 + low.to(tl.int32))
    end = tl.minimum(begin + split_tokens, count)
    if begin >= count:
        group = tl.arange(0, ROWS)
        tl.store(part_sums + group, tl.full((ROWS,), -float("inf"), tl.float32), mask=group < GROUP)
    elif low:
        _part(query, bytes8, halves, tables + row * width + width - 1, -1, begin, end, part, part_sums,
              part_logits + longest_high, longest, scale, LOGITS, GROUP, ROWS, D, PAGE_BYTES, BLOCK, LOW_KEY_BITS,
              LOW_VALUE_BITS, LOW_TOKENS, LOW_KEYS, LOW_KEY_META, LOW_VALUES, LOW_VALUE_META)  # fmt: skip
    else:
        _part(query, bytes8, halves, tables + row * width, 1, begin, end, part, part_sums, part_logits, longest, scale,
              LOGITS, GROUP, ROWS, D, PAGE_BYTES, BLOCK, HIGH_KEY_BITS, HIGH_VALUE_BITS, HIGH_TOKENS, HIGH_KEYS,
              HIGH_KEY_META, HIGH_VALUES, HIGH_VALUE_META)  # fmt: skip


@triton.jit
def _add_splits(partial, sums, output, totals, splits, GROUP: tl.constexpr, D: tl.constexpr,
                PADDED: tl.constexpr, CHUNK: tl.constexpr):  # fmt: skip
    """Add the splits of one pair and query head up, weighted by their sums: program (pair, query head of the group)."""
    pair = tl.program_id(0).to(tl.int64)
    member = tl.program_id(1)
    every = tl.arange(0, PADDED)
    first = pair * splits
    all_sums = tl.load(sums + (first + every) * GROUP + member, mask=every < splits, other=-float("inf"))
    largest = tl.max(all_sums, 0)
    # Of a pair without tokens all sums are minus infinity: 0 keeps the difference a number.
    base = tl.where(largest == -float("inf"), 0.0, largest)
    whole = tl.sum(tl.exp2(all_sums - base), 0)
    element = tl.arange(0, D)
    result = tl.zeros((D,), tl.float32)
    for start in range(0, splits, CHUNK):
        split = start + tl.arange(0, CHUNK)
        inside = split < splits
        some = tl.load(sums + (first + split) * GROUP + member, mask=inside, other=-float("inf"))
        weight = tl.exp2(some - base)
        used = (weight > 0)[:, None]
        place = ((first + split) * GROUP + member)[:, None] * D + element[None, :]
        result += tl.sum(tl.load(partial + place, mask=used, other=0.0) * weight[:, None], 0)
    at = pair * GROUP + member
    tl.store(output + at * D + element, (result / tl.maximum(whole, 1e-38)).to(output.dtype.element_ty))
    tl.store(totals + at, tl.where(whole > 0, (base + tl.log2(tl.maximum(whole, 1e-38))) / LOG2E, -float("inf")))


@dataclass(frozen=True, slots=True)
class Tuning:
    """How the work is cut up: what is best depends on the device, never the result. The defaults suit an H100."""

    block: int = 128
    """Tokens that a program reads at once."""
    warps: int = 4
    stages: int = 3
    programs: int = 528
    """About so many programs are made, if the sequences are long enough: four for each of 132 multiprocessors."""
    least: int = 128
    """Tokens of a split, at least."""


FLOATS = Tuning(block=32, stages=4)
"""What suits pages of 16-bit floats better."""


@dataclass(frozen=True, slots=True)
class Splits:
    """How many splits of how many tokens there are for the longest high and the longest low tier."""

    tokens: int
    high: int
    low: int


def plan_splits(pairs: int, longest_high: int, longest_low: int, tuning: Tuning) -> Splits:
    """Choose splits for a number of pairs of sequence and KV head, from the token counts of the longest tiers."""
    wanted = max(1, -(-tuning.programs // max(1, pairs)))
    tokens = max(tuning.least, -(-(longest_high + longest_low) // wanted))
    tokens = -(-tokens // tuning.block) * tuning.block
    return Splits(tokens, -(-longest_high // tokens), -(-longest_low // tokens))


def attend(
    queries: torch.Tensor,
    pages: torch.Tensor,
    tiers: Tiers,
    tables: torch.Tensor,
    rows: torch.Tensor,
    counts: torch.Tensor,
    scale: float,
    *,
    longest: tuple[int, int],
    logits: torch.Tensor | None = None,
    tuning: Tuning | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention of one query per sequence over the tokens of both tiers; see `reference.attend`.

    Args:
        queries: float16, bfloat16 or float32 [sequences, query_heads, head_dim].
        pages: see `reference`, as all that follow; on the queries' device.
        tiers: the layouts; 2 to 16 bits.
        tables: see `reference`.
        rows: see `reference`.
        counts: see `reference`.
        scale: of the logits.
        longest: the largest token counts of high and low tiers among the rows, known to the host: nothing is read back.
        logits: float32 [sequences, query_heads, sum of longest], written where it is given: what `update_scores` takes.
        tuning: how the work is cut up.

    Returns:
        as `reference.attend`; the first in the queries' type.

    Raises:
        ValueError: an argument of another type or shape.
    """
    floats = min(tiers.high.format.key_bits, tiers.low.format.key_bits) == 16
    tuning = tuning or (FLOATS if floats else Tuning())
    sequences, query_heads, head_dim = queries.shape
    checked("rows", rows, torch.int32, sequences, None)
    checked("counts", counts, torch.int32, None, 2)
    checked("tables", tables, torch.int32, None, None)
    checked("queries", queries, queries.dtype, sequences, query_heads, tiers.head_dim)
    kv_heads = rows.shape[1]
    if query_heads % kv_heads:
        raise ValueError(f"queries: {query_heads} heads; accepted: multiples of the {kv_heads} KV heads")
    group, pairs = query_heads // kv_heads, sequences * kv_heads
    plan = plan_splits(pairs, *longest, tuning)
    splits = max(1, plan.high + plan.low)
    bytes8, halves, _ = views(pages)
    if logits is not None:
        checked("logits", logits, torch.float32, sequences, query_heads, sum(longest))
    partial = torch.empty((pairs, splits, group, head_dim), dtype=torch.float32, device=queries.device)
    sums = torch.empty((pairs, splits, group), dtype=torch.float32, device=queries.device)
    output = torch.empty_like(queries)
    totals = torch.empty((sequences, query_heads), dtype=torch.float32, device=queries.device)
    _attend_splits[(pairs, splits)](
        queries, bytes8, halves, tables, rows, counts, partial, sums, totals if logits is None else logits,
        tables.shape[1], scale * LOG2E_HOST, plan.tokens, plan.high, splits, longest[0], sum(longest),
        LOGITS=logits is not None, GROUP=group, ROWS=max(16, triton.next_power_of_2(group)), D=head_dim,
        PAGE_BYTES=tiers.page_bytes, BLOCK=tuning.block, **layout_arguments(tiers.high, "HIGH_"),
        **layout_arguments(tiers.low, "LOW_"), num_warps=tuning.warps, num_stages=tuning.stages,
    )  # fmt: skip
    _add_splits[(pairs, group)](
        partial, sums, output, totals, splits, GROUP=group, D=head_dim, PADDED=max(2, triton.next_power_of_2(splits)),
        CHUNK=max(2, min(16, triton.next_power_of_2(splits))), num_warps=4,
    )  # fmt: skip
    return output, totals
