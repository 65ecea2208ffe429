"""Attention over parts of a sequence's tokens, put together again (online softmax: Milakov and Gimelshein 2018)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    Array = TypeVar("Array", "torch.Tensor", NDArray[np.float32])
else:
    Array = TypeVar("Array")


def merge(parts: Sequence[tuple[Array, Array]]) -> tuple[Array, Array]:
    """Combine what the same queries got from disjoint sets of tokens into attention over all of them.

    Args:
        parts: of each set the output float [..., head_dim], and the logarithm of the sum of the exponentials of all
            logits float32 [...]; NumPy arrays or torch tensors, at least one part.

    Returns:
        the same for the union of all sets; the output in the first part's type. Where no part saw a token: zeros and
        minus infinity.

    Raises:
        ValueError: there is no part, or shapes differ.
    """
    if not parts:
        raise ValueError("parts: none; accepted: at least one pair of output and sum")
    for output, total in parts:
        if output.shape != parts[0][0].shape or total.shape != output.shape[:-1]:
            raise ValueError(
                f"parts: output {tuple(output.shape)} with sums {tuple(total.shape)}; accepted: "
                f"{tuple(parts[0][0].shape)} with sums {tuple(parts[0][0].shape[:-1])}"
            )
    if len(parts) == 1:
        return parts[0]
    library: Any = np if isinstance(parts[0][0], np.ndarray) else _torch()
    totals = library.stack([total for _, total in parts])
    largest = library.amax(totals, 0)
    # Where nobody saw a token all are minus infinity: 0 keeps the difference a number.
    base = library.where(largest == -np.inf, library.zeros_like(largest), largest)
    weights = library.exp(totals - base)
    summed = weights.sum(0)
    weights = weights / library.where(summed == 0, library.ones_like(summed), summed)
    output = sum(weight[..., None] * part for weight, (part, _) in zip(weights, parts, strict=True))
    with np.errstate(divide="ignore"):
        total = library.log(summed) + base
    return _like(output, parts[0][0]), total


def _torch() -> Any:
    import torch

    return torch


def _like(output: Any, first: Any) -> Any:
    return output.astype(first.dtype) if isinstance(first, np.ndarray) else output.to(first.dtype)
