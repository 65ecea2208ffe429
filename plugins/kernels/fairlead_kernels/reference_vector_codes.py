"""Rotations and codes of vectors in NumPy: what the native kernels are tested against, and what runs without them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels import reference_vectors

if TYPE_CHECKING:
    from fairlead_kernels.vector_codes import LeadingCodes, Rotation

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]


def _butterflies(x: F32) -> None:
    """Hadamard butterflies of windows [n, 2^m], in place; those closer than 16 only where the window has no others."""
    size = x.shape[1]
    half, stages = (16 if size >= 64 else 1), 0
    while half < size:
        pairs = x.reshape(len(x), -1, 2, half)
        low, high = pairs[:, :, 0] + pairs[:, :, 1], pairs[:, :, 0] - pairs[:, :, 1]
        pairs[:, :, 0], pairs[:, :, 1] = low, high
        half, stages = 2 * half, stages + 1
    x *= np.float32(0.5 ** (stages / 2))


def mix(rotation: Rotation, x: F32) -> F32:
    """Return the rounds of permutation, signs and butterflies of rows [n, dim]."""
    dim = rotation.dim
    size = 1 << (dim.bit_length() - 1)
    for order, signs in zip(rotation.order, rotation.signs, strict=True):
        x = x[:, order] * signs
        for start in (0, dim - size) if size < dim else (0,):
            window = np.ascontiguousarray(x[:, start : start + size])
            _butterflies(window)
            x[:, start : start + size] = window
    return x


def rotate(rotation: Rotation, x: F32) -> F32:
    """Return the rotated vectors float32 [n, lead + dim]."""
    centred = x - rotation.mean
    lead = centred @ rotation.matrix.T
    rest = centred - lead @ rotation.matrix
    return np.concatenate([lead, mix(rotation, rest)], axis=1)


def _own(codes: LeadingCodes, x: F32, centred: F32) -> F32:
    """The share of the distance that is the vector's own."""
    if codes.space.metric == "dot":
        return -(x @ codes.mean)
    return np.float32(0.5 if codes.space.metric == "cosine" else 1) * np.square(centred).sum(1)


def _prepared(codes: LeadingCodes, vectors: NDArray[Any]) -> tuple[F32, F32]:
    x = reference_vectors.as_floats(vectors, codes.space.element, codes.space.dim)
    if codes.space.metric == "cosine":
        norms = np.linalg.norm(x, axis=1, keepdims=True)
        x = (x / np.where(norms > 0, norms, 1)).astype(np.float32)
    centred = x - codes.mean
    return centred @ codes.matrix.T, _own(codes, x, centred)


def leading_encode(codes: LeadingCodes, vectors: NDArray[Any]) -> U8:
    """Return rows uint8 [n, stride]: float32 and codes, filled up with 128."""
    y, own = _prepared(codes, vectors)
    rows = np.full((len(y), codes.stride), 128, np.uint8)
    rows[:, :4] = own.astype(np.float32)[:, None].view(np.uint8)
    steps = np.rint(y / np.float32(codes.step))
    rows[:, 4 : 4 + codes.dims] = (np.clip(steps, -127, 127) + 128).astype(np.uint8)
    return rows


def leading_distances(codes: LeadingCodes, queries: NDArray[Any], rows: U8, lead: int, fine: bool) -> F32:
    """Return estimates [queries, rows] as the native kernels make them."""
    lines = -(-(4 + lead) // 64)
    used = min(codes.dims, 64 * lines - 4)
    y, own = _prepared(codes, queries)
    y = y[:, :used]
    largest = np.abs(y).max(1, keepdims=True)
    step = np.where(largest > 0, largest / 127, 1).astype(np.float32)
    q = np.rint(y / step).astype(np.float32)
    if fine:
        q = q + np.clip(np.rint((y / step - q) * 128), -127, 127) / 128
    products = q.astype(np.float64) @ (rows[:, 4 : 4 + used].astype(np.float64) - 128).T
    shares = np.ascontiguousarray(rows[:, :4]).view(np.float32)[:, 0].astype(np.float64)
    add = own + codes.mean @ codes.mean if codes.space.metric == "dot" else own
    weight = 2 if codes.space.metric == "l2" else 1
    return (add[:, None] + shares - weight * codes.step * step * products).astype(np.float32)
