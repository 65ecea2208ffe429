"""The kernels in NumPy: quantize and write, paged decode attention over both tiers.

Arrays that all backends take:
    pages: uint8 [pages, page_bytes], the arena.
    tables: int32 [rows, width], page numbers; see `tiers`.
    rows: int32 [sequences, kv_heads], the table row of each sequence and KV head.
    counts: int32 [rows, 2], tokens in the high and the low tier of each table row.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .quantization import LARGEST, dequantize, quantize
from .segments import FLOATS, Pages, segments
from .significance import updated
from .tiers import HIGH, LOW, Tiers, places

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]


def write(
    pages: Pages,
    tiers: Tiers,
    tier: int,
    tables: I32,
    rows: I32,
    slots: I32,
    keys: F32,
    values: F32,
    scores: F32,
    positions: I32,
) -> None:
    """Quantize keys and values to a tier's format and store them.

    Args:
        pages: see above; written.
        tiers: the layouts.
        tier: HIGH or LOW.
        tables: see above.
        rows: int32 [tokens, kv_heads], the table row that each vector goes to.
        slots: int32 [tokens, kv_heads], the vector's number within the tier; negative: not written.
        keys: float [tokens, kv_heads, head_dim].
        values: likewise.
        scores: float32 [tokens, kv_heads].
        positions: int32 [tokens].
    """
    layout = tiers.layout(tier)
    token, head = np.nonzero(slots >= 0)
    column, slot = places(tables.shape[1], layout, tier, slots[token, head])
    at = (tables[rows[token, head], column], slot)
    stored = segments(pages, layout)
    for vectors, target, meta, bits in (
        (keys, stored.keys, stored.key_meta, layout.format.key_bits),
        (values, stored.values, stored.value_meta, layout.format.value_bits),
    ):
        chosen = vectors[token, head].astype(np.float32)
        if meta is None:
            target[at] = (np.clip(chosen, -LARGEST, LARGEST) if bits == 16 else chosen).astype(FLOATS[bits])
        else:
            target[at], scale, zero = quantize(chosen, bits)
            meta[at] = np.stack([scale, zero], axis=-1)
    stored.scores[at] = scores[token, head]
    stored.positions[at] = positions[token]


def read(pages: Pages, tiers: Tiers, tier: int, table: I32, count: int) -> tuple[F32, F32, NDArray[np.float16], I32]:
    """Return keys and values float32 [count, head_dim], scores and positions of a tier's tokens in one table row."""
    return gather(pages, tiers, tier, table[None], np.zeros(count, np.int32), np.arange(count, dtype=np.int32))


def gather(
    pages: Pages, tiers: Tiers, tier: int, tables: I32, rows: I32, slots: I32
) -> tuple[F32, F32, NDArray[np.float16], I32]:
    """Return keys and values float32 [tokens, head_dim], scores and positions of single tokens, wherever they stand.

    Args:
        pages: see above.
        tiers: the layouts.
        tier: HIGH or LOW.
        tables: see above.
        rows: int32 [tokens].
        slots: int32 [tokens], the token's number within the row's tier.
    """
    layout = tiers.layout(tier)
    column, slot = places(tables.shape[1], layout, tier, slots)
    at = (tables[rows, column], slot)
    stored = segments(pages, layout)

    def vectors(source: NDArray, meta: NDArray[np.float16] | None, bits: int) -> F32:
        if meta is None:
            return source[at].astype(np.float32)
        return dequantize(source[at], meta[at][..., 0], meta[at][..., 1], bits)

    keys = vectors(stored.keys, stored.key_meta, layout.format.key_bits)
    values = vectors(stored.values, stored.value_meta, layout.format.value_bits)
    return keys, values, stored.scores[at], stored.positions[at]


