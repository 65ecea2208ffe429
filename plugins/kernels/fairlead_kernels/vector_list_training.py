"""What codes of a cluster index are trained to: the principal dimensions, their steps, the clusters.

The leading principal dimensions get 8 or 4 bits each, all others together are turned at random and get one bit each:
where the variance is, there the bits are (SAQ, Li et al. 2025). The transform is a product of reflections in compact
form (Schreiber and Van Loan 1989), which costs a query 2 * lead * dim multiplications instead of dim * dim.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels import reference_vectors
from fairlead_kernels.backend import extension
from fairlead_kernels.reference_vector_lists import reference_kmeans
from fairlead_kernels.vectors import F32, Space, Vectors

#: Standard deviations that the steps of 8 and of 4 bits span on either side of the centroid.
SPAN_BYTE, SPAN_NIBBLE = 4.5, 2.6
#: Bytes of leading codes that a scan reads for each vector at most: a cache line.
MOST_ROW = 64
_ROUNDS, _BALANCE = 10, 0.1
#: Of four bytes a dimension, what codes take, and what they take where the variance of estimates is _WORTH of it then.
_SHARE, _MOST_SHARE, _WORTH = 0.06, 0.0655, 0.9


@dataclass(frozen=True, slots=True)
class Closure:
    """Which further lists a vector is entered in, by its leading codes alone.

    The closure of SPANN (Chen et al., 2021, section 3.2.2): near lists, the nearest first, but none that lies in about
    the direction of another that the vector is in. There `apart` is 1, which leaves vectors of hundreds of dimensions
    no further list: their centroids are nearer to one another than to them. All squared distances are of centroids.

    Attributes:
        copies: further lists of a vector at most, 0 to 7.
        apart: a list is left out where this times its distance to another list of the vector is less than its distance
            to the vector.
        near: a list's distance is at most so many times that of the own list.
        room: copies of a list at most, so that lists stay balanced.
    """

    copies: int = 0
    apart: float = 1.5
    near: float = 2.0
    room: int = 1 << 14

    @property
    def numbers(self) -> tuple[int, float, float, int]:
        """All of them, in the order of the attributes."""
        return self.copies, self.apart, self.near, self.room


@dataclass(frozen=True, slots=True)
class ListTraining:
    """Trained numbers of a cluster index's codes.

    Attributes:
        space: of the vectors.
        bytes_dims: leading dimensions of 8 bits each, a multiple of 4.
        nibble_dims: those after them, of 4 bits each, a multiple of 8.
        tail: whether the other dimensions have a bit each.
        mean: float32 [dim].
        reflectors: float32 [lead, dim], V of y = x - V^T T V x.
        triangle: float32 [lead, lead], T.
        steps: float32 [lead].
        signs: float32 [4, dim - lead] of 1 and -1.
        centroids: float32 [lists, lead].
    """

    space: Space
    bytes_dims: int
    nibble_dims: int
    tail: bool
    mean: F32
    reflectors: F32
    triangle: F32
    steps: F32
    signs: F32
    centroids: F32

    @property
    def lead(self) -> int:
        """Leading dimensions."""
        return self.bytes_dims + self.nibble_dims

    @property
    def row_bytes(self) -> int:
        """Bytes of the leading codes: of each further entry of a vector, beside 12 that name it."""
        return self.bytes_dims + self.nibble_dims // 2

    def leading(self, vectors: Vectors, *, queries: bool = False) -> F32:
        """Return the leading dimensions [n, lead]: of queries of a dot product without the mean taken off."""
        space, values = self.space, floats_of(self.space, vectors)
        if not (queries and space.metric == "dot" and space.element != "bit"):
            values = values - self.mean
        turned = values - (values @ self.reflectors.T) @ self.triangle.T @ self.reflectors
        return np.ascontiguousarray(turned[:, : self.lead], np.float32)

    @property
    def code_bytes(self) -> int:
        """Bytes of a vector's codes, its float and its scale included."""
        tail = -(-(self.space.dim - self.lead) // 8) if self.tail else 0
        return self.bytes_dims + self.nibble_dims // 2 + tail + 6


def floats_of(space: Space, rows: Vectors) -> F32:
    """Return vectors as float32 [n, dim]; for the cosine of length 1, bits as 0 and 1."""
    values = reference_vectors.as_floats(rows, space.element, space.dim)
    if space.metric == "cosine" and space.element != "bit":
        length = np.sqrt(np.einsum("ij,ij->i", values, values))
        values = values / np.where(length > 0, length, 1)[:, None]
    return np.ascontiguousarray(values, np.float32)


def train_lists(
    space: Space, sample: Vectors, lists: int, *, code_bytes: float | None = None, seed: int = 0
) -> ListTraining:
    """Train codes and clusters on a sample.

    Args:
        space: of the vectors.
        sample: [n, columns] of the space's type, n at least `lists`.
        lists: clusters.
        code_bytes: that a vector's codes may take at most; None: 0.06 of four bytes a dimension, for few
            dimensions more; 0.0655 where that takes a tenth from the variance of estimates.
        seed: of all that is drawn.

    Raises:
        ValueError: fewer vectors than lists, or no code is as small.
    """
    if not 1 <= lists <= len(sample):
        raise ValueError(f"lists: must be 1..{len(sample)}, the vectors of the sample, got {lists}")
    values = floats_of(space, sample)
    mean = values.mean(axis=0, dtype=np.float64).astype(np.float32)
    spectrum, directions = _principal(values - mean)
    bytes_dims, nibble_dims, tail = (
        _planned(space.dim, spectrum) if code_bytes is None else plan_bits(spectrum, code_bytes)
    )
    lead = bytes_dims + nibble_dims
    reflectors, triangle = _reflections(directions[:, :lead])
    leading = (values - mean) - ((values - mean) @ reflectors.T) @ triangle.T @ reflectors
    leading = np.ascontiguousarray(leading[:, :lead], np.float32)
    centroids = kmeans(leading, lists, seed=seed)
    steps = _steps(leading, centroids, bytes_dims)
    signs = np.random.default_rng(seed).choice(np.array([-1, 1], np.float32), (4, space.dim - lead))
    return ListTraining(space, bytes_dims, nibble_dims, tail, mean, reflectors, triangle, steps, signs, centroids)


def kmeans(sample: F32, clusters: int, *, rounds: int = _ROUNDS, balance: float = _BALANCE, seed: int = 0) -> F32:
    """Return centroids [clusters, dim] of balanced k-means over a sample [n, dim].

    A cluster's price grows with its size: by ``balance`` mean squared distances for each mean size beyond the first.
    """
    native = extension()
    if native is None:
        return reference_kmeans(sample, clusters, rounds, balance, seed)
    rows = np.ascontiguousarray(sample, np.float32)
    return native.balanced_kmeans(rows, clusters, rounds, balance, seed).reshape(clusters, sample.shape[1])


def plan_bits(spectrum: NDArray[np.float64], code_bytes: float) -> tuple[int, int, bool]:
    """Return how many leading dimensions get 8 and 4 bits, and whether the others get one each.

    Of all that fit, those whose estimates have the least variance for queries spread as the vectors are: a dimension of
    variance v whose code errs by e v adds e v^2; the tail, turned at random, adds 0.57 of its variance squared over its
    dimensions with a bit, and 2 v^2 a dimension without: there near vectors seem farther than they are, too.
    """
    dim = len(spectrum)
    if dim < 4:
        raise ValueError(f"dim: {dim} in a cluster index; accepted: 4 and above")
    if dim < 8:
        return 4, 0, dim > 4
    best, chosen = np.inf, (0, 8, True)
    for whole in range(0, min(dim, MOST_ROW) + 1, 8):
        for half in range(0, min(dim - whole, 2 * (MOST_ROW - whole)) + 1, 8):
            lead = whole + half
            for tail in (False, True):
                size = whole + half / 2 + tail * -(-(dim - lead) // 8) + 6
                if lead == 0 or size > code_bytes or (tail and lead == dim):
                    continue
                error = _variance(spectrum, whole, half, tail)
                if error < best:
                    best, chosen = error, (whole, half, tail)
    if not np.isfinite(best):
        raise ValueError(f"code_bytes: {code_bytes:.1f} for {dim} dimensions; accepted: {10 + dim / 8:.0f} and above")
    return chosen


def _planned(dim: int, spectrum: NDArray[np.float64]) -> tuple[int, int, bool]:
    """Bits within 0.06 of four bytes a dimension, or a little more where estimates are worth it.

    The larger budget and what a vector takes beside its codes stay within 0.08.
    """
    least = 16 + dim / 8
    plans = [plan_bits(spectrum, max(share * 4 * dim, least)) for share in (_SHARE, _MOST_SHARE)]
    small, large = (_variance(spectrum, *plan) for plan in plans)
    return plans[1] if dim >= 8 and large < _WORTH * small else plans[0]


def _variance(spectrum: NDArray[np.float64], whole: int, half: int, tail: bool) -> float:
    squares, byte, nibble = spectrum**2, (2 * SPAN_BYTE / 256) ** 2 / 12, (2 * SPAN_NIBBLE / 16) ** 2 / 12 + 1e-3
    lead = whole + half
    rest = spectrum[lead:]
    beyond = 0.57 * rest.sum() ** 2 / max(1, len(rest)) if tail else 2 * squares[lead:].sum()
    return float(byte * squares[:whole].sum() + nibble * squares[whole:lead].sum() + beyond)


def _principal(centred: F32) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    covariance = (centred.T @ centred).astype(np.float64) / max(1, len(centred))
    spectrum, directions = np.linalg.eigh(covariance)
    return np.maximum(spectrum[::-1], 0), directions[:, ::-1]


def _reflections(columns: NDArray[np.float64]) -> tuple[F32, F32]:
    """Return V [lead, dim] and T [lead, lead]: x - V^T T V x begins with the columns' coordinates, up to sign."""
    packed, weights = np.linalg.qr(columns, mode="raw")
    lead = len(weights)
    vectors = np.triu(packed, 1)
    vectors[np.arange(lead), np.arange(lead)] = 1
    triangle = np.zeros((lead, lead))
    for i in range(lead):
        triangle[i, i] = weights[i]
        triangle[:i, i] = -weights[i] * (triangle[:i, :i] @ (vectors[:i] @ vectors[i]))
    return np.ascontiguousarray(vectors, np.float32), np.ascontiguousarray(triangle.T, np.float32)


def _steps(leading: F32, centroids: F32, bytes_dims: int) -> F32:
    rows = leading[:: max(1, len(leading) // 8192)]
    nearest = np.argmin(np.einsum("ij,ij->i", centroids, centroids) - 2 * rows @ centroids.T, axis=1)
    spread = (rows - centroids[nearest]).std(axis=0)
    # A dimension in which the sample does not differ still needs a step.
    least = max(float(leading.std()), 1e-6) * 1e-4
    span = np.where(np.arange(leading.shape[1]) < bytes_dims, 2 * SPAN_BYTE / 256, 2 * SPAN_NIBBLE / 16)
    return (np.maximum(spread, least) * span).astype(np.float32)
