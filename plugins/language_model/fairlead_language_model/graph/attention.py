"""Causal grouped-query attention, with or without a sliding window."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]


def attend(q: FloatArray, k: FloatArray, v: FloatArray, offset: int, window: int | None) -> FloatArray:
    """Return attention outputs [queries, heads, head_dim].

    q is [queries, heads, head_dim]; k and v are [keys, kv_heads, head_dim]. Query i stands at key position offset + i,
    sees the keys up to its own, and of those the last `window` where there is one.
    """
    queries, heads, head_dim = q.shape
    kv_heads = k.shape[1]
    grouped = q.reshape(queries, kv_heads, heads // kv_heads, head_dim).transpose(1, 2, 0, 3)
    scores = grouped @ k.transpose(1, 2, 0)[:, None] * np.float32(head_dim**-0.5)
    places: NDArray[np.int64] = np.arange(offset, offset + queries, dtype=np.int64)
    distance = places[:, None] - np.arange(k.shape[0], dtype=np.int64)
    hidden: NDArray[np.bool_] = (distance < 0) if window is None else (distance < 0) | (distance >= window)
    scores[:, :, hidden] = -np.inf
    weights = softmax(scores)
    return (weights @ v.transpose(1, 0, 2)[:, None]).transpose(2, 0, 1, 3).reshape(queries, heads, head_dim)


def softmax(x: FloatArray) -> FloatArray:
    """Return the softmax over the last axis."""
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)
