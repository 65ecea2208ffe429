"""Pages filled at random, as sequences leave them: both tiers, rows of different lengths, scattered pages."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fairlead_elastic_serving.arena.allocation import fill
from fairlead_elastic_serving.kernels import reference
from fairlead_elastic_serving.kernels.tiers import HIGH, LOW, Tiers

F32 = np.ndarray


@dataclass
class MixedPages:
    """An arena of some sequences, and the keys and values that were written to it."""

    tiers: Tiers
    pages: np.ndarray
    tables: np.ndarray
    rows: np.ndarray
    counts: np.ndarray
    keys: list[list[tuple[F32, F32]]]
    """By table row and tier: the keys and the values [tokens, head_dim] before they were rounded."""

    @property
    def longest(self) -> tuple[int, int]:
        return tuple(int(count) for count in self.counts.max(axis=0))  # type: ignore[return-value]


def empty_pages(tiers: Tiers, counts: np.ndarray, random: np.random.Generator) -> MixedPages:
    """Tables for token counts [sequences, kv_heads, 2] over pages in random order, filled with noise."""
    sequences, kv_heads, _ = counts.shape
    flat = counts.reshape(-1, 2)
    needed = tiers.pages_for(flat)
    width = max(1, int(needed.sum(axis=1).max()))
    order = random.permutation(int(needed.sum()) + 3).astype(np.int32)
    tables = np.zeros((len(flat), width), np.int32)
    rows = random.permutation(len(flat)).astype(np.int32)
    nothing = np.zeros(len(flat), np.int64)
    fill(tables, rows, nothing, needed[:, HIGH].astype(np.int32), order[: needed[:, HIGH].sum()], from_right=False)
    rest = order[needed[:, HIGH].sum() : needed.sum()]
    fill(tables, rows, nothing, needed[:, LOW].astype(np.int32), rest, from_right=True)
    by_row = np.zeros_like(flat, dtype=np.int32)
    by_row[rows] = flat
    pages = random.integers(0, 256, (len(order), tiers.page_bytes), dtype=np.uint8)
    return MixedPages(tiers, pages, tables, rows.reshape(sequences, kv_heads), by_row, [[] for _ in flat])


def write_arguments(mixed: MixedPages, tier: int, random: np.random.Generator) -> tuple[np.ndarray, ...]:
    """What `write` takes after the tables to fill a tier: rows, slots, keys, values, scores, positions."""
    sequences = len(mixed.rows)
    parts = []
    for sequence in range(sequences):
        counts = mixed.counts[mixed.rows[sequence], tier]
        tokens = int(counts.max(initial=0))
        slots = np.where(np.arange(tokens)[:, None] < counts, np.arange(tokens)[:, None], -1)
        # In no order, as tokens come that are chosen by their significance.
        parts.append((np.broadcast_to(mixed.rows[sequence], slots.shape), random.permuted(slots, axis=0)))
    rows = np.ascontiguousarray(np.concatenate([part[0] for part in parts]), np.int32)
    slots = np.ascontiguousarray(np.concatenate([part[1] for part in parts]), np.int32)
    shape = (*slots.shape, mixed.tiers.head_dim)
    keys = random.normal(0, 1, shape) * random.uniform(0.2, 3, shape[-1]) + random.normal(0, 1, shape[-1])
    values = random.normal(0, 1, shape)
    return (
        rows,
        slots,
        keys.astype(np.float32),
        values.astype(np.float32),
        random.uniform(0, 4, slots.shape).astype(np.float32),
        np.arange(len(slots), dtype=np.int32),
    )


def mixed_pages(tiers: Tiers, counts: np.ndarray, random: np.random.Generator) -> MixedPages:
    """Fill both tiers with the reference's `write`."""
    mixed = empty_pages(tiers, counts, random)
    for tier in (HIGH, LOW):
        arguments = write_arguments(mixed, tier, random)
        reference.write(mixed.pages, tiers, tier, mixed.tables, *arguments)
        rows, slots, keys, values = arguments[:4]
        for row in range(len(mixed.tables)):
            at = np.nonzero((rows == row) & (slots >= 0))
            order = np.argsort(slots[at])
            mixed.keys[row].append((keys[at][order], values[at][order]))
    return mixed
