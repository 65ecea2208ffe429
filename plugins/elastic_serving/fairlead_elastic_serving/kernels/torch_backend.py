"""The kernels in torch, for any device that torch has: slow and simple.

Nothing comes here by itself where triton is missing: whoever may do without it imports this module instead. Arguments
are those of `reference`, as tensors.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import torch

from ..arena.formats import META_BYTES, POSITION_BYTES, SCORE_BYTES, PageLayout
from .quantization import LARGEST
from .significance import HORIZON
from .tiers import HIGH, LOW, Tiers

FLOATS = {16: torch.float16, 32: torch.float32}


def quantize(vectors: torch.Tensor, bits: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Round vectors to packed codes with scales and zero points; see `quantization.quantize`."""
    cut = vectors.float().clamp(-float(LARGEST), float(LARGEST))
    low, high = cut.amin(dim=-1), cut.amax(dim=-1)
    scale, zero = ((high - low) / (2**bits - 1)).half(), low.half()
    step = torch.where(scale == 0, torch.ones_like(scale), scale).float()[..., None]
    codes = ((cut - zero.float()[..., None]) / step + 0.5).floor().clamp(0, 2**bits - 1)
    codes = torch.where((scale == 0)[..., None], 0, codes).to(torch.uint8)
    planes = 8 // bits
    split = codes.unflatten(-1, (planes, -1))
    packed = torch.zeros_like(split[..., 0, :])
    for plane in range(planes):
        packed |= split[..., plane, :] << (plane * bits)
    return packed, scale, zero


