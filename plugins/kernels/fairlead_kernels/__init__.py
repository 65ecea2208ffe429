"""Kernels for sparse, quantized language models: native where compiled, NumPy otherwise.

``backend()`` says which; FAIRLEAD_KERNELS forces one. Both give the same results up to the order of
summation, and native results depend neither on the number of threads nor on the batch.
"""

from fairlead_kernels.backend import (
    Backend,
    BackendError,
    available_isas,
    backend,
    select,
    set_threads,
    threads,
)
from fairlead_kernels.decoder import MOST_SEQUENCES, BatchResult, Decoder, DecodeResult
from fairlead_kernels.feed_forward import FeedForwardSource, Matrix, NetworkWeights
from fairlead_kernels.mixture import MixtureWeights
from fairlead_kernels.model import DecoderConfig, DecoderWeights, LayerWeights
from fairlead_kernels.ops import (
    gemm_f32,
    gemm_q8,
    gemv_f32,
    gemv_q8,
    layernorm,
    paged_attention,
    paged_attention_prefill,
    quantize_q8,
    rmsnorm,
    rope,
    rope_inverse_frequency,
    softmax,
    sparse_ffn_q8,
)
from fairlead_kernels.ops_int8_attention import paged_attention_int8, quantize_heads
from fairlead_kernels.ops_packed import (
    dequantize_packed,
    gemm_packed,
    gemv_packed,
    pack,
    sparse_ffn_packed,
    sum_rows_packed,
)
from fairlead_kernels.packed import PackedMatrix, pack_q4_0, pack_q8, pack_q8_0, packed_row_bytes
from fairlead_kernels.predictor import Predictor
from fairlead_kernels.quantized import GROUP, Q8Matrix
from fairlead_kernels.work import FIELDS

__all__ = [
    "FIELDS",
    "GROUP",
    "MOST_SEQUENCES",
    "Backend",
    "BackendError",
    "BatchResult",
    "DecodeResult",
    "Decoder",
    "DecoderConfig",
    "DecoderWeights",
    "FeedForwardSource",
    "LayerWeights",
    "Matrix",
    "MixtureWeights",
    "NetworkWeights",
    "PackedMatrix",
    "Predictor",
    "Q8Matrix",
    "available_isas",
    "backend",
    "dequantize_packed",
    "gemm_f32",
    "gemm_packed",
    "gemm_q8",
    "gemv_f32",
    "gemv_packed",
    "gemv_q8",
    "layernorm",
    "pack",
    "pack_q4_0",
    "pack_q8",
    "pack_q8_0",
    "packed_row_bytes",
    "paged_attention",
    "paged_attention_int8",
    "paged_attention_prefill",
    "quantize_heads",
    "quantize_q8",
    "rmsnorm",
    "rope",
    "rope_inverse_frequency",
    "select",
    "set_threads",
    "softmax",
    "sparse_ffn_packed",
    "sparse_ffn_q8",
    "sum_rows_packed",
    "threads",
]
