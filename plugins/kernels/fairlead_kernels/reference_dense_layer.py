"""A decoder layer without its attention, in NumPy: the reference for the native one, and the fallback."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
DRELU, RELU, SILU, GELU_TANH = range(4)


class DenseLayer:
    """See `fairlead_kernels.dense_layer.DenseLayer`; results are written into the arrays that are given."""

    def __init__(
        self,
        weights: Mapping[str, F32],
        heads: int,
        kv_heads: int,
        head_dim: int,
        epsilon: float,
        activation: int,
        threshold: float,
    ) -> None:
        self._weights, self._heads, self._kv_heads, self._dim = dict(weights), heads, kv_heads, head_dim
        self._epsilon, self._activation, self._threshold = np.float32(epsilon), activation, threshold
        hidden, neurons = weights["qkv"].shape[1], len(weights["inner"]) // 2
        wanted = {
            "qkv": ((heads + 2 * kv_heads) * head_dim, hidden),
            "o": (hidden, heads * head_dim),
            "inner": (2 * neurons, hidden),
            "down": (hidden, neurons),
            "input_norm": (hidden,),
            "post_norm": (hidden,),
            "qkv_bias": ((heads + 2 * kv_heads) * head_dim,),
            "q_norm": (head_dim,),
            "k_norm": (head_dim,),
            "o_bias": (hidden,),
            "inner_bias": (2 * neurons,),
            "down_bias": (hidden,),
        }
        for name, weight in self._weights.items():
            if weight.shape != wanted[name]:
                raise ValueError(f"{name}: must be {list(wanted[name])}")

    def before(self, hidden: F32, cosine: F32, sine: F32, queries: F32, keys: F32, values: F32) -> None:
        """Normalize, project, normalize the heads, turn them."""
        joined = self._project(self._norm(hidden, "input_norm"), "qkv")
        heads = joined.reshape(len(hidden), self._heads + 2 * self._kv_heads, self._dim)
        found = np.split(heads, [self._heads, self._heads + self._kv_heads], axis=1)
        for name, part, out in zip(("q_norm", "k_norm"), found[:2], (queries, keys), strict=True):
            first, second = np.split(self._norm(part, name) if name in self._weights else part, 2, axis=-1)
            cos, sin = cosine[:, None], sine[:, None]
            out[...] = np.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
        values[...] = found[2]

    def after(self, hidden: F32, seen: F32, out: F32) -> None:
        """Add the output projection, then the feed-forward network of the normalized sum."""
        state = hidden + self._project(seen.reshape(len(hidden), -1), "o")
        gate, up = np.split(self._project(self._norm(state, "post_norm"), "inner"), 2, axis=-1)
        out[...] = state + self._project(self._gated(gate, up), "down")

    def _gated(self, gate: F32, up: F32) -> F32:
        if self._activation in (DRELU, RELU):
            value = np.maximum(gate, 0)
            if self._activation == DRELU:
                up = np.maximum(up, 0)
        elif self._activation == SILU:
            value = gate / (1 + np.exp(-np.clip(gate, -80, None)))
        else:
            value = 0.5 * gate * (1 + np.tanh(np.float32(np.sqrt(2 / np.pi)) * (gate + 0.044715 * gate**3)))
        return (np.where(np.abs(value) > self._threshold, value, 0) * up).astype(np.float32)

    def _norm(self, x: F32, name: str) -> F32:
        squares = np.mean(np.square(x), axis=-1, keepdims=True, dtype=np.float32)
        return x / np.sqrt(squares + self._epsilon) * self._weights[name]

    def _project(self, x: F32, name: str) -> F32:
        product = x @ self._weights[name].T
        bias = self._weights.get(f"{name}_bias")
        return product if bias is None else product + bias
