"""The kernels with checked arguments, on whichever backend is chosen."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels import reference
from fairlead_kernels.backend import extension
from fairlead_kernels.checks import activation_code, array_of, neuron_list, page_list, rows_of, threshold_value
from fairlead_kernels.native import NativeKernels
from fairlead_kernels.quantized import GROUP, Q8Matrix

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]


def kernels() -> Any:
    """Return what computes: the native kernels or the reference, behind the same signatures."""
    module = extension()
    return reference if module is None else NativeKernels(module)


def _matrix(name: str, value: Any, rows: int | None = None, columns: int | None = None) -> Q8Matrix:
    if not isinstance(value, Q8Matrix):
        raise ValueError(f"{name}: must be a Q8Matrix, got {type(value).__name__}")
    fits = rows in (None, value.shape[0]) and columns in (None, value.shape[1])
    if not fits:
        raise ValueError(f"{name}: must be [{rows or 'any'}, {columns or 'any'}], got {list(value.shape)}")
    return value


def quantize_q8(matrix: F32) -> Q8Matrix:
    """Quantize float32 [rows, columns] in groups of 32 columns; the same bits on every backend.

    Raises:
        ValueError: wrong type or shape, columns not a multiple of 32, or a value that is not finite
            or above 127 * 65504.
    """
    array_of("matrix", matrix, np.float32, (None, None))
    if matrix.shape[1] % GROUP:
        raise ValueError(f"matrix: columns must be a multiple of {GROUP}, got {matrix.shape[1]}")
    return kernels().quantize_q8(matrix)


def gemv_q8(matrix: Q8Matrix, x: F32) -> F32:
    """Multiply: float32 [columns] -> [rows]."""
    array_of("x", x, np.float32, (_matrix("matrix", matrix).shape[1],))
    return kernels().gemm_q8(matrix, x[None, :])[0]


def gemm_q8(matrix: Q8Matrix, x: F32) -> F32:
    """Multiply a batch: float32 [batch, columns] -> [batch, rows]; native rows equal gemv_q8's bit for bit."""
    array_of("x", x, np.float32, (None, _matrix("matrix", matrix).shape[1]))
    return kernels().gemm_q8(matrix, x)


def gemv_f32(matrix: F32, x: F32) -> F32:
    """Multiply float32 [rows, columns] by [columns] with NumPy's BLAS."""
    array_of("matrix", matrix, np.float32, (None, None))
    return matrix @ array_of("x", x, np.float32, (matrix.shape[1],))


def gemm_f32(matrix: F32, x: F32) -> F32:
    """Multiply [batch, columns] by the transpose of float32 [rows, columns] with NumPy's BLAS."""
    array_of("matrix", matrix, np.float32, (None, None))
    return array_of("x", x, np.float32, (None, matrix.shape[1])) @ matrix.T


def sparse_ffn_q8(
    gate: Q8Matrix,
    up: Q8Matrix,
    down_t: Q8Matrix,
    x: F32,
    activation: str = "drelu",
    *,
    threshold: float = 0.0,
    neurons: I32 | None = None,
) -> tuple[F32, int]:
    """Compute a gated feed-forward layer for one token and skip what the gate switches off.

    y = sum over neurons n of f(gate[n] . x) * g(up[n] . x) * down_t[n], with (f, g) by activation: drelu (relu,
    relu), relu (relu, 1), swiglu (silu, 1), geglu (tanh gelu, 1). Up and down rows of a neuron with f = 0 are
    not read; with threshold 0 that changes no bit of the result. A threshold above 0 also drops |f| <=
    threshold, which is lossy (CATS, Lee et al. 2024).

    Args:
        gate: [neurons, hidden].
        up: [neurons, hidden].
        down_t: [neurons, hidden_out]: the down projection transposed, so that a neuron's row is contiguous.
        x: float32 [hidden].
        activation: "drelu", "relu", "swiglu" or "geglu".
        threshold: what |f| must exceed for a neuron to be active.
        neurons: int32 indices, each at most once; only they are computed, and summed in this order. They may
            be a predictor's choice or the slots of a neuron cache. None means all.

    Returns:
        (y float32 [hidden_out], number of active neurons: those with f not zero).

    Raises:
        ValueError: an argument of the wrong type or shape. IndexError: a neuron that does not exist.
    """
    rows, columns = _matrix("gate", gate).shape
    _matrix("up", up, rows, columns)
    _matrix("down_t", down_t, rows)
    array_of("x", x, np.float32, (columns,))
    activation_code(activation)
    chosen = None if neurons is None else neuron_list(neurons, rows)
    y, active = kernels().sparse_ffn_q8(gate, up, down_t, x, activation, threshold_value(threshold), chosen)
    return y, active if isinstance(active, int) else len(active)


