"""How much later tokens attend to a token: what decides in how many bits it is kept (LeanKV, "significance").

A token's significance for a KV head is the mean attention that later tokens pay to it, the highest among the query
heads of the head's group. Uniform attention of the token that follows position i is 1 / (i + 1), so the thresholds
are alpha / (i + 1); here all significance is multiplied by (i + 1) once ("relative"), so that thresholds are the
alphas and float16 holds it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]

HORIZON = 512
"""A running mean forgets beyond so many tokens: smaller steps would be lost in float16."""
LARGEST = np.float32(65504)


def prompt_significance(queries: F32, keys: F32, scale: float, block: int = 256) -> F32:
    """Return the relative significance of a prompt's tokens, from causal attention.

    Args:
        queries: float32 [tokens, query_heads, head_dim].
        keys: float32 [tokens, kv_heads, head_dim].
        scale: of the logits.
        block: queries at once.

    Returns:
        float32 [tokens, kv_heads]. The last token, to which no later one attends, gets what it pays to itself.
    """
    tokens, kv_heads, head_dim = keys.shape
    grouped = queries.reshape(tokens, kv_heads, -1, head_dim)
    received = np.zeros((kv_heads, grouped.shape[2], tokens), np.float64)
    for start in range(0, tokens, block):
        some = grouped[start : start + block]
        logits = np.einsum("qhgd,khd->hgqk", some, keys) * scale
        position = np.arange(start, start + len(some))
        logits[..., np.arange(tokens) > position[:, None]] = -np.inf
        weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
        weights /= weights.sum(axis=-1, keepdims=True)
        itself = np.arange(tokens) == position[:, None]
        received += np.where(itself & (position < tokens - 1)[:, None], 0.0, weights).sum(axis=2)
    later = np.maximum(tokens - 1 - np.arange(tokens), 1)
    return relative((received / later).max(axis=1).T, np.arange(tokens)[:, None])


def relative(significance: NDArray[np.floating], positions: NDArray[np.integer]) -> F32:
    """Multiply significance by position + 1, cut off to what a float16 holds."""
    return np.minimum(significance * (positions + 1), LARGEST).astype(np.float32)


def updated(scores: F32, weights: F32, positions: NDArray[np.integer], now: int) -> F32:
    """Take one more query into the running means.

    Args:
        scores: relative significance, float32 [...].
        weights: attention that the query at position ``now`` pays, the highest of each group, float32 [...].
        positions: of the tokens, int [...].
        now: the query's position; a token's own query changes nothing.

    Returns:
        the new relative significance, float32 [...].
    """
    age = np.clip(now - positions, 1, HORIZON).astype(np.float32)
    moved = scores + (relative(weights, positions) - scores) / age
    return np.where(positions < now, moved, scores).astype(np.float32)
