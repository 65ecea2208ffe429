"""Running significance of stored tokens: one more query's attention goes into the scores of its pages, in Triton."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from ...arena.formats import PageLayout
from .. import significance
from ..tiers import Tiers
from .attention import LOG2E
from .pages import checked, views

HORIZON = tl.constexpr(float(significance.HORIZON))
LARGEST = tl.constexpr(65504.0)


@triton.jit
def _update_tier(halves, words, holders, table, step, weights, token, valid, now, TOKENS: tl.constexpr,
                 PAGE_BYTES: tl.constexpr, SCORES: tl.constexpr, POSITIONS: tl.constexpr):  # fmt: skip
    """Take weights into the scores of some tokens of one tier (`significance.updated`)."""
    page = tl.load(table + (token // TOKENS) * step, mask=valid, other=0).to(tl.int64)
    # What others read, too, is written by nobody.
    valid = valid & (tl.load(holders + page, mask=valid, other=2) <= 1)
    base = page * PAGE_BYTES
    slot = token % TOKENS
    at = halves + (base + SCORES) // 2 + slot
    score = tl.load(at, mask=valid, other=0.0).to(tl.float32)
    position = tl.load(words + (base + POSITIONS) // 4 + slot, mask=valid, other=0)
    age = tl.minimum(tl.maximum((now - position).to(tl.float32), 1.0), HORIZON)
    relative = tl.minimum(weights * (position + 1).to(tl.float32), LARGEST)
    moved = score + (relative - score) / age
    tl.store(at, tl.where(position < now, moved, score).to(tl.float16), mask=valid)


@triton.jit
def _update(halves, words, holders, tables, rows, counts, logits, totals, now, kv_heads, width, longest_high, longest,
            high_blocks, GROUP: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr, PAGE_BYTES: tl.constexpr,
            HIGH_TOKENS: tl.constexpr, HIGH_SCORES: tl.constexpr, HIGH_POSITIONS: tl.constexpr,
            LOW_TOKENS: tl.constexpr, LOW_SCORES: tl.constexpr, LOW_POSITIONS: tl.constexpr):  # fmt: skip
    """A block of tokens of one pair of sequence and KV head: program (pair, block), high blocks first."""
    pair = tl.program_id(0).to(tl.int64)
    block = tl.program_id(1)
    low = block >= high_blocks
    row = tl.load(rows + pair).to(tl.int64)
    token = tl.where(low, block - high_blocks, block) * BLOCK + tl.arange(0, BLOCK)
    valid = token < tl.load(counts + row * 2 + low.to(tl.int32))
    member = tl.arange(0, ROWS)
    in_group = member < GROUP
    total = tl.load(totals + pair * GROUP + member, mask=in_group, other=float("inf"))
    place = (pair * GROUP + member)[:, None] * longest + tl.where(low, longest_high, 0) + token[None, :]
    found = tl.load(logits + place, mask=in_group[:, None] & valid[None, :], other=-float("inf"))
    weights = tl.max(tl.exp2(found - total[:, None] * LOG2E), 0)
    position = tl.load(now + pair // kv_heads)
    if low:
        _update_tier(halves, words, holders, tables + row * width + width - 1, -1, weights, token, valid, position,
                     LOW_TOKENS, PAGE_BYTES, LOW_SCORES, LOW_POSITIONS)  # fmt: skip
    else:
        _update_tier(halves, words, holders, tables + row * width, 1, weights, token, valid, position, HIGH_TOKENS,
                     PAGE_BYTES, HIGH_SCORES, HIGH_POSITIONS)  # fmt: skip


def update_scores(
    pages: torch.Tensor,
    tiers: Tiers,
    tables: torch.Tensor,
    rows: torch.Tensor,
    counts: torch.Tensor,
    logits: torch.Tensor,
    totals: torch.Tensor,
    now: torch.Tensor,
    *,
    longest: tuple[int, int],
    holders: torch.Tensor | None = None,
    block: int = 256,
) -> None:
    """Take the attention of one query per sequence into the scores of all its tokens.

    Args:
        pages: see `reference`, as tables, rows and counts; their scores are written.
        tiers: the layouts.
        tables: see `reference`.
        rows: see `reference`.
        counts: see `reference`.
        logits: float32 [sequences, query_heads, sum of longest], from `attend`.
        totals: float32 [sequences, query_heads], from `attend`.
        now: int32 [sequences], the queries' positions.
        longest: as given to `attend`.
        holders: int32 [pages], how many hold each page: shared ones keep their scores. None: no page is shared.
        block: tokens of a program.

    Raises:
        ValueError: an argument of another type or shape.
    """
    sequences, query_heads, _ = logits.shape
    checked("rows", rows, torch.int32, sequences, None)
    checked("counts", counts, torch.int32, None, 2)
    checked("tables", tables, torch.int32, None, None)
    checked("logits", logits, torch.float32, sequences, query_heads, sum(longest))
    checked("totals", totals, torch.float32, sequences, query_heads)
    checked("now", now, torch.int32, sequences)
    kv_heads = rows.shape[1]
    group = query_heads // kv_heads
    _, halves, words = views(pages)
    if holders is None:
        holders = torch.ones(len(pages), dtype=torch.int32, device=pages.device)
    checked("holders", holders, torch.int32, len(pages))
    high_blocks, low_blocks = (triton.cdiv(tokens, block) for tokens in longest)
    if not high_blocks + low_blocks:
        return
    _update[(sequences * kv_heads, high_blocks + low_blocks)](
        halves, words, holders, tables, rows, counts, logits, totals, now, kv_heads, tables.shape[1], longest[0],
        sum(longest), high_blocks, GROUP=group, ROWS=max(2, triton.next_power_of_2(group)), BLOCK=block,
        PAGE_BYTES=tiers.page_bytes, **_places(tiers.high, "HIGH_"), **_places(tiers.low, "LOW_"),
    )  # fmt: skip


def _places(layout: PageLayout, prefix: str) -> dict[str, int]:
    return {
        prefix + "TOKENS": layout.tokens,
        prefix + "SCORES": layout.scores,
        prefix + "POSITIONS": layout.positions,
    }
