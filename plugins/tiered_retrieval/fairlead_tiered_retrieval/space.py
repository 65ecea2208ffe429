"""What the vectors of a collection are: their element type, their dimension, and how far two of them are apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import BadVectors

Element = Literal["float32", "float16", "bfloat16", "int8", "uint8", "bit"]
Metric = Literal["l2", "dot", "cosine"]
ELEMENTS: tuple[Element, ...] = get_args(Element)
METRICS: tuple[Metric, ...] = get_args(Metric)
MOST_DIMENSIONS = 1 << 16
_DTYPES = {"float32": "f4", "float16": "f2", "bfloat16": "u2", "int8": "i1", "uint8": "u1", "bit": "u1"}


@dataclass(frozen=True, slots=True)
class Space:
    """Vectors that can be compared.

    Distances are smaller the nearer: squared L2; minus the dot product; one minus the cosine; for bits, whatever the
    metric, the number of those that differ.

    Attributes:
        element: of an array: bfloat16 are the upper halves of float32 as uint16; eight bits lie in a uint8, the first
            in its highest bit (as `numpy.packbits` has it).
        metric: how far two vectors are apart.
        dim: numbers in a vector; for bits a multiple of 8.
    """

    element: Element
    metric: Metric
    dim: int

    def __post_init__(self) -> None:
        if self.element not in ELEMENTS:
            raise BadVectors(f"element = {self.element!r}; accepted: {', '.join(ELEMENTS)}")
        if self.metric not in METRICS:
            raise BadVectors(f"metric = {self.metric!r}; accepted: {', '.join(METRICS)}")
        if not 1 <= self.dim <= MOST_DIMENSIONS:
            raise BadVectors(f"dim = {self.dim}; accepted: 1 to {MOST_DIMENSIONS}")
        if self.element == "bit" and self.dim % 8:
            raise BadVectors(f"dim = {self.dim} of bits; accepted: a multiple of 8")

    @property
    def dtype(self) -> np.dtype:
        """Of an array of vectors."""
        return np.dtype(_DTYPES[self.element])

    @property
    def columns(self) -> int:
        """Of an array of vectors: [n, columns]."""
        return self.dim // 8 if self.element == "bit" else self.dim

    @property
    def bytes(self) -> int:
        """Of one vector."""
        return self.columns * self.dtype.itemsize


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


def to_float(rows: NDArray, space: Space) -> NDArray[np.float32]:
    """Return vectors as float32 [n, dim]; bits become 0 and 1."""
    if space.element == "bfloat16":
        return (rows.astype(np.uint32) << 16).view(np.float32)
    if space.element == "bit":
        return np.unpackbits(rows, axis=1).astype(np.float32)
    return rows.astype(np.float32, copy=False)


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
