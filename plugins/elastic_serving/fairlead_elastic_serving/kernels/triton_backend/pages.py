"""What every kernel needs to know about pages, as arguments that Triton compiles in."""

from __future__ import annotations

from typing import Any

import torch

from ...arena.formats import PageLayout
from .interpreter import repair

repair()


def layout_arguments(layout: PageLayout, prefix: str = "") -> dict[str, int]:
    """Return a layout as compile-time arguments, their names with a prefix.

    Raises ValueError for formats that the kernels have not: 32-bit floats, and heads whose width is no power of two.
    """
    form = layout.format
    if max(form.key_bits, form.value_bits) > 16:
        raise ValueError(f"format {form}: accepted by the Triton kernels: 2, 4, 8 and 16 bits")
    if layout.head_dim & (layout.head_dim - 1):
        raise ValueError(f"head_dim {layout.head_dim}: accepted by the Triton kernels: powers of two")
    values = {
        "KEY_BITS": form.key_bits,
        "VALUE_BITS": form.value_bits,
        "TOKENS": layout.tokens,
        "KEYS": layout.keys,
        "KEY_META": layout.key_meta,
        "VALUES": layout.values,
        "VALUE_META": layout.value_meta,
    }
    return {prefix + name: value for name, value in values.items()}


def views(pages: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return pages uint8 [pages, page_bytes] as bytes, as float16 and as int32, of one memory.

    Raises ValueError for other types and for pages that are not contiguous.
    """
    if pages.dtype != torch.uint8 or pages.dim() != 2 or not pages.is_contiguous():
        raise ValueError(f"pages: {pages.dtype} {tuple(pages.shape)}; accepted: contiguous uint8 [pages, page_bytes]")
    return pages, pages.view(torch.float16), pages.view(torch.int32)


def checked(name: str, tensor: torch.Tensor, kind: torch.dtype, *shape: int | None) -> torch.Tensor:
    """Return a tensor that is contiguous, of a type and of a shape (None: any size); raises ValueError."""
    fits = tensor.dim() == len(shape) and all(
        want is None or want == have for want, have in zip(shape, tensor.shape, strict=True)
    )
    if tensor.dtype != kind or not fits or not tensor.is_contiguous():
        wanted: list[Any] = ["any" if size is None else size for size in shape]
        raise ValueError(f"{name}: {tensor.dtype} {tuple(tensor.shape)}; accepted: contiguous {kind} {wanted}")
    return tensor
