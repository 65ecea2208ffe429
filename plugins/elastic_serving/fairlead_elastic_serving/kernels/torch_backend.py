"""The kernels in torch, for any device that torch has: slow and simple.

Nothing comes here by itself where triton is missing: whoever may do without it imports this module instead. Arguments
are those of `reference`, as tensors.
"""

from __future__ import annotations

import torch

from ..arena.formats import PageLayout
from .quantization import LARGEST
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


def attend(
    queries: torch.Tensor,
    pages: torch.Tensor,
    tiers: Tiers,
    tables: torch.Tensor,
    rows: torch.Tensor,
    counts: torch.Tensor,
    scale: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention of one query per sequence over the tokens of both tiers; see `reference.attend`."""
    sequences, kv_heads = rows.shape
    keys, values, valid = _both_tiers(pages, tiers, tables, rows.reshape(-1), counts)
    grouped = queries.float().reshape(sequences * kv_heads, -1, tiers.head_dim)
    logits = torch.where(valid[:, None], grouped @ keys.transpose(1, 2) * scale, -torch.inf)
    totals = logits.logsumexp(dim=-1)
    weights = torch.where(valid[:, None], (logits - totals[..., None]).exp(), 0.0)
    output = (weights @ values).reshape(queries.shape).to(queries.dtype)
    return output, totals.reshape(queries.shape[:-1])


def _both_tiers(
    pages: torch.Tensor, tiers: Tiers, tables: torch.Tensor, rows: torch.Tensor, counts: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Keys and values [rows, tokens, head_dim] of both tiers, and which of them are there: bool [rows, tokens]."""
    parts = []
    for tier in (HIGH, LOW):
        count = counts[rows.long(), tier]
        number = torch.arange(int(count.max()) if len(count) else 0, dtype=torch.int32, device=rows.device)
        valid = number < count[:, None]
        slots = torch.where(valid, number, 0)
        every = rows[:, None].expand_as(slots)
        keys, values, *_ = gather(pages, tiers, tier, tables, every.reshape(-1), slots.reshape(-1))
        shape = (*slots.shape, tiers.head_dim)
        # Where there is no token, no page may be either: what was read there is anything, also no number.
        parts.append(
            [torch.where(valid[..., None], vectors.reshape(shape), 0.0) for vectors in (keys, values)] + [valid]
        )
    keys, values, valid = (torch.cat(both, dim=1) for both in zip(*parts, strict=True))
    return keys, values, valid


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
