"""Causal attention of prompts' chunks over pages of 16-bit floats, in Triton (FlashAttention: Dao et al. 2022).

A program takes some tokens of one chunk, with all query heads of one KV head, through the slots that they see.
"""

from __future__ import annotations

import numpy as np
import torch
import triton
import triton.language as tl

from ..tiers import Tiers
from .attention import LOG2E, LOG2E_HOST
from .pages import checked, views


@triton.jit
def _attend_tiles(queries, halves, words, tables, rows, tiles, starts, stored, output, totals, heads, kv_heads, width,
                  scale, window, WINDOW: tl.constexpr, GROUP: tl.constexpr, ROWS: tl.constexpr, D: tl.constexpr,
                  PAGE_BYTES: tl.constexpr, BLOCK: tl.constexpr, TOKENS: tl.constexpr, KEYS: tl.constexpr,
                  VALUES: tl.constexpr, POSITIONS: tl.constexpr):  # fmt: skip
    """Program (tile, KV head); tiles int32 [tiles, 2]: sequence, first token within its chunk."""
    tile = tl.program_id(0).to(tl.int64)
    head = tl.program_id(1)
    sequence = tl.load(tiles + tile * 2).to(tl.int64)
    first = tl.load(tiles + tile * 2 + 1)
    start = tl.load(starts + sequence)
    chunk = tl.load(starts + sequence + 1) - start
    before = tl.load(stored + sequence)
    table = tables + tl.load(rows + sequence * kv_heads + head).to(tl.int64) * width
    row = tl.arange(0, ROWS)
    token = first + row // GROUP
    here = (token < chunk) & (row < ROWS // GROUP * GROUP)
    at = (start + token).to(tl.int64) * heads + head * GROUP + row % GROUP
    element = tl.arange(0, D)[None, :]
    q = tl.load(queries + at[:, None] * D + element, mask=here[:, None], other=0.0).to(tl.float32)
    q = (q * scale).to(tl.float16)
    own = before + token
    position = own
    if WINDOW:
        page = tl.load(table + own // TOKENS, mask=here, other=0).to(tl.int64)
        position = tl.load(words + (page * PAGE_BYTES + POSITIONS) // 4 + own % TOKENS, mask=here, other=0)
    seen_by_last = before + tl.minimum(first + ROWS // GROUP, chunk)
    largest = tl.full((ROWS,), -float("inf"), tl.float32)
    summed = tl.zeros((ROWS,), tl.float32)
    out = tl.zeros((ROWS, D), tl.float32)
    for begin in range(0, seen_by_last, BLOCK):
        slot = begin + tl.arange(0, BLOCK)
        valid = slot < seen_by_last
        base = tl.load(table + slot // TOKENS, mask=valid, other=0).to(tl.int64) * PAGE_BYTES
        place = (slot % TOKENS)[:, None] * D + element
        keys = tl.load(halves + (base[:, None] + KEYS) // 2 + place, mask=valid[:, None], other=0.0)
        values = tl.load(halves + (base[:, None] + VALUES) // 2 + place, mask=valid[:, None], other=0.0)
        seen = valid[None, :] & (slot[None, :] <= own[:, None])
        if WINDOW:
            stands = tl.load(words + (base + POSITIONS) // 4 + slot % TOKENS, mask=valid, other=0)
            seen = seen & (position[:, None] - stands[None, :] < window)
        logits = tl.where(seen, tl.dot(q, tl.trans(keys)), -float("inf"))
        higher = tl.maximum(largest, tl.max(logits, 1))
        # Of a row that has seen nothing yet all are minus infinity: 0 keeps the differences numbers.
        shift = tl.where(higher == -float("inf"), 0.0, higher)
        shrink = tl.exp2(largest - shift)
        weights = tl.exp2(logits - shift[:, None])
        summed = summed * shrink + tl.sum(weights, 1)
        out = out * shrink[:, None] + tl.dot(weights.to(tl.float16), values)
        largest = higher
    result = (out / tl.maximum(summed, 1e-38)[:, None]).to(output.dtype.element_ty)
    tl.store(output + at[:, None] * D + element, result, mask=here[:, None])
    tl.store(totals + at, (largest + tl.log2(summed)) / LOG2E, mask=here)


def attend_chunks(
    queries: torch.Tensor,
    starts: torch.Tensor,
    stored: torch.Tensor,
    pages: torch.Tensor,
    tiers: Tiers,
    tables: torch.Tensor,
    rows: torch.Tensor,
    scale: float,
    *,
    window: int | None = None,
    block: int = 64,
    least_rows: int = 64,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Causal attention of chunks of sequences; see `reference.attend_chunks`. Waits for the device to know the chunks.

    Args:
        queries: float16, bfloat16 or float32 [tokens, query_heads, head_dim].
        starts: see `reference`, as all that follow; on the queries' device.
        stored: see `reference`.
        pages: see `reference`.
        tiers: the layouts; the high one of 16-bit floats.
        tables: see `reference`.
        rows: see `reference`.
        scale: of the logits.
        window: see `reference`.
        block: slots that a program reads at once.
        least_rows: query vectors that a program takes, at least.

    Returns:
        as `reference.attend_chunks`; the first in the queries' type.

    Raises:
        ValueError: an argument of another type or shape, or another format.
    """
    layout, (tokens, heads, head_dim) = tiers.high, queries.shape
    form = layout.format
    if (form.key_bits, form.value_bits) != (16, 16) or head_dim & (head_dim - 1) or head_dim < 16:
        raise ValueError(f"{form} with head_dim {head_dim}: accepted: K16V16 and powers of two from 16 on")
    sequences, kv_heads = checked("rows", rows, torch.int32, None, None).shape
    checked("queries", queries, queries.dtype, tokens, heads, tiers.head_dim)
    checked("starts", starts, torch.int32, sequences + 1)
    checked("stored", stored, torch.int32, sequences)
    checked("tables", tables, torch.int32, None, None)
    if not kv_heads or heads % kv_heads:
        raise ValueError(f"queries: {heads} heads; accepted: multiples of the {kv_heads} KV heads")
    group = heads // kv_heads
    of_program = max(least_rows, triton.next_power_of_2(group))
    tiles = _tiles(starts.cpu().numpy(), of_program // group)
    output = torch.empty_like(queries)
    totals = torch.empty((tokens, heads), dtype=torch.float32, device=queries.device)
    if len(tiles):
        _, halves, words = views(pages)
        _attend_tiles[(len(tiles), kv_heads)](
            queries, halves, words, tables, rows, torch.from_numpy(tiles).to(queries.device), starts, stored, output,
            totals, heads, kv_heads, tables.shape[1], scale * LOG2E_HOST, window or 0, WINDOW=window is not None,
            GROUP=group, ROWS=of_program, D=head_dim, PAGE_BYTES=tiers.page_bytes, BLOCK=block, TOKENS=layout.tokens,
            KEYS=layout.keys, VALUES=layout.values, POSITIONS=layout.positions, num_warps=4,
        )  # fmt: skip
    return output, totals


def _tiles(starts: np.ndarray, tokens: int) -> np.ndarray:
    """Cut chunks to tiles of some tokens: int32 [tiles, 2], the sequence and its first token of each."""
    number = -(-np.diff(starts) // tokens)
    sequence = np.repeat(np.arange(len(number)), number)
    first = np.arange(number.sum()) - np.repeat(np.cumsum(number) - number, number)
    return np.stack([sequence, first * tokens], axis=1).astype(np.int32)
