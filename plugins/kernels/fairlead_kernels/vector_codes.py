"""A trained rotation of vectors, and byte codes of its leading coordinates.

``Rotation`` puts as much energy as possible into a few leading coordinates (principal components of a sample) and
mixes what they leave, so that no direction of the rest is special. ``LeadingCodes`` keep one byte for each leading
coordinate: a graph's walk reads one cache line of 60 of them. Codes of 1 to 8 bits with bounds are in
``vector_bit_codes``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels import reference_vector_codes as reference
from fairlead_kernels.backend import extension
from fairlead_kernels.vectors import F32, U32, Space, VectorError, Vectors, as_bytes, as_floats

Kind = Literal["pca", "random", "identity"]
U8 = NDArray[np.uint8]
_ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Rotation:
    """y = (P (x - mean), H r) with r what the rows of P leave of x - mean: inner products are kept.

    Attributes:
        matrix: P, float32 [lead, dim], orthonormal rows; [0, dim] where all coordinates are mixed.
        mean: float32 [dim].
        order, signs: H: rounds of a permutation, signs and Hadamard butterflies, uint32 and float32 [rounds, dim].
        spectrum: float32 [dim], the sample's variance along its principal components, largest first.
    """

    matrix: F32
    mean: F32
    order: U32
    signs: F32
    spectrum: F32

    @classmethod
    def train(cls, sample: F32, kind: Kind = "pca", *, lead: int = 0, mixed: bool = True, seed: int = 0) -> Rotation:
        """Return the rotation for a sample float32 [n, dim] of vectors (normalised already where cosine compares them).

        Args:
            sample: some thousands of vectors; more than 50,000 bring nothing.
            kind: pca (``lead`` principal components, then a mixed rest), random (all mixed) or identity.
            lead: leading coordinates of kind pca, 1..dim.
            mixed: turn the leading coordinates at random among themselves, so that each holds as much as any other
                (bit codes); otherwise they come in the order of their variance (leading codes).
            seed: of what is random.

        Raises:
            VectorError: the sample or lead is not what is accepted.
        """
        if sample.ndim != 2 or not len(sample) or sample.dtype != np.float32:
            raise VectorError(
                f"sample: must be float32 [n, dim] with n above 0, got {sample.dtype} {list(sample.shape)}"
            )
        if kind not in get_args(Kind):
            raise VectorError(f"kind: must be one of {', '.join(get_args(Kind))}, got {kind!r}")
        dim, random = sample.shape[1], np.random.default_rng(seed)
        if kind == "pca" and not 1 <= lead <= dim:
            raise VectorError(f"lead: must be 1..{dim}, got {lead}")
        mean = sample.mean(0, dtype=np.float64)
        centred = sample - mean.astype(np.float32)
        values, components = np.linalg.eigh((centred.T @ centred).astype(np.float64) / len(sample))
        matrix = components[:, ::-1].T[: lead if kind == "pca" else 0]
        if mixed and len(matrix):
            matrix = np.linalg.qr(random.standard_normal((lead, lead)))[0] @ matrix
        rounds = 0 if kind == "identity" else _ROUNDS
        order = np.array([random.permutation(dim) for _ in range(rounds)], np.uint32).reshape(rounds, dim)
        signs = random.choice(np.float32([-1, 1]), (rounds, dim))
        spectrum = np.maximum(values[::-1], 0).astype(np.float32)
        return cls(np.ascontiguousarray(matrix, np.float32), mean.astype(np.float32), order, signs, spectrum)

    @property
    def dim(self) -> int:
        """Elements of the vectors."""
        return len(self.mean)

    @property
    def lead(self) -> int:
        """Leading coordinates; the others, dim of them, come behind."""
        return len(self.matrix)

    def apply(self, x: F32) -> F32:
        """Return float32 [n, lead + dim] of float32 [n, dim], leading coordinates first."""
        return reference.rotate(self, x)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return what is saved of it; ``Rotation(**arrays)`` is the rotation again."""
        return {name: getattr(self, name) for name in ("matrix", "mean", "order", "signs", "spectrum")}


def normalised(x: F32, space: Space) -> F32:
    """Return x divided by its rows' lengths where the space's metric is cosine, else x."""
    if space.metric != "cosine":
        return x
    norms = np.linalg.norm(x, axis=1, keepdims=True)
    return (x / np.where(norms > 0, norms, 1)).astype(np.float32)


@dataclass(frozen=True, slots=True)
class LeadingCodes:
    """Byte codes of the first ``dims`` principal components, with one step for all.

    A row is float32 (the vector's own share of the distance) and then one byte a coordinate, filled up to whole cache
    lines; rows of all coordinates serve a walk by their first line and a re-rank as a whole.

    Attributes:
        space: of the vectors; not bits.
        matrix: float32 [dims, dim], the principal components, strongest first.
        mean: float32 [dim].
        step: of the codes; coordinates beyond 127 steps are clipped.
    """

    space: Space
    matrix: F32
    mean: F32
    step: float

    @classmethod
    def train(cls, sample: Vectors, space: Space, dims: int) -> LeadingCodes:
        """Return codes for a sample [n, columns] of the space's vectors.

        Raises:
            VectorError: dims is not in 1..dim, or the space is one of bits.
        """
        if space.element == "bit":
            raise VectorError("element: bits have no leading codes")
        x = normalised(as_floats(sample, space), space)
        rotation = Rotation.train(x, "pca", lead=dims, mixed=False)
        coordinates = np.abs((x - rotation.mean) @ rotation.matrix.T).max(1, initial=0)
        largest = float(np.quantile(coordinates, 0.999)) if coordinates.max(initial=0) > 0 else 1.0
        return cls(space, rotation.matrix, rotation.mean, largest / 127)

    @property
    def dims(self) -> int:
        """Coordinates that have a code."""
        return len(self.matrix)

    @property
    def stride(self) -> int:
        """Bytes of a row, a multiple of 64."""
        return -(-(4 + self.dims) // 64) * 64

    def encode(self, vectors: Vectors) -> U8:
        """Return rows uint8 [n, stride]."""
        native = extension()
        if native is None:
            return reference.leading_encode(self, vectors)
        rows = aligned_rows(len(vectors), self.stride)
        native.leading_encode(*self.space.codes, *self.numbers, as_bytes(vectors), rows)
        return rows

    @property
    def numbers(self) -> tuple[F32, F32, float]:
        """What native code takes: matrix, mean, step."""
        return self.matrix, self.mean, self.step

    def distances(
        self, queries: Vectors, rows: U8, ids: U32 | None = None, *, lead: int | None = None, fine: bool = False
    ) -> F32:
        """Return the estimated distances [queries, rows] from the first ``lead`` coordinates and what their lines hold.

        With ``fine`` queries are rounded to 15 bits in place of 8.
        """
        count = self.dims if lead is None else lead
        if not 1 <= count <= self.dims:
            raise VectorError(f"lead: must be 1..{self.dims}, got {count}")
        native = extension()
        if native is None:
            return reference.leading_distances(self, queries, rows if ids is None else rows[ids], count, fine)
        out = np.empty((len(queries), len(rows) if ids is None else len(ids)), np.float32)
        numbers = (*self.space.codes, *self.numbers)
        native.leading_distances(*numbers, as_bytes(queries), count, fine, rows, ids, out)
        return out


def aligned_rows(count: int, stride: int) -> U8:
    """Return zeroed rows uint8 [count, stride] that begin on a cache line."""
    buffer = np.zeros(count * stride + 64, np.uint8)
    offset = -buffer.ctypes.data % 64
    return buffer[offset : offset + count * stride].reshape(count, stride)