def rmsnorm(x: F32, weight: F32, epsilon: float = 1e-5) -> F32:
    """Normalize the last dimension of float32 [..., hidden] by its root mean square, times weight [hidden]."""
    rows_of("x", x)
    array_of("weight", weight, np.float32, (x.shape[-1],))
    return kernels().rmsnorm(x, weight, epsilon)


def layernorm(x: F32, weight: F32, bias: F32, epsilon: float = 1e-5) -> F32:
    """Normalize the last dimension of float32 [..., hidden] to mean 0 and variance 1, times weight, plus bias."""
    rows_of("x", x)
    array_of("weight", weight, np.float32, (x.shape[-1],))
    array_of("bias", bias, np.float32, (x.shape[-1],))
    return kernels().layernorm(x, weight, bias, epsilon)


def rope_inverse_frequency(head_dim: int, theta: float = 10000.0) -> F32:
    """Return theta^(-2 i / head_dim), float32 [head_dim / 2], in radians per position.

    Raises:
        ValueError: head_dim is odd or not positive, or theta is not positive.
    """
    if head_dim <= 0 or head_dim % 2 or not theta > 0:
        raise ValueError(f"head_dim must be even and positive and theta positive, got {head_dim} and {theta}")
    return reference.rope_inverse_frequency(head_dim, theta)


def rope(x: F32, positions: I32, theta: float = 10000.0, *, inverse_frequency: F32 | None = None) -> F32:
    """Rotate float32 [tokens, heads, head_dim] by int32 positions [tokens] (half-rotation layout).

    A model that scales its frequencies passes them as inverse_frequency float32 [head_dim / 2]; theta is
    not used then.
    """
    array_of("x", x, np.float32, (None, None, None))
    array_of("positions", positions, np.int32, (x.shape[0],))
    frequency = rope_inverse_frequency(x.shape[2], theta) if inverse_frequency is None else inverse_frequency
    if x.shape[2] % 2:
        raise ValueError(f"x: head_dim must be even, got {x.shape[2]}")
    array_of("inverse_frequency", frequency, np.float32, (x.shape[2] // 2,))
    chosen = kernels()
    return chosen.rope(x, *chosen.rope_angles(positions, frequency))


def softmax(x: F32) -> F32:
    """Softmax over the last dimension of float32 [..., n], n above 0."""
    return kernels().softmax(rows_of("x", x))


def paged_attention(query: F32, key_pages: F32, value_pages: F32, page_table: I32, length: int, scale: float) -> F32:
    """Attend from one token over the first ``length`` positions of a paged cache (grouped queries).

    Args:
        query: float32 [heads, head_dim]; head h reads key-value head h // (heads / kv_heads).
        key_pages: float32 [pages, page_size, kv_heads, head_dim].
        value_pages: like key_pages.
        page_table: int32; position p is at [page_table[p // page_size], p % page_size].
        length: positions to attend to, at least 1.
        scale: factor of the scores, usually head_dim ** -0.5.

    Returns:
        float32 [heads, head_dim].

    Raises:
        ValueError: wrong types or shapes. IndexError: the table is too short or names a page that is not there.
    """
    array_of("query", query, np.float32, (None, None))
    return paged_attention_prefill(query[None], key_pages, value_pages, page_table, length, scale)[0]


def paged_attention_prefill(
    query: F32, key_pages: F32, value_pages: F32, page_table: I32, first_length: int, scale: float
) -> F32:
    """Attend causally from float32 [tokens, heads, head_dim]; token t sees first_length + t positions.

    The tokens' own keys and values must already be in the pages. See :func:`paged_attention`.
    """
    array_of("query", query, np.float32, (None, None, None))
    tokens, heads, head_dim = query.shape
    array_of("key_pages", key_pages, np.float32, (None, None, None, head_dim))
    array_of("value_pages", value_pages, np.float32, key_pages.shape)
    pages, page_size, kv_heads, _ = key_pages.shape
    if not kv_heads or heads % kv_heads:
        raise ValueError(f"query: heads must be a multiple of the {kv_heads} key-value heads, got {heads}")
    if first_length < 1 or page_size < 1 or tokens < 1:
        raise ValueError(f"length, page_size, tokens: must be at least 1, got {first_length}, {page_size}, {tokens}")
    page_list(page_table, first_length + tokens - 1, pages, page_size)
    return kernels().attend(query, key_pages, value_pages, page_table, first_length, scale)
