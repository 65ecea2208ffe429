"""What the vectors of a collection are: their element type, their dimension, and how far two of them are apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fairlead_kernels import vectors as kernels
from fairlead_kernels.vectors import ELEMENTS, METRICS, Element, Metric, VectorError

from .errors import BadVectors

__all__ = ["ELEMENTS", "METRICS", "Element", "Metric", "Space", "check_vectors", "to_bfloat16", "to_float"]


@dataclass(frozen=True, slots=True)
class Space(kernels.Space):
    """Vectors that can be compared.

    Distances are smaller the nearer: squared L2; minus the dot product; one minus the cosine; for bits, whatever the
    metric, the number of those that differ.

    Attributes:
        element: of an array: bfloat16 are the upper halves of float32 as uint16; eight bits lie in a uint8, the first
            in its lowest bit.
        metric: how far two vectors are apart.
        dim: numbers in a vector; for bits a multiple of 8.
    """

    element: Element
    metric: Metric
    dim: int

    def __post_init__(self) -> None:
        try:
            kernels.Space.__post_init__(self)
        except VectorError as error:
            raise BadVectors(str(error)) from None
        if self.element == "bit" and self.dim % 8:
            raise BadVectors(f"dim = {self.dim} of bits; accepted: a multiple of 8")

    @property
    def bytes(self) -> int:
        """Of one vector."""
        return self.row_bytes


def check_vectors(array: ArrayLike, space: Space, what: str = "vectors") -> NDArray:
    """Return vectors as a contiguous array [n, columns] of the space's type; a single vector becomes one row.

    Numbers of another type are converted where that loses nothing but a float's last digits.

    Raises:
        BadVectors: a wrong shape, a type or a value that the element cannot hold, NaN or infinity; for a cosine also a
            vector of zeros. Names the row.
    """
    given = np.asarray(array)
    if given.ndim == 1:
        given = given[None]
    if given.ndim != 2 or given.shape[1] != space.columns:
        raise BadVectors(f"{what} of shape {given.shape}; accepted: [n, {space.columns}] ({space.element})")
    if given.dtype.kind not in "fiu":
        raise BadVectors(f"{what} of type {given.dtype}; accepted: numbers that {space.element} holds")
    rows = _converted(given, space, what)
    if space.element in ("float32", "float16", "bfloat16"):
        _refuse(~np.isfinite(to_float(rows, space)).all(axis=1), what, "NaN or infinite", "finite numbers")
    if space.metric == "cosine" and space.element != "bit":
        _refuse(~rows.astype(bool).any(axis=1), what, "all zeros, which has no direction", "vectors with a length")
    return rows


def to_float(rows: NDArray, space: kernels.Space) -> NDArray[np.float32]:
    """Return vectors as float32 [n, dim]; bits become 0 and 1."""
    return kernels.as_floats(rows, space)


def to_bfloat16(values: NDArray) -> NDArray[np.uint16]:
    """Round float32 to the nearest bfloat16, ties to even; NaN and infinity stay what they are."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    rounded = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    return np.where(np.isfinite(values), rounded, (bits >> 16) | np.where(np.isnan(values), 0x40, 0)).astype(np.uint16)


def _converted(given: NDArray, space: Space, what: str) -> NDArray:
    if given.dtype == space.dtype:
        return np.ascontiguousarray(given)
    if space.element == "bfloat16":
        return to_bfloat16(given.astype(np.float32))
    with np.errstate(over="ignore", invalid="ignore"):
        rows = np.ascontiguousarray(given, space.dtype)
    if space.dtype.kind != "f":
        _refuse((rows != given).any(axis=1), what, "not of this type", f"whole numbers that {space.dtype} holds")
    return rows


def _refuse(bad: NDArray[np.bool_], what: str, problem: str, accepted: str) -> None:
    if bad.any():
        raise BadVectors(f"{what}: row {int(bad.argmax())} is {problem}; accepted: {accepted}")
