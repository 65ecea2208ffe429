"""The kernels in NumPy: what the native ones are tested against, and the announced fallback.

Arguments are taken as checked by :mod:`fairlead_kernels.ops`; everything is float32.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels.quantized import GROUP, Q8Matrix

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]

# Runs of smaller values are rounded to zeros: 127 / x must stay finite.
SMALLEST = np.float32(1e-30)


def quantize_q8(matrix: F32) -> Q8Matrix:
    """Round float32 [rows, columns] to int8 groups; the scale is the float16 next to max|x| / 127."""
    rows, columns = matrix.shape
    if not np.isfinite(matrix).all():
        at = int(np.flatnonzero(~np.isfinite(matrix))[0])
        raise ValueError(f"matrix: value {at} is not finite")
    groups = matrix.reshape(rows, columns // GROUP, GROUP)
    largest = np.abs(groups).max(axis=2, initial=0.0)
    scale = _scales(largest)
    divisor = np.where(scale == 0, np.float16(1), scale).astype(np.float32)[:, :, None]
    q = np.clip(np.rint(groups / divisor), -127, 127)
    q[scale == 0] = 0
    return Q8Matrix(q.astype(np.int8).reshape(rows, columns), scale)


def _scales(largest: F32) -> NDArray[np.float16]:
    with np.errstate(over="ignore"):
        scale = (largest / np.float32(127)).astype(np.float16)
    # Among subnormal scales the nearest one may be far too small for the largest value: take the next.
    clips = scale.astype(np.float32) * np.float32(127.5) < largest
    scale[clips] = np.nextafter(scale[clips], np.float16(np.inf))
    if np.isinf(scale).any():
        at = int(np.flatnonzero(np.isinf(scale))[0])
        raise ValueError(f"matrix: group {at} has a magnitude above 127 * 65504, whose scale does not fit a float16")
    return scale


def gemm_q8(matrix: Q8Matrix, x: F32) -> F32:
    """[batch, columns] times the matrix's transpose: [batch, rows]."""
    return x @ matrix.dequantize().T


def exponential(x: F32) -> F32:
    """exp in the kernels' range: 0 below -87.3, never above exp(88)."""
    with np.errstate(under="ignore"):
        return np.where(x < np.float32(-87.3), np.float32(0), np.exp(np.minimum(x, np.float32(88))))


def gate_function(gate: F32, activation: str, threshold: float = 0.0) -> F32:
    """Apply the gate's function; what is not above the threshold in magnitude becomes 0 (CATS, Lee et al. 2024)."""
    if activation in ("drelu", "relu"):
        value = np.maximum(gate, np.float32(0))
    elif activation == "swiglu":
        value = gate / (np.float32(1) + exponential(-gate))
    else:
        cube: F32 = gate * gate * gate * np.float32(0.044715)
        argument: F32 = (gate + cube) * np.float32(-1.5957691216057308)
        value = gate / (np.float32(1) + exponential(argument))
    return np.where(np.abs(value) > np.float32(threshold), value, np.float32(0))


def up_function(up: F32, activation: str) -> F32:
    """Apply the function of the up projection: max(0, x) for dReLU, else nothing."""
    return np.maximum(up, np.float32(0)) if activation == "drelu" else up


def sparse_ffn_q8(
    gate: Q8Matrix,
    up: Q8Matrix | None,
    down_t: Q8Matrix,
    x: F32,
    activation: str,
    threshold: float,
    neurons: I32 | None,
    gate_bias: F32 | None = None,
) -> tuple[F32, I32]:
    """Gate rows of the candidates, up and down rows of the active ones; returns (y, active neurons in order).

    Without up, the activations are the gate function's (a network without gate).
    """
    candidates = np.arange(gate.shape[0], dtype=np.int32) if neurons is None else neurons
    rows = gate if neurons is None else gate.take(neurons)
    gates = rows.dequantize() @ x
    weight = gate_function(gates if gate_bias is None else gates + gate_bias[candidates], activation, threshold)
    active, weight = candidates[weight != 0], weight[weight != 0]
    if up is not None:
        weight = weight * up_function(up.take(active).dequantize() @ x, activation)
    contributing = active[weight != 0]
    y = weight[weight != 0] @ down_t.take(contributing).dequantize()
    return y.astype(np.float32), active


def rmsnorm(x: F32, weight: F32, epsilon: float) -> F32:
    """x / sqrt(mean(x^2) + epsilon) * weight over the last dimension (Zhang and Sennrich 2019)."""
    mean: F32 = (x * x).mean(axis=-1, keepdims=True, dtype=np.float32)
    inverse: F32 = np.reciprocal(np.sqrt(mean + np.float32(epsilon)))
    return x * inverse * weight


