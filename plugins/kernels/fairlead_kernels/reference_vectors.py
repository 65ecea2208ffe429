"""Distances between vectors in NumPy: what the native kernels are tested against, and what runs without them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from fairlead_kernels.vectors import Space

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]


def to_bfloat16(x: F32) -> NDArray[np.uint16]:
    """Return float32 rounded to bfloat16, to nearest even; NaN stays NaN."""
    bits = np.ascontiguousarray(x).view(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return np.where(np.isnan(x), 0x7FC0, rounded).astype(np.uint16)


def as_floats(vectors: NDArray[Any], element: str, dim: int) -> F32:
    """Return vectors of any element as float32 [n, dim]; bits become 0 and 1."""
    if element == "bfloat16":
        return (vectors.astype(np.uint32) << 16).view(np.float32)
    if element == "bit":
        return np.unpackbits(vectors, axis=1, count=dim, bitorder="little").astype(np.float32)
    return vectors.astype(np.float32)


def distances(space: Space, queries: NDArray[Any], vectors: NDArray[Any]) -> F32:
    """Return distances [queries, vectors], smaller is nearer; sums in float64."""
    q, x = (as_floats(rows, space.element, space.dim).astype(np.float64) for rows in (queries, vectors))
    if space.element == "bit":
        return ((q[:, None] != x[None]).sum(2)).astype(np.float32)
    products: F64 = q @ x.T
    if space.metric == "dot":
        return (-products).astype(np.float32)
    if space.metric == "l2":
        squares = np.square(q).sum(1)[:, None] + np.square(x).sum(1)
        return np.maximum(squares - 2 * products, 0).astype(np.float32)
    norms = np.sqrt(np.square(q).sum(1)[:, None] * np.square(x).sum(1))
    return np.where(norms > 0, 1 - products / np.where(norms > 0, norms, 1), 1).astype(np.float32)
