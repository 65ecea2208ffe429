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
from fairlead_kernels.decoder import Decoder, DecodeResult
from fairlead_kernels.model import DecoderConfig, DecoderWeights, LayerWeights
from fairlead_kernels.ops import (
    gemm_f32,
    gemm_q8,
    gemv_f32,
    gemv_q8,
    paged_attention,
    paged_attention_prefill,
    quantize_q8,
    rmsnorm,
    rope,
    rope_inverse_frequency,
    softmax,
    sparse_ffn_q8,
)
from fairlead_kernels.quantized import GROUP, Q8Matrix

__all__ = [
    "GROUP",
    "Backend",
    "BackendError",
    "DecodeResult",
    "Decoder",
    "DecoderConfig",
    "DecoderWeights",
    "LayerWeights",
    "Q8Matrix",
    "available_isas",
    "backend",
    "gemm_f32",
    "gemm_q8",
    "gemv_f32",
    "gemv_q8",
    "paged_attention",
    "paged_attention_prefill",
    "quantize_q8",
    "rmsnorm",
    "rope",
    "rope_inverse_frequency",
    "select",
    "set_threads",
    "softmax",
    "sparse_ffn_q8",
    "threads",
]