def dequantize(packed: torch.Tensor, scale: torch.Tensor, zero: torch.Tensor, bits: int) -> torch.Tensor:
    """Return the vectors float32 [..., head_dim] that codes, scales and zero points stand for."""
    planes = [(packed >> (plane * bits)) & (2**bits - 1) for plane in range(8 // bits)]
    return torch.cat(planes, dim=-1).float() * scale.float()[..., None] + zero.float()[..., None]


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
) -> None:
    """Quantize keys and values to a tier's format and store them; see `reference.write`."""
    layout = tiers.layout(tier)
    token, head = torch.nonzero(slots >= 0, as_tuple=True)
    page, slot = _places(tiers, tier, tables, rows[token, head], slots[token, head])
    for vectors, start, meta, bits in (
        (keys, layout.keys, layout.key_meta, layout.format.key_bits),
        (values, layout.values, layout.value_meta, layout.format.value_bits),
    ):
        chosen = vectors[token, head].float()
        if bits in FLOATS:
            limit = float(LARGEST) if bits == 16 else torch.inf
            _segment(pages, start, FLOATS[bits], layout, tiers.head_dim)[page, slot] = chosen.clamp(-limit, limit).to(
                FLOATS[bits]
            )
            continue
        packed, scale, zero = quantize(chosen, bits)
        _segment(pages, start, torch.uint8, layout, packed.shape[-1])[page, slot] = packed
        _segment(pages, meta, torch.float16, layout, 2)[page, slot] = torch.stack([scale, zero], dim=-1)
    _segment(pages, layout.scores, torch.float16, layout, 1)[page, slot, 0] = scores[token, head].half()
    _segment(pages, layout.positions, torch.int32, layout, 1)[page, slot, 0] = positions[token]


def gather(
    pages: torch.Tensor, tiers: Tiers, tier: int, tables: torch.Tensor, rows: torch.Tensor, slots: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return keys and values, scores and positions of single tokens; see `reference.gather`."""
    layout = tiers.layout(tier)
    page, slot = _places(tiers, tier, tables, rows, slots)

    def vectors(start: int, meta: int, bits: int) -> torch.Tensor:
        if bits in FLOATS:
            return _segment(pages, start, FLOATS[bits], layout, tiers.head_dim)[page, slot].float()
        packed = _segment(pages, start, torch.uint8, layout, tiers.head_dim * bits // 8)[page, slot]
        both = _segment(pages, meta, torch.float16, layout, 2)[page, slot]
        return dequantize(packed, both[..., 0], both[..., 1], bits)

    return (
        vectors(layout.keys, layout.key_meta, layout.format.key_bits),
        vectors(layout.values, layout.value_meta, layout.format.value_bits),
        _segment(pages, layout.scores, torch.float16, layout, 1)[page, slot, 0],
        _segment(pages, layout.positions, torch.int32, layout, 1)[page, slot, 0],
    )


def bookkeeping(
    pages: torch.Tensor, tiers: Tiers, tier: int, tables: torch.Tensor, rows: torch.Tensor, counts: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return scores float32, positions and page numbers of all tokens of a tier in some rows: [rows, longest] each.

    Args:
        pages: see `reference`.
        tiers: the layouts.
        tier: HIGH or LOW.
        tables: see `reference`.
        rows: int32 [rows].
        counts: int32 [rows, 2] of these rows; what lies beyond them is anything.
    """
    layout = tiers.layout(tier)
    longest = int(counts[:, tier].max()) if len(counts) else 0
    number = torch.arange(longest, dtype=torch.int32, device=pages.device)
    valid = number < counts[:, tier, None]
    page, slot = _places(tiers, tier, tables, rows[:, None].expand_as(valid), torch.where(valid, number, 0))
    page = torch.where(valid, page, 0)
    scores = _segment(pages, layout.scores, torch.float16, layout, 1)[page, slot, 0].float()
    return scores, _segment(pages, layout.positions, torch.int32, layout, 1)[page, slot, 0], page


def copy_slots(
    pages: torch.Tensor,
    tiers: Tiers,
    tier: int,
    tables: torch.Tensor,
    rows: torch.Tensor,
    sources: torch.Tensor,
    targets: torch.Tensor,
) -> None:
    """Copy a token within its tier as it is, in each of some rows; see `reference.copy_slots`."""
    done = (sources >= 0) & (targets >= 0)
    layout = tiers.layout(tier)
    (from_page, from_slot), (to_page, to_slot) = (
        _places(tiers, tier, tables, rows[done], numbers[done]) for numbers in (sources, targets)
    )
    for start, size in _byte_segments(layout):
        segment = _segment(pages, start, torch.uint8, layout, size)
        segment[to_page, to_slot] = segment[from_page, from_slot]


def attend(
    queries: torch.Tensor,
    pages: torch.Tensor,
    tiers: Tiers,
    tables: torch.Tensor,
    rows: torch.Tensor,
    counts: torch.Tensor,
    scale: float,
    *,
    starts: torch.Tensor | None = None,
    window: int | None = None,
    positions: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention over the tokens of both tiers; see `reference.attend`. The output has the queries' type."""
    if starts is None:
        output, total, _ = _attended_rows(queries, pages, tiers, tables, rows, counts, scale, window, positions)
        return output, total
    output = torch.empty_like(queries)
    total = torch.empty(queries.shape[:-1], device=queries.device)
    for sequence, (first, end) in enumerate(pairwise(starts.tolist())):
        # Each query of a chunk as a sequence of its own: they share rows.
        shared = rows[sequence].expand(end - first, -1)
        some = None if positions is None else positions[first:end]
        output[first:end], total[first:end], _ = _attended_rows(
            queries[first:end], pages, tiers, tables, shared, counts, scale, window, some
        )
    return output, total


def update_scores(
    queries: torch.Tensor,
    pages: torch.Tensor,
    tiers: Tiers,
    tables: torch.Tensor,
    rows: torch.Tensor,
    counts: torch.Tensor,
    scale: float,
    now: torch.Tensor,
    holders: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Take the attention of one query per sequence into the scores of its tokens; see `reference.update_scores`.

    Returns what `attend` returns, which is computed on the way.
    """
    output, total, weights = _attended_rows(queries, pages, tiers, tables, rows, counts, scale, None, None)
    paid, every = weights.amax(dim=1), rows.reshape(-1)
    at = now.repeat_interleave(rows.shape[1])[:, None]
    first = 0
    for tier in (HIGH, LOW):
        number, valid = _numbers(counts, every, tier)
        page, slot = _places(tiers, tier, tables, every[:, None].expand_as(number)[valid], number[valid])
        if holders is not None:
            alone = holders[page] <= 1
            valid[valid.clone()] = alone
            page, slot = page[alone], slot[alone]
        scores = _segment(pages, tiers.layout(tier).scores, torch.float16, tiers.layout(tier), 1)
        stored = _segment(pages, tiers.layout(tier).positions, torch.int32, tiers.layout(tier), 1)[page, slot, 0]
        some = paid[:, first : first + number.shape[1]][valid]
        first += number.shape[1]
        query = at.expand_as(number)[valid]
        age = (query - stored).clamp(1, HORIZON).float()
        score = scores[page, slot, 0].float()
        moved = score + ((some * (stored + 1)).clamp(max=float(LARGEST)) - score) / age
        scores[page, slot, 0] = torch.where(stored < query, moved, score).half()
    return output, total


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
    received: Sequence[torch.Tensor | None] | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Causal attention of chunks of sequences; see `reference.attend_chunks`. The output has the queries' type."""
    output = torch.zeros_like(queries)
    total = torch.full(queries.shape[:-1], -torch.inf, device=queries.device)
    for sequence, (first, end) in enumerate(pairwise(starts.tolist())):
        if first < end:
            output[first:end], total[first:end] = _chunk(
                queries[first:end],
                int(stored[sequence]),
                pages,
                tiers,
                tables,
                rows[sequence],
                scale,
                window,
                None if received is None else received[sequence],
            )
    return output, total


def _chunk(
    queries: torch.Tensor,
    before: int,
    pages: torch.Tensor,
    tiers: Tiers,
    tables: torch.Tensor,
    rows: torch.Tensor,
    scale: float,
    window: int | None,
    received: torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention of one chunk [tokens, query_heads, head_dim] over the slots of its rows [kv_heads]."""
    tokens, heads, width = queries.shape
    slots = torch.arange(before + tokens, dtype=torch.int32, device=queries.device)
    every = rows[:, None].expand(-1, len(slots))
    keys, values, _, positions = gather(
        pages, tiers, HIGH, tables, every.reshape(-1), slots.expand_as(every).reshape(-1)
    )
    keys, values = (vectors.unflatten(0, every.shape)[:, None] for vectors in (keys, values))
    grouped = queries.float().transpose(0, 1).unflatten(0, (len(rows), -1))
    seen = slots <= slots[before:, None]
    if window is not None:
        stored = positions.unflatten(0, every.shape)
        seen = (seen & (stored[:, before:, None] - stored[:, None] < window))[:, None]
    logits = (grouped @ keys.transpose(-1, -2) * scale).masked_fill(~seen, -torch.inf)
    totals = logits.logsumexp(dim=-1)
    weights = (logits - totals[..., None]).exp()
    if received is not None:
        others = weights.masked_fill(slots == slots[before:, None], 0.0)
        received += others.sum(dim=-2).reshape(heads, -1)
    output = (weights @ values).reshape(heads, tokens, width).transpose(0, 1)
    return output.to(queries.dtype), totals.reshape(heads, tokens).T


def _attended_rows(
    queries: torch.Tensor,
    pages: torch.Tensor,
    tiers: Tiers,
    tables: torch.Tensor,
    rows: torch.Tensor,
    counts: torch.Tensor,
    scale: float,
    window: int | None,
    positions: torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """One query a sequence: output, logarithms of sums, and weights float32 [rows, group, tokens of both tiers]."""
    sequences, kv_heads = rows.shape
    keys, values, stored, valid = _both_tiers(pages, tiers, tables, rows.reshape(-1), counts)
    if window is not None and positions is not None:
        valid = valid & (positions.repeat_interleave(kv_heads)[:, None] - stored < window)
    grouped = queries.float().reshape(sequences * kv_heads, -1, tiers.head_dim)
    logits = torch.where(valid[:, None], grouped @ keys.transpose(1, 2) * scale, -torch.inf)
    totals = logits.logsumexp(dim=-1)
    weights = torch.where(valid[:, None], (logits - totals[..., None]).exp(), 0.0)
    output = (weights @ values).reshape(queries.shape).to(queries.dtype)
    return output, totals.reshape(queries.shape[:-1]), weights


def _numbers(counts: torch.Tensor, rows: torch.Tensor, tier: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens of a tier in some rows [rows, longest] by number, and which of them are there."""
    count = counts[rows.long(), tier]
    number = torch.arange(int(count.max()) if len(count) else 0, dtype=torch.int32, device=rows.device)
    valid = number < count[:, None]
    return torch.where(valid, number, 0), valid


def _both_tiers(
    pages: torch.Tensor, tiers: Tiers, tables: torch.Tensor, rows: torch.Tensor, counts: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Keys and values [rows, tokens, head_dim] of both tiers, their positions, and which are there: [rows, tokens]."""
    parts = []
    for tier in (HIGH, LOW):
        slots, valid = _numbers(counts, rows, tier)
        every = rows[:, None].expand_as(slots)
        keys, values, _, positions = gather(pages, tiers, tier, tables, every.reshape(-1), slots.reshape(-1))
        shape = (*slots.shape, tiers.head_dim)
        # Where there is no token, no page may be either: what was read there is anything, also no number.
        parts.append(
            [torch.where(valid[..., None], vectors.reshape(shape), 0.0) for vectors in (keys, values)]
            + [positions.reshape(slots.shape), valid]
        )
    keys, values, positions, valid = (torch.cat(both, dim=1) for both in zip(*parts, strict=True))
    return keys, values, positions, valid


def _places(
    tiers: Tiers, tier: int, tables: torch.Tensor, rows: torch.Tensor, numbers: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    tokens = tiers.layout(tier).tokens
    place = (numbers // tokens).long()
    column = tables.shape[1] - 1 - place if tier == LOW else place
    return tables[rows.long(), column].long(), (numbers % tokens).long()


def _segment(pages: torch.Tensor, start: int, kind: torch.dtype, layout: PageLayout, width: int) -> torch.Tensor:
    """A segment of all pages as a view [pages, tokens, width]."""
    size = kind.itemsize
    first = start // size
    return pages.view(kind)[:, first : first + layout.tokens * width].unflatten(1, (layout.tokens, width))


def _byte_segments(layout: PageLayout) -> Iterator[tuple[int, int]]:
    """Where each segment begins and how many bytes of it a token has."""
    form = layout.format
    for bits, start, meta in (
        (form.key_bits, layout.keys, layout.key_meta),
        (form.value_bits, layout.values, layout.value_meta),
    ):
        yield start, bits * layout.head_dim // 8
        if bits not in FLOATS:
            yield meta, META_BYTES
    yield layout.scores, SCORE_BYTES
    yield layout.positions, POSITION_BYTES