def copy_slots(pages: Pages, tiers: Tiers, tier: int, tables: I32, rows: I32, sources: I32, targets: I32) -> None:
    """Copy a token within its tier as it is, in each of some rows, each mentioned once.

    Args:
        pages: see above; written.
        tiers: the layouts.
        tier: HIGH or LOW.
        tables: see above.
        rows: int32 [copies].
        sources: int32 [copies], numbers within the tier; negative: nothing is copied.
        targets: int32 [copies], likewise.
    """
    done = (sources >= 0) & (targets >= 0)
    rows, sources, targets = rows[done], sources[done], targets[done]
    layout, width = tiers.layout(tier), tables.shape[1]
    (source_column, source_slot), (target_column, target_slot) = (
        places(width, layout, tier, numbers) for numbers in (sources, targets)
    )
    stored = segments(pages, layout)
    for segment in (
        stored.keys,
        stored.key_meta,
        stored.values,
        stored.value_meta,
        stored.scores,
        stored.positions,
    ):
        if segment is not None:
            segment[tables[rows, target_column], target_slot] = segment[tables[rows, source_column], source_slot]


def update_scores(
    queries: F32,
    pages: Pages,
    tiers: Tiers,
    tables: I32,
    rows: I32,
    counts: I32,
    scale: float,
    now: I32,
    holders: I32 | None = None,
) -> None:
    """Take the attention of one query per sequence into the scores of all its tokens (`significance.updated`).

    Args:
        queries: see `attend`.
        pages: see above; scores are written.
        tiers: the layouts.
        tables: see above.
        rows: see above.
        counts: see above.
        scale: of the logits.
        now: int32 [sequences], the queries' positions.
        holders: int32 [pages], how many hold each page: shared ones keep their scores. None: no page is shared.
    """
    sequences, kv_heads = rows.shape
    grouped = queries.astype(np.float32).reshape(sequences, kv_heads, -1, tiers.head_dim)
    _, totals = attend(queries, pages, tiers, tables, rows, counts, scale)
    totals = totals.reshape(grouped.shape[:-1])
    for sequence, head, tier in np.ndindex(sequences, kv_heads, 2):
        row, layout = rows[sequence, head], tiers.layout(tier)
        keys, _, scores, positions = read(pages, tiers, tier, tables[row], counts[row, tier])
        logits = grouped[sequence, head] @ keys.T * np.float32(scale)
        weights = np.exp(logits - totals[sequence, head][:, None]).max(axis=0)
        column, slot = places(tables.shape[1], layout, tier, np.arange(len(keys)))
        moved = updated(scores.astype(np.float32), weights, positions, int(now[sequence]))
        page = tables[row][column]
        if holders is not None:
            moved = np.where(holders[page] > 1, scores, moved)
        segments(pages, layout).scores[page, slot] = moved


