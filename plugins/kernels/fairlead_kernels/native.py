"""The compiled kernels behind the signatures of :mod:`fairlead_kernels.reference`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels import reference, reference_packed
from fairlead_kernels.checks import activation_code
from fairlead_kernels.packed import PackedMatrix
from fairlead_kernels.quantized import GROUP, Q8Matrix

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]
I8 = NDArray[np.int8]


class NativeKernels:
    """Allocates each result and lets the extension fill it; see the reference for what each does."""

    rope_angles = staticmethod(reference.rope_angles)
    pack = staticmethod(reference_packed.pack)

    def __init__(self, module: Any) -> None:
        self._native = module

    def quantize_q8(self, matrix: F32) -> Q8Matrix:
        rows, columns = matrix.shape
        q = np.empty((rows, columns), np.int8)
        scale = np.empty((rows, columns // GROUP), np.uint16)
        self._native.quantize(matrix, q, scale)
        return Q8Matrix(q, scale.view(np.float16))

    def gemm_q8(self, matrix: Q8Matrix, x: F32) -> F32:
        out = np.empty((x.shape[0], matrix.shape[0]), np.float32)
        self._native.multiply(matrix, x, out)
        return out

    def sparse_ffn_q8(
        self,
        gate: Q8Matrix,
        up: Q8Matrix,
        down_t: Q8Matrix,
        x: F32,
        activation: str,
        threshold: float,
        neurons: I32 | None,
    ) -> tuple[F32, int]:
        y = np.empty(down_t.shape[1], np.float32)
        code = activation_code(activation)
        return y, self._native.feed_forward(gate, up, down_t, code, threshold, x, neurons, y)

    def gemm_packed(self, matrix: PackedMatrix, x: F32) -> F32:
        out = np.empty((x.shape[0], matrix.shape[0]), np.float32)
        self._native.multiply_packed(matrix, x, out)
        return out

    def sum_rows_packed(self, matrix: PackedMatrix, rows: I32, weight: F32) -> F32:
        out = np.empty((weight.shape[0], matrix.columns), np.float32)
        self._native.sum_packed(matrix, rows, weight, out)
        return out

    def sparse_ffn_packed(
        self,
        gate: PackedMatrix,
        up: PackedMatrix,
        down_t: PackedMatrix,
        x: F32,
        activation: str,
        threshold: float,
        neurons: I32 | None,
    ) -> tuple[F32, int]:
        y = np.empty((x.shape[0], down_t.columns), np.float32)
        code = activation_code(activation)
        return y, self._native.feed_forward_packed(gate, up, down_t, code, threshold, x, neurons, y)

    def dequantize_packed(self, matrix: PackedMatrix) -> F32:
        out = np.empty(matrix.shape, np.float32)
        self._native.dequantize_packed(matrix, out)
        return out

    def rmsnorm(self, x: F32, weight: F32, epsilon: float) -> F32:
        out = np.empty_like(x)
        width = x.shape[-1]
        self._native.rmsnorm(x.reshape(-1, width), weight, epsilon, out.reshape(-1, width))
        return out

    def layernorm(self, x: F32, weight: F32, bias: F32, epsilon: float) -> F32:
        out = np.empty_like(x)
        width = x.shape[-1]
        self._native.layernorm(x.reshape(-1, width), weight, bias, epsilon, out.reshape(-1, width))
        return out

    def rope(self, x: F32, cosine: F32, sine: F32) -> F32:
        out = x.copy()
        self._native.rope(out, cosine, sine)
        return out

    def softmax(self, x: F32) -> F32:
        out = x.copy()
        self._native.softmax(out.reshape(-1, x.shape[-1]))
        return out

    def attend(self, query: F32, keys: F32, values: F32, page_table: I32, first_length: int, scale: float) -> F32:
        out = np.empty_like(query)
        self._native.attend(query, keys, values, page_table, first_length, scale, out)
        return out

    def attend_int8(
        self,
        query: F32,
        keys: I8,
        key_scale: F32,
        values: I8,
        value_scale: F32,
        page_table: I32,
        first_length: int,
        scale: float,
    ) -> F32:
        out = np.empty_like(query)
        self._native.attend_int8(query, keys, key_scale, values, value_scale, page_table, first_length, scale, out)
        return out

    def quantize_heads(self, x: F32) -> tuple[I8, F32]:
        q, scale = np.empty(x.shape, np.int8), np.empty(x.shape[:-1], np.float32)
        width = x.shape[-1]
        self._native.quantize_heads(x.reshape(-1, width), q.reshape(-1, width), scale.reshape(-1))
        return q, scale