def layernorm(x: F32, weight: F32, bias: F32, epsilon: float) -> F32:
    """(x - mean(x)) / sqrt(variance(x) + epsilon) * weight + bias over the last dimension (Ba et al. 2016)."""
    centred: F32 = x - x.mean(axis=-1, keepdims=True, dtype=np.float32)
    variance: F32 = (centred * centred).mean(axis=-1, keepdims=True, dtype=np.float32)
    inverse: F32 = np.reciprocal(np.sqrt(variance + np.float32(epsilon)))
    return centred * inverse * weight + bias


def rope_inverse_frequency(head_dim: int, theta: float) -> F32:
    """Radians per position of each pair: theta^(-2 i / head_dim) for i < head_dim / 2 (Su et al. 2021)."""
    return (1.0 / theta ** (np.arange(0, head_dim, 2, dtype=np.float64) / head_dim)).astype(np.float32)


def rope_angles(positions: I32, inverse_frequency: F32) -> tuple[F32, F32]:
    """Cosine and sine [tokens, head_dim / 2] of float32 angles, as Hugging Face computes them."""
    angle = positions.astype(np.float32)[:, None] * inverse_frequency[None, :]
    return np.cos(angle), np.sin(angle)


def rope(x: F32, cosine: F32, sine: F32) -> F32:
    """Rotate [tokens, heads, head_dim]; dimension i pairs with i + head_dim / 2 (Hugging Face layout)."""
    half = x.shape[-1] // 2
    low: F32 = x[..., :half]
    high: F32 = x[..., half:]
    c: F32 = cosine[:, None, :]
    s: F32 = sine[:, None, :]
    real, imaginary = low * c, high * c
    real -= high * s
    imaginary += low * s
    return np.concatenate((real, imaginary), axis=-1)


def softmax(x: F32) -> F32:
    """exp(x - max x), normalized over the last dimension."""
    shift: F32 = x.max(axis=-1, keepdims=True)
    weight = exponential(x - shift)
    total: F32 = weight.sum(axis=-1, keepdims=True, dtype=np.float32)
    return weight / total


def attend(query: F32, keys: F32, values: F32, page_table: I32, first_length: int, scale: float) -> F32:
    """Causal attention of [tokens, heads, head_dim] over pages; token t sees first_length + t positions."""
    tokens, heads, head_dim = query.shape
    length = first_length + tokens - 1
    page_size, kv_heads = keys.shape[1], keys.shape[2]
    table = page_table[: -(-length // page_size)]
    k = keys[table].reshape(-1, kv_heads, head_dim)[:length]
    v = values[table].reshape(-1, kv_heads, head_dim)[:length]
    grouped = query.reshape(tokens, kv_heads, heads // kv_heads, head_dim)
    scores = np.einsum("tkgd,pkd->tkgp", grouped, k) * np.float32(scale)
    seen: NDArray[np.int64] = first_length + np.arange(tokens, dtype=np.int64)
    future: NDArray[np.bool_] = np.arange(length, dtype=np.int64) >= seen[:, None]
    weight = softmax(np.where(future[:, None, None, :], np.float32(-np.inf), scores))
    return np.ascontiguousarray(np.einsum("tkgp,pkd->tkgd", weight, v).reshape(tokens, heads, head_dim))


def quantize_heads(x: F32) -> tuple[NDArray[np.int8], F32]:
    """Round float32 [..., head_dim] to int8 with the scale max|x| / 127 a head; not finite gives zeros and NaN."""
    largest: F32 = np.abs(x).max(axis=-1, initial=0.0)
    finite = np.isfinite(largest)
    counts = finite & (largest >= SMALLEST)
    inverse = np.zeros_like(largest)
    np.divide(np.float32(127), largest, out=inverse, where=counts)
    scale: F32 = np.where(counts, largest / np.float32(127), np.float32(0)).astype(np.float32)
    scale[~finite] = np.nan
    q = np.rint(np.where(counts[..., None], x, np.float32(0)) * inverse[..., None])
    return q.astype(np.int8), scale


def attend_int8(
    query: F32,
    keys: NDArray[np.int8],
    key_scale: F32,
    values: NDArray[np.int8],
    value_scale: F32,
    page_table: I32,
    first_length: int,
    scale: float,
) -> F32:
    """:func:`attend` over int8 pages with scales [pages, page_size, kv_heads]."""
    used = page_table[: -(-(first_length + query.shape[0] - 1) // keys.shape[1])]
    k = keys[used].astype(np.float32) * key_scale[used][..., None]
    v = values[used].astype(np.float32) * value_scale[used][..., None]
    return attend(query, k, v, np.arange(len(used), dtype=np.int32), first_length, scale)
