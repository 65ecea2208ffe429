"""What a sample of vectors says about all of them: spectrum, local dimension, error of codes, lists to probe."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import TieredRetrievalError
from .costs import Shape

#: Vectors looked at, and of those as many ask for the others.
SAMPLE, QUERIES, NEIGHBOURS = 4096, 256, 10


def look(vectors: NDArray, count: int | None = None, seed: int = 0) -> Shape:
    """Return the shape of data from a sample.

    Args:
        vectors: [n, d], real numbers of any type; at most 4,096 rows are looked at.
        count: of vectors in all; None: n.
        seed: of what is drawn.

    Raises:
        TieredRetrievalError: fewer than 32 vectors.
    """
    if vectors.ndim != 2 or len(vectors) < 32:
        raise TieredRetrievalError(f"a sample of shape {vectors.shape}; accepted: [n, d] with n of 32 and more")
    random = np.random.default_rng(seed)
    chosen = random.permutation(len(vectors))[:SAMPLE]
    rows = np.asarray(vectors[np.sort(chosen)], np.float32)
    random.shuffle(rows)
    asked = min(QUERIES, len(rows) // 4)
    queries, base = rows[:asked], rows[asked:]
    near, distances = nearest(base, queries, NEIGHBOURS)
    lists = max(1, round(len(base) ** 0.5))
    centres, assigned = cluster(base, lists, random)
    further, closed = closure(queries, near, base, centres)
    return Shape(
        count=len(vectors) if count is None else count,
        dim=vectors.shape[1],
        vector_bytes=vectors.shape[1] * vectors.dtype.itemsize,
        local_dim=local_dimension(distances),
        error=code_error(base, queries, near, centres, assigned, random),
        probes=probes_for(queries, near, centres, assigned, 0.95),
        further=further,
        closed=closed,
    )


def spectrum(vectors: NDArray) -> NDArray[np.float64]:
    """Return the share of the variance in each principal direction, falling."""
    rows = np.asarray(vectors, np.float64)
    values = np.linalg.eigvalsh(np.cov(rows.T))[::-1].clip(0)
    return values / max(values.sum(), np.finfo(float).tiny)


def local_dimension(distances: NDArray[np.float32]) -> float:
    """Return the maximum-likelihood estimate of the local dimension (Levina and Bickel, 2004, eq. 8 and 9).

    Args:
        distances: squared, [n, k], the nearest first.
    """
    radii = np.sqrt(np.maximum(distances.astype(np.float64), 1e-12))
    inverse = np.log(radii[:, -1:] / radii[:, :-1]).mean(axis=1)
    inverse = inverse[inverse > 1e-9]
    # MacKay and Ghahramani: averaging the inverses corrects the bias at small k.
    return float(1 / inverse.mean()) if len(inverse) else 1.0


def nearest(base: NDArray[np.float32], queries: NDArray[np.float32], k: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return ids and squared distances [m, k], the nearest first, all compared."""
    norms = np.einsum("ij,ij->i", base, base)
    scores = norms - 2 * (queries @ base.T) + np.einsum("ij,ij->i", queries, queries)[:, None]
    near = np.argpartition(scores, k - 1, axis=1)[:, :k]
    order = np.argsort(np.take_along_axis(scores, near, 1), axis=1)
    near = np.take_along_axis(near, order, 1)
    return near, np.take_along_axis(scores, near, 1).clip(0)


