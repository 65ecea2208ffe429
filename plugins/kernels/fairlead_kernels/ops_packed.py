"""The kernels over packed weights with checked arguments, on whichever backend is chosen."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels import reference_packed
from fairlead_kernels.backend import extension
from fairlead_kernels.checks import activation_code, array_of, indices_below, neuron_list, threshold_value
from fairlead_kernels.native import NativeKernels
from fairlead_kernels.packed import PackedMatrix, packed_row_bytes

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]


def _kernels() -> Any:
    module = extension()
    return reference_packed if module is None else NativeKernels(module)


def packed_matrix(name: str, value: Any, rows: int | None = None, columns: int | None = None) -> PackedMatrix:
    """Return ``value`` if it is a packed matrix of that shape (None: any size), else raise ValueError."""
    if not isinstance(value, PackedMatrix):
        raise ValueError(f"{name}: must be a PackedMatrix, got {type(value).__name__}")
    if rows not in (None, value.shape[0]) or columns not in (None, value.shape[1]):
        wanted = ["any" if size is None else size for size in (rows, columns)]
        raise ValueError(f"{name}: must be [{wanted[0]}, {wanted[1]}], got {list(value.shape)}")
    return value


def pack(matrix: F32, bits: int) -> PackedMatrix:
    """Quantize float32 [rows, columns] to 4 or 8 bits in groups of 32 columns; the same bits on every backend.

    With 4 bits as GGUF's Q4_0 does (the value of largest magnitude maps to -8), with 8 bits as quantize_q8.

    Raises:
        ValueError: wrong type or shape, bits neither 4 nor 8, columns not a positive multiple of 32, or a value
            that is not finite or too large for a float16 scale.
    """
    array_of("matrix", matrix, np.float32, (None, None))
    packed_row_bytes(matrix.shape[1], bits)
    return _kernels().pack(matrix, bits)


def gemv_packed(matrix: PackedMatrix, x: F32) -> F32:
    """Multiply: float32 [columns] -> [rows]. The activations are rounded to int8 in groups of 32 first."""
    array_of("x", x, np.float32, (packed_matrix("matrix", matrix).columns,))
    return _kernels().gemm_packed(matrix, x[None, :])[0]


def gemm_packed(matrix: PackedMatrix, x: F32) -> F32:
    """Multiply a batch: float32 [batch, columns] -> [batch, rows]; native rows equal gemv_packed's bit for bit."""
    array_of("x", x, np.float32, (None, packed_matrix("matrix", matrix).columns))
    return _kernels().gemm_packed(matrix, x)


def sum_rows_packed(matrix: PackedMatrix, rows: I32, weight: F32) -> F32:
    """Return sum_i weight[i] * matrix[rows[i]], float32 [columns], summed in the order of the list.

    Args:
        matrix: [any, columns].
        rows: int32 [n]; a row may occur several times.
        weight: float32 [n].

    Raises:
        ValueError: wrong types or shapes. IndexError: a row that does not exist.
    """
    packed_matrix("matrix", matrix)
    array_of("rows", rows, np.int32, (None,))
    array_of("weight", weight, np.float32, rows.shape)
    indices_below("rows", rows, matrix.shape[0])
    return _kernels().sum_rows_packed(matrix, rows, weight[None])[0]


def dequantize_packed(matrix: PackedMatrix) -> F32:
    """Return the float32 [rows, columns] that the matrix stands for, exact; PackedMatrix.dequantize on the backend."""
    return _kernels().dequantize_packed(packed_matrix("matrix", matrix))


def sparse_ffn_packed(
    gate: PackedMatrix,
    up: PackedMatrix,
    down_t: PackedMatrix,
    x: F32,
    activation: str = "drelu",
    *,
    threshold: float = 0.0,
    neurons: I32 | None = None,
) -> tuple[F32, int]:
    """Compute a gated feed-forward layer over packed weights; see :func:`sparse_ffn_q8`.

    The input is rounded to int8 in groups of 32; what the gate and the up projection give stays float32. The three
    matrices may be views of one array of bundles (gate row | up row | down row of each neuron). One token skips
    what its gate switches off; several tokens compute all candidates, with the same bits for each token.

    Args:
        gate: [neurons, hidden].
        up: [neurons, hidden].
        down_t: [neurons, hidden_out].
        x: float32 [hidden] or [tokens, hidden].
        activation: "drelu", "relu", "swiglu" or "geglu".
        threshold: what the gate's magnitude must exceed for a neuron to be active.
        neurons: int32 indices, each at most once; only they are computed, and summed in this order. None means all.

    Returns:
        (y float32 [hidden_out] or [tokens, hidden_out], number of active neurons, summed over the tokens).

    Raises:
        ValueError: an argument of the wrong type or shape. IndexError: a neuron that does not exist.
    """
    rows, columns = packed_matrix("gate", gate).shape
    packed_matrix("up", up, rows, columns)
    packed_matrix("down_t", down_t, rows)
    one = np.ndim(x) == 1
    array_of("x", x, np.float32, (columns,) if one else (None, columns))
    activation_code(activation)
    chosen = None if neurons is None else neuron_list(neurons, rows)
    tokens = x[None] if one else x
    limit = threshold_value(threshold)
    y, active = _kernels().sparse_ffn_packed(gate, up, down_t, tokens, activation, limit, chosen)
    return y[0] if one else y, active