def attend(
    queries: F32,
    pages: Pages,
    tiers: Tiers,
    tables: I32,
    rows: I32,
    counts: I32,
    scale: float,
    *,
    starts: I32 | None = None,
    window: int | None = None,
    positions: I32 | None = None,
) -> tuple[F32, F32]:
    """Attention over the tokens of both tiers (grouped queries: Ainslie et al. 2023).

    Args:
        queries: float [queries, query_heads, head_dim]; query head h reads KV head h // (query_heads / kv_heads).
        pages: see above.
        tiers: the layouts.
        tables: see above.
        rows: see above.
        counts: see above.
        scale: of the logits, as a rule head_dim^-1/2.
        starts: int32 [sequences + 1], the first query of each sequence and the end of the last. None: one each.
        window: only tokens less than so many positions before the query are seen (sliding window). None: all are.
        positions: int32 [queries], of the queries; needed with a window.

    Returns:
        float32 [queries, query_heads, head_dim]; and the logarithm of the sum of the exponentials of all logits,
        float32 [queries, query_heads]: what is needed to combine this with attention over other tokens, elsewhere
        (see `merging`). A query that sees nothing gives zeros and minus infinity.
    """
    starts = np.arange(len(rows) + 1, dtype=np.int32) if starts is None else starts
    kv_heads = rows.shape[1]
    grouped = queries.astype(np.float32).reshape(len(queries), kv_heads, queries.shape[1] // kv_heads, tiers.head_dim)
    output = np.zeros_like(grouped)
    total = np.full(grouped.shape[:-1], -np.inf, np.float32)
    for sequence, head in np.ndindex(rows.shape):
        row, asked = rows[sequence, head], slice(starts[sequence], starts[sequence + 1])
        parts = [read(pages, tiers, tier, tables[row], counts[row, tier]) for tier in (HIGH, LOW)]
        keys, values, _, stored = (np.concatenate(all_of) for all_of in zip(*parts, strict=True))
        seen = np.ones((len(grouped[asked]), len(keys)), bool)
        if window is not None:
            seen &= positions[asked, None] - stored < window
        output[asked, head], total[asked, head], _ = _attended(grouped[asked, head], keys, values, seen, scale)
    return output.reshape(queries.shape), total.reshape(queries.shape[:-1])


def attend_chunks(
    queries: F32,
    starts: I32,
    stored: I32,
    pages: Pages,
    tiers: Tiers,
    tables: I32,
    rows: I32,
    scale: float,
    *,
    window: int | None = None,
    received: Sequence[F32 | None] | None = None,
) -> tuple[F32, F32]:
    """Causal attention of chunks of sequences, whose own keys and values stand in the high tier behind the others.

    Token t of a chunk sees the slots 0 .. stored + t of its rows, in whatever order of positions tokens stand there.

    Args:
        queries: float [tokens, query_heads, head_dim], the chunks of all sequences one after the other.
        starts: int32 [sequences + 1], the first token of each chunk and the end of the last.
        stored: int32 [sequences], tokens that a sequence's rows held before the chunk.
        pages: see above.
        tiers: the layouts.
        tables: see above.
        rows: see above.
        scale: of the logits.
        window: only tokens less than so many positions before the query are seen; positions are the stored ones.
        received: for each sequence None, or float32 [query_heads, stored + chunk]: to each slot the attention is added
            that it gets from tokens of the chunk other than the one that stands in it.

    Returns:
        as `attend`.
    """
    kv_heads = rows.shape[1]
    grouped = queries.astype(np.float32).reshape(len(queries), kv_heads, queries.shape[1] // kv_heads, tiers.head_dim)
    output = np.zeros_like(grouped)
    total = np.full(grouped.shape[:-1], -np.inf, np.float32)
    for sequence, head in np.ndindex(rows.shape):
        asked = slice(starts[sequence], starts[sequence + 1])
        own = stored[sequence] + np.arange(starts[sequence + 1] - starts[sequence])
        if not len(own):
            continue
        slots = np.arange(stored[sequence] + len(own))
        keys, values, _, positions = read(pages, tiers, HIGH, tables[rows[sequence, head]], len(slots))
        seen = slots <= own[:, None]
        if window is not None:
            seen &= positions[own, None] - positions < window
        output[asked, head], total[asked, head], weights = _attended(grouped[asked, head], keys, values, seen, scale)
        into = None if received is None else received[sequence]
        if into is not None:
            group = weights.shape[1]
            weights[np.arange(len(own)), :, own] = 0
            into[head * group : (head + 1) * group] += weights.sum(axis=0)
    return output.reshape(queries.shape), total.reshape(queries.shape[:-1])


def _attended(queries: F32, keys: F32, values: F32, seen: NDArray[np.bool_], scale: float) -> tuple[F32, F32, F32]:
    """Attention of queries [queries, group, head_dim], each over the tokens that it sees: bool [queries, tokens].

    Returns the output, the logarithms of the sums, and the weights float32 [queries, group, tokens].
    """
    logits = np.where(seen[:, None], queries @ keys.T * np.float32(scale), np.float32(-np.inf))
    largest = logits.max(axis=-1, keepdims=True, initial=-np.inf)
    # Of a query that sees nothing all logits are minus infinity: 0 keeps the difference a number.
    weights = np.exp(logits - np.where(np.isneginf(largest), np.float32(0), largest))
    summed = weights.sum(axis=-1, keepdims=True)
    weights /= np.maximum(summed, np.finfo(np.float32).tiny)
    with np.errstate(divide="ignore"):
        return weights @ values, (np.log(summed) + largest)[..., 0], weights
