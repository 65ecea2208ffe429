"""A decoder layer of float32 matrices without its attention: what comes before it, and what comes after.

Whoever calls keeps keys and values wherever and however they like, and computes attention between the two calls.
Native results depend neither on the number of threads nor on which tokens are computed together.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels import reference_dense_layer as reference
from fairlead_kernels.backend import extension
from fairlead_kernels.checks import array_of

F32 = NDArray[np.float32]
ACTIVATIONS = ("drelu", "relu", "silu", "gelu_tanh")
MATRICES = ("qkv", "o", "inner", "down")
NORMS = ("input_norm", "post_norm")
OPTIONAL = ("qkv_bias", "q_norm", "k_norm", "o_bias", "inner_bias", "down_bias")


class DenseLayer:
    """The weights of a layer; they are not copied, and must not move.

    Args:
        weights: float32, contiguous: `input_norm`, `post_norm` [hidden]; `qkv` [(heads + 2 kv_heads) * head_dim,
            hidden], queries, keys and values below each other; `o` [hidden, heads * head_dim]; `inner` [2 * neurons,
            hidden], gate and up; `down` [hidden, neurons]; where the model has them `q_norm`, `k_norm` [head_dim] and
            `qkv_bias`, `o_bias`, `inner_bias`, `down_bias`.
        heads: of queries.
        kv_heads: of keys and values; divides heads.
        head_dim: even.
        epsilon: of the normalizations.
        activation: one of ACTIVATIONS; "drelu" gates with relu on both sides.
        threshold: gates whose magnitude is not above it are zero.

    Raises:
        ValueError: an array is missing, or has another type or shape.
    """

    def __init__(
        self,
        weights: Mapping[str, F32],
        *,
        heads: int,
        kv_heads: int,
        head_dim: int,
        epsilon: float,
        activation: str = "silu",
        threshold: float = 0.0,
    ) -> None:
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation {activation!r}: accepted: {', '.join(ACTIVATIONS)}")
        for name in (*MATRICES, *NORMS):
            if name not in weights:
                raise ValueError(f"weights: {name} is missing")
        known = {name: weights[name] for name in (*MATRICES, *NORMS, *OPTIONAL) if name in weights}
        for name, weight in known.items():
            array_of(name, weight, np.float32, (None, None) if name in MATRICES else (None,))
        self.heads, self.kv_heads, self.head_dim = heads, kv_heads, head_dim
        self.hidden = known["qkv"].shape[1]
        settings = (heads, kv_heads, head_dim, epsilon, ACTIVATIONS.index(activation), threshold)
        module = extension()
        if hasattr(module, "DenseLayer"):
            self._native: Any = module.DenseLayer(known, *settings)
        else:
            self._native = reference.DenseLayer(known, *settings)

    def before(self, hidden: F32, cosine: F32, sine: F32) -> tuple[F32, F32, F32]:
        """Return queries [tokens, heads, head_dim], keys and values [tokens, kv_heads, head_dim], turned.

        Args:
            hidden: [tokens, hidden].
            cosine: [tokens, head_dim / 2].
            sine: likewise.
        """
        tokens = len(hidden)
        queries = np.empty((tokens, self.heads, self.head_dim), np.float32)
        keys, values = (np.empty((tokens, self.kv_heads, self.head_dim), np.float32) for _ in range(2))
        self._native.before(hidden, cosine, sine, queries, keys, values)
        return queries, keys, values

    def after(self, hidden: F32, seen: F32) -> F32:
        """Return the layer's output [tokens, hidden] of its input and its attention's [tokens, heads, head_dim]."""
        out = np.empty_like(hidden)
        self._native.after(hidden, seen, out)
        return out


def multiply_floats(matrix: F32, x: F32) -> F32:
    """Multiply [batch, columns] by the transpose of float32 [rows, columns], on the kernels' own threads."""
    array_of("matrix", matrix, np.float32, (None, None))
    array_of("x", x, np.float32, (None, matrix.shape[1]))
    module = extension()
    if not hasattr(module, "multiply_floats"):
        return x @ matrix.T
    out = np.empty((len(x), len(matrix)), np.float32)
    module.multiply_floats(matrix, x, out)
    return out
