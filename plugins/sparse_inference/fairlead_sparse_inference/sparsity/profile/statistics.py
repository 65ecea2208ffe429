"""Numbers about which neurons fire: skew, unions over a batch, reuse from token to token."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

BATCHES = (1, 2, 4, 8, 16, 32)
_MOST_GROUPS = 512


def gini(frequencies: NDArray[np.floating]) -> float:
    """Return the Gini coefficient of firing frequencies: 0 where all fire equally often, towards 1 where one does."""
    ordered = np.sort(frequencies).astype(np.float64)
    total = ordered.sum()
    if total == 0:
        return 0.0
    ranks = np.arange(1, len(ordered) + 1)
    return float((2 * (ranks * ordered).sum() / total - (len(ordered) + 1)) / len(ordered))


def hot_share(frequencies: NDArray[np.floating], covered: float = 0.8) -> float:
    """Return the share of neurons, the most frequent first, that make up a share of all activations (PowerInfer)."""
    ordered = np.sort(frequencies)[::-1].astype(np.float64)
    total = ordered.sum()
    if total == 0:
        return 0.0
    return float((np.searchsorted(np.cumsum(ordered), covered * total) + 1) / len(ordered))


def union_sizes(
    bits: NDArray[np.uint8], random: np.random.Generator | None, batches: Sequence[int] = BATCHES
) -> list[float]:
    """Return how many neurons fire for at least one of b tokens, on average, for each batch size b.

    Tokens are drawn at random, as from independent sequences; without a generator they follow one another, as in
    prefill or speculative decoding.
    """
    order = np.arange(len(bits)) if random is None else random.permutation(len(bits))
    return [_mean_union(bits, order, batch) for batch in batches]


def _mean_union(bits: NDArray[np.uint8], order: NDArray[np.int64], batch: int) -> float:
    groups = min(_MOST_GROUPS, len(order) // batch)
    if not groups:
        return float("nan")
    starts = np.linspace(0, len(order) - batch, groups).astype(np.int64)
    together = np.bitwise_or.reduce(bits[order[starts[:, None] + np.arange(batch)]], axis=1)
    return float(np.bitwise_count(together).sum(axis=1).mean())


def reuse(bits: NDArray[np.uint8], window: int, context: int) -> float:
    """Return the share of a token's firing neurons that fired for one of the `window` tokens before, too.

    Rows are consecutive tokens in sequences of `context`; the first `window` tokens of each are left out.
    """
    rows = bits[: len(bits) // context * context].reshape(-1, context, bits.shape[1])
    if not len(rows) or context <= window:
        return float("nan")
    # A few positions are enough, and keep this linear in the text.
    places = np.unique(np.linspace(window, context - 1, min(64, context - window)).astype(np.int64))
    kept = fired = 0
    for place in places:
        recent = np.bitwise_or.reduce(rows[:, place - window : place], axis=1)
        kept += int(np.bitwise_count(rows[:, place] & recent).sum())
        fired += int(np.bitwise_count(rows[:, place]).sum())
    return kept / fired if fired else float("nan")