def cluster(base: NDArray[np.float32], lists: int, random: np.random.Generator) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return centres [lists, d] and each row's list after some rounds of Lloyd's algorithm."""
    centres = base[random.choice(len(base), lists, replace=False)].copy()
    assigned = np.zeros(len(base), np.int64)
    for _ in range(6):
        assigned = (np.einsum("ij,ij->i", centres, centres) - 2 * (base @ centres.T)).argmin(axis=1)
        sums = np.zeros_like(centres)
        np.add.at(sums, assigned, base)
        sizes = np.bincount(assigned, minlength=lists)[:, None]
        centres = np.where(sizes > 0, sums / np.maximum(sizes, 1), centres).astype(np.float32)
    return centres, assigned


def probes_for(
    queries: NDArray[Any], near: NDArray[Any], centres: NDArray[Any], assigned: NDArray[Any], recall: float
) -> float:
    """Return how many lists, the nearest first, hold such a share of the true neighbours."""
    order = np.argsort(np.einsum("ij,ij->i", centres, centres) - 2 * (queries @ centres.T), axis=1)
    rank = np.argsort(order, axis=1)
    needed = np.sort(np.take_along_axis(rank, assigned[near], 1).ravel()) + 1
    return float(needed[min(len(needed) - 1, int(recall * len(needed)))])


def closure(
    queries: NDArray[Any], near: NDArray[Any], base: NDArray[Any], centres: NDArray[Any]
) -> tuple[float, float]:
    """Return how many further lists a vector has with closure, and what a search scans then as a share of without.

    The further list is the nearest whose centre is at most twice as far, squared, and whose squared distance from the
    own list's centre is at least two thirds of that to the vector: the rule of `fairlead_kernels.vector_lists`. What is
    scanned is the mean over recalls of 0.9 to 0.96.
    """
    apart = _squared(base, centres)
    own = apart.argmin(axis=1)
    rows, between = np.arange(len(base)), _squared(centres, centres)
    fits = (apart <= 2 * apart[rows, own][:, None]) & (1.5 * between[own] >= apart)
    fits[rows, own] = False
    second = np.where(fits.any(axis=1), np.where(fits, apart, np.inf).argmin(axis=1), own)
    rank = np.argsort(np.argsort(_squared(queries, centres), axis=1), axis=1)
    asked = np.arange(len(queries))[:, None]
    alone = _scanned(rank, rank[asked, own[near]], np.bincount(own, minlength=len(centres)))
    extra = np.bincount(second[second != own], minlength=len(centres))
    first = np.minimum(rank[asked, own[near]], rank[asked, second[near]])
    return float((second != own).mean()), _scanned(
        rank, first, np.bincount(own, minlength=len(centres)) + extra
    ) / alone


def _scanned(rank: NDArray[Any], found: NDArray[Any], sizes: NDArray[Any]) -> float:
    """Codes scanned a query until so many neighbours are in the lists probed, the mean over some recalls."""
    turns = np.sort(found, axis=None)
    probes = [turns[int(recall * (len(turns) - 1))] + 1 for recall in (0.9, 0.92, 0.94, 0.96)]
    return float(np.mean([(sizes * (rank < some)).sum(axis=1).mean() for some in probes]))


def _squared(rows: NDArray[Any], centres: NDArray[Any]) -> NDArray[np.float64]:
    products = rows.astype(np.float64) @ centres.T.astype(np.float64)
    norms = (np.einsum("ij,ij->i", each, each) for each in (rows.astype(np.float64), centres.astype(np.float64)))
    own, other = norms
    return np.maximum(own[:, None] + other - 2 * products, 0)


def code_error(
    base: NDArray[Any],
    queries: NDArray[Any],
    near: NDArray[Any],
    centres: NDArray[Any],
    assigned: NDArray[Any],
    random: np.random.Generator,
) -> float:
    """Return the standard error of 1-bit estimates of the neighbours' squared distances, as a share of the tenth's.

    RaBitQ: the residual to the centre, rotated, is coded by its signs; the estimate of its product with the query is
    <signs, query> / <signs, residual>, times the residual's squared length (Gao and Long, 2024, theorem 3.2).
    """
    dim = base.shape[1]
    rotation = np.linalg.qr(random.standard_normal((dim, dim)))[0].astype(np.float32)
    errors = []
    for query, ids in zip(queries, near, strict=True):
        centre = centres[assigned[ids]]
        residual, asked = (base[ids] - centre) @ rotation, (query - centre) @ rotation
        signs = np.sign(residual)
        along = np.einsum("ij,ij->i", signs, residual)
        lengths = np.einsum("ij,ij->i", residual, residual)
        product = np.einsum("ij,ij->i", signs, asked) / np.maximum(along, 1e-12) * lengths
        true = np.einsum("ij,ij->i", residual, asked)
        tenth = float(((base[ids[-1]] - query) ** 2).sum())
        errors.append(2 * (product - true) / max(tenth, 1e-12))
    return float(np.sqrt(np.mean(np.square(errors))))
