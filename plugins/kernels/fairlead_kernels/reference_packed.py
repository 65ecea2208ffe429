"""The kernels over packed weights in NumPy, with the integer arithmetic of the native ones.

Arguments are taken as checked by :mod:`fairlead_kernels.ops_packed`. Activations are rounded to int8 in groups of 32
with one float32 scale each; a group's dot product is an exact integer; only the sum over groups is float32, so that
native results differ in the order of that sum alone.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels.packed import PackedMatrix, assemble, pack_q8
from fairlead_kernels.quantized import GROUP
from fairlead_kernels.reference import gate_function, quantize_heads, quantize_q8, up_function

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]


def quantize_activations(x: F32) -> tuple[F32, F32]:
    """Round float32 [batch, columns] to integers in -127..127 and scales [batch, columns / 32].

    A group with a value that is not finite gets the scale NaN, so that every sum over it is NaN.
    """
    q, scale = quantize_heads(x.reshape(x.shape[0], x.shape[1] // GROUP, GROUP))
    return q.astype(np.float32), scale


def pack(matrix: F32, bits: int) -> PackedMatrix:
    """Round float32 [rows, columns] to packed weights of 4 or 8 bits."""
    return pack_q8(quantize_q8(matrix)) if bits == 8 else _pack4(matrix)


def _pack4(matrix: F32) -> PackedMatrix:
    """Q4_0: the value of largest magnitude becomes -8 exactly (up to the scale's rounding to float16)."""
    rows, columns = matrix.shape
    if not np.isfinite(matrix).all():
        at = int(np.flatnonzero(~np.isfinite(matrix))[0])
        raise ValueError(f"matrix: value {at} is not finite")
    groups = matrix.reshape(rows, columns // GROUP, GROUP)
    at = np.abs(groups).argmax(axis=2)[:, :, None]
    with np.errstate(over="ignore"):
        scale = (np.take_along_axis(groups, at, axis=2)[:, :, 0] / np.float32(-8)).astype(np.float16)
    if np.isinf(scale).any():
        at = int(np.flatnonzero(np.isinf(scale))[0])
        raise ValueError(f"matrix: group {at} has a magnitude above 8 * 65504, whose scale does not fit a float16")
    divisor = np.where(scale == 0, np.float16(1), scale).astype(np.float32)[:, :, None]
    q = np.clip(np.rint(groups / divisor), -8, 7) + np.float32(8)
    q[scale == 0] = 8
    return assemble(q.astype(np.uint8).reshape(rows, columns), scale, 4)


def gemm_packed(matrix: PackedMatrix, x: F32) -> F32:
    """[batch, columns] times the matrix's transpose: [batch, rows]."""
    q, scale = quantize_activations(x)
    return multiply_quantized(matrix, q, scale)


def multiply_quantized(matrix: PackedMatrix, q: F32, scale: F32) -> F32:
    """The product with quantized activations [batch, groups, 32] and their scales [batch, groups]."""
    rows, columns = matrix.shape
    weights = matrix.values().reshape(rows, columns // GROUP, GROUP).astype(np.float32)
    # At most 32 * 128 * 127 < 2^24 in magnitude: exact in float32 whatever the order.
    dots: F32 = np.matmul(weights.transpose(1, 0, 2), q.transpose(1, 2, 0))
    factors = matrix.scales().astype(np.float32).T[:, :, None] * scale.T[:, None, :]
    return np.ascontiguousarray((dots * factors).sum(axis=0, dtype=np.float32).T)


def sum_rows_packed(matrix: PackedMatrix, rows: I32, weight: F32) -> F32:
    """out[b] = sum_i weight[b, i] * matrix[rows[i]]: [batch, columns]."""
    return (weight @ matrix.take(rows).dequantize()).astype(np.float32)


def dequantize_packed(matrix: PackedMatrix) -> F32:
    """The float32 [rows, columns] that the matrix stands for."""
    return matrix.dequantize()


def sparse_ffn_packed(
    gate: PackedMatrix,
    up: PackedMatrix,
    down_t: PackedMatrix,
    x: F32,
    activation: str,
    threshold: float,
    neurons: I32 | None,
) -> tuple[F32, int]:
    """The candidates' feed-forward of float32 [tokens, hidden]; returns (y, active neurons summed over tokens)."""
    y, fired = feed_forward(gate, up, down_t, x, activation, threshold, neurons)
    return y, int(np.count_nonzero(fired))


def feed_forward(
    gate: PackedMatrix,
    up: PackedMatrix | None,
    down_t: PackedMatrix,
    x: F32,
    activation: str,
    threshold: float,
    neurons: I32 | None,
    gate_bias: F32 | None = None,
) -> tuple[F32, NDArray[np.bool_]]:
    """The same; returns (y, which candidates were active [tokens, candidates]).

    Without up, the activations are the gate function's (a network without gate).
    """
    candidates = np.arange(gate.shape[0], dtype=np.int32) if neurons is None else neurons
    q, scale = quantize_activations(x)
    gates = multiply_quantized(gate.take(candidates), q, scale)
    weight = gate_function(gates if gate_bias is None else gates + gate_bias[candidates], activation, threshold)
    active = np.flatnonzero((weight != 0).any(axis=0))
    if up is None:
        return sum_rows_packed(down_t, candidates[active], weight[:, active]), weight != 0
    product = np.zeros_like(weight)
    product[:, active] = up_function(multiply_quantized(up.take(candidates[active]), q, scale), activation)
    product = np.where(weight != 0, weight * product, np.float32(0))
    return sum_rows_packed(down_t, candidates[active], product[:, active]), weight != 0
