"""torch's own decode attention over contiguous bfloat16 keys and values: the fastest of its backends and of two
forms.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from benchmarks.elastic_device import Device

if TYPE_CHECKING:
    from benchmarks.elastic_kernels import Shape

BACKENDS = {
    "FlashAttention": SDPBackend.FLASH_ATTENTION,
    "cuDNN": SDPBackend.CUDNN_ATTENTION,
    "memory-efficient": SDPBackend.EFFICIENT_ATTENTION,
}


def fastest(device: Device, shape: Shape, layers: int) -> tuple[str, Callable[[], None]]:
    """Return the name of the fastest way, and the captured work of ``layers`` layers with memory of their own."""
    head_dim = 128
    size = (layers, shape.batch, shape.kv_heads, shape.context, head_dim)
    kind = torch.bfloat16 if device.is_cuda else torch.float32
    keys, values = (torch.empty(size, dtype=kind, device=device.torch).normal_(generator=device.random) for _ in "kv")
    queries = torch.randn(
        (shape.batch, shape.query_heads, 1, head_dim), dtype=kind, device=device.torch, generator=device.random
    )
    # The queries of a group as so many positions that all see everything: the same result, and no head is repeated.
    folded = queries.view(shape.batch, shape.kv_heads, -1, head_dim)

    def of(form: str) -> list[torch.Tensor]:
        if form == "grouped":
            return [
                scaled_dot_product_attention(queries, k, v, enable_gqa=True) for k, v in zip(keys, values, strict=True)
            ]
        return [scaled_dot_product_attention(folded, k, v) for k, v in zip(keys, values, strict=True)]

    found: list[tuple[float, str, Callable[[], None]]] = []
    for name, backend in BACKENDS.items() if device.is_cuda else [("default", None)]:
        for form in ("grouped", "folded"):
            with nullcontext() if backend is None else sdpa_kernel(backend), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    work = device.captured(lambda form=form: of(form))
                    found.append((device.microseconds(work, 5e3), f"{name} ({form})", work))
                except RuntimeError as error:
                    print(f"  {shape.case}: {name} ({form}) refuses: {str(error).splitlines()[0][:100]}", flush=True)
    if not found:
        raise RuntimeError(f"no backend of torch's attention takes {shape.case}")
    times = ", ".join(f"{name} {took / layers:.1f}" for took, name, _ in sorted(found)[:6])
    print(f"  {shape.case}: torch, us: {times}", flush=True)
    return min(found, key=lambda item: item[0])[1:]
