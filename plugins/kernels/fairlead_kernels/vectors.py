"""Distances between vectors of six kinds of elements, by three metrics: native where compiled, NumPy otherwise.

Distances are smaller-is-nearer everywhere: ``l2`` is the squared distance, ``dot`` the negative inner product,
``cosine`` 1 - cos (a zero vector is at 1 from everything); bits are compared by their Hamming distance whatever the
metric. bfloat16 vectors are their bits as uint16; bits are packed eight to a byte, the first in the lowest bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels import reference_vectors
from fairlead_kernels.backend import extension

Element = Literal["float32", "float16", "bfloat16", "int8", "uint8", "bit"]
Metric = Literal["l2", "dot", "cosine"]
ELEMENTS: tuple[Element, ...] = get_args(Element)
METRICS: tuple[Metric, ...] = get_args(Metric)
DTYPES: dict[Element, Any] = {
    "float32": np.float32,
    "float16": np.float16,
    "bfloat16": np.uint16,
    "int8": np.int8,
    "uint8": np.uint8,
    "bit": np.uint8,
}
MOST_DIM = 32768
"""Squared distances of bytes fit 32 bits up to here."""

Vectors = NDArray[Any]
F32 = NDArray[np.float32]
U32 = NDArray[np.uint32]


class VectorError(ValueError):
    """Vectors, queries or their description are not what is accepted; the message says which row and what is."""


@dataclass(frozen=True, slots=True)
class Space:
    """What vectors are made of and how they are compared.

    Attributes:
        element: one of ELEMENTS.
        metric: one of METRICS; bits are compared by their Hamming distance whatever it says.
        dim: elements of a vector, 1 to MOST_DIM.
    """

    element: Element
    metric: Metric
    dim: int

    def __post_init__(self) -> None:
        for name, value, accepted in (("element", self.element, ELEMENTS), ("metric", self.metric, METRICS)):
            if value not in accepted:
                raise VectorError(f"{name}: must be one of {', '.join(accepted)}, got {value!r}")
        if not 1 <= self.dim <= MOST_DIM:
            raise VectorError(f"dim: must be 1..{MOST_DIM}, got {self.dim}")

    @property
    def dtype(self) -> np.dtype[Any]:
        """The NumPy type of a vector's numbers (bfloat16: uint16; bit: uint8)."""
        return np.dtype(DTYPES[self.element])

    @property
    def columns(self) -> int:
        """Numbers of a vector: dim, or for bits an eighth, rounded up."""
        return -(-self.dim // 8) if self.element == "bit" else self.dim

    @property
    def row_bytes(self) -> int:
        """Bytes of a vector."""
        return self.columns * self.dtype.itemsize

    @property
    def codes(self) -> tuple[int, int, int]:
        """The numbers by which native code knows the space."""
        return ELEMENTS.index(self.element), METRICS.index(self.metric), self.dim


def check_vectors(array: Any, dim: int, element: Element, *, name: str = "vectors") -> Vectors:
    """Return the vectors [n, columns] C-contiguous and in the element's dtype, or say what is wrong with them.

    One vector may come as [columns]. float64 becomes float32 where float32 is asked for, floats become bfloat16 where
    that is; nothing else is converted. Bits may also come as bool [n, dim].

    Raises:
        VectorError: another dtype or dimension, or a row that holds NaN or infinity.
    """
    space = Space(element, "l2", dim)
    given = np.asarray(array)
    rows = given[None] if given.ndim == 1 else given
    if element == "bit" and rows.dtype == np.bool_ and rows.ndim == 2 and rows.shape[1] == dim:
        return np.packbits(rows, axis=1, bitorder="little")
    if rows.ndim != 2 or rows.shape[1] != space.columns:
        raise VectorError(f"{name}: must be [n, {space.columns}] {element}, got {list(given.shape)}")
    rows = _converted(rows, space, name)
    _check_finite(rows, element, name)
    if element == "bit" and dim % 8:
        outside = np.flatnonzero(rows[:, -1] >> (dim % 8))
        if outside.size:
            raise VectorError(f"{name}[{outside[0]}]: has bits beyond the {dim} accepted")
    return np.ascontiguousarray(rows)


def _converted(rows: Vectors, space: Space, name: str) -> Vectors:
    if rows.dtype == space.dtype:
        return rows
    if space.element == "float32" and rows.dtype == np.float64:
        with np.errstate(over="ignore"):
            return rows.astype(np.float32)
    if space.element == "bfloat16" and rows.dtype in (np.float32, np.float64):
        return reference_vectors.to_bfloat16(rows.astype(np.float32))
    raise VectorError(f"{name}: must be {space.dtype} for element {space.element}, got {rows.dtype}")


def _check_finite(rows: Vectors, element: Element, name: str) -> None:
    if element not in ("float32", "float16", "bfloat16"):
        return
    bad = (rows & 0x7F80) == 0x7F80 if element == "bfloat16" else ~np.isfinite(rows)
    if bad.any():
        row, column = (int(at) for at in np.argwhere(bad)[0])
        value = reference_vectors.as_floats(rows[row : row + 1], element, rows.shape[1])[0, column]
        raise VectorError(f"{name}[{row}]: element {column} is {value}; accepted: finite numbers")


def as_floats(vectors: Vectors, space: Space) -> F32:
    """Return the vectors as float32 [n, dim]; bits become 0 and 1."""
    return reference_vectors.as_floats(vectors, space.element, space.dim)


def distances(space: Space, queries: Vectors, vectors: Vectors, ids: U32 | None = None) -> F32:
    """Return the distances [queries, vectors] of checked queries to checked vectors, or to those rows that ids name.

    Queries are computed on several threads (``set_threads``). Distances of bytes and bits are exact up to the last
    rounding to float32.

    Raises:
        VectorError: an array is not what check_vectors returns.
        IndexError: an id that no row has.
    """
    for name, array in (("queries", queries), ("vectors", vectors)):
        if array.dtype != space.dtype or array.ndim != 2 or array.shape[1] != space.columns:
            raise VectorError(
                f"{name}: must be {space.dtype} [n, {space.columns}], got {array.dtype} {list(array.shape)}"
            )
    chosen = None if ids is None else np.ascontiguousarray(ids, np.uint32)
    native = extension()
    if native is None:
        return reference_vectors.distances(space, queries, vectors if chosen is None else vectors[chosen])
    out = np.empty((len(queries), len(vectors) if chosen is None else len(chosen)), np.float32)
    native.vector_distances(*space.codes, as_bytes(queries), as_bytes(vectors), chosen, out)
    return out


def as_bytes(rows: Vectors) -> NDArray[np.uint8]:
    """Return rows of a C-contiguous array as rows of bytes, without a copy where that is possible."""
    return np.ascontiguousarray(rows).view(np.uint8)
