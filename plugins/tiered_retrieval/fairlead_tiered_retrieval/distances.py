"""Exact distances, and the nearest of many rows: native where compiled, else by matrix multiplication."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels import vectors as kernels
from fairlead_kernels.backend import extension

from .space import Space, to_float

#: Rows that are compared at once: enough for the matrix product to be efficient, few enough to stay in cache.
CHUNK = 4096
#: More candidates than asked for, whose distances are computed without cancellation.
_SLACK = 16
#: Distances that are held at once.
_AT_ONCE = 1 << 22


def distances(queries: NDArray, rows: NDArray, space: Space) -> NDArray[np.float32]:
    """Return distances [queries, rows], rounded as a float32 matrix product is."""
    if space.element == "bit":
        return _hamming(queries, rows)
    one, other = to_float(queries, space), to_float(rows, space)
    dots = one @ other.T
    if space.metric == "dot":
        return -dots
    ones, others = np.einsum("ij,ij->i", one, one), np.einsum("ij,ij->i", other, other)
    if space.metric == "cosine":
        return 1 - dots / np.sqrt(np.maximum(ones[:, None] * others, np.finfo(np.float32).tiny))
    return np.maximum(ones[:, None] + others - 2 * dots, 0)


def exact_distances(query: NDArray, rows: NDArray, space: Space) -> NDArray[np.float32]:
    """Return distances [rows] of one query [columns], computed in float64 without cancellation."""
    if space.element == "bit":
        return _hamming(query[None], rows)[0]
    one, others = to_float(query[None], space)[0].astype(np.float64), to_float(rows, space).astype(np.float64)
    if space.metric == "l2":
        return np.square(others - one).sum(axis=1).astype(np.float32)
    dots = others @ one
    if space.metric == "dot":
        return (-dots).astype(np.float32)
    lengths = np.sqrt((one @ one) * np.einsum("ij,ij->i", others, others))
    return (1 - dots / np.maximum(lengths, np.finfo(np.float64).tiny)).astype(np.float32)


def nearest(
    queries: NDArray, rows: NDArray, slots: NDArray[np.int64], k: int, space: Space
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the k nearest of some rows exactly, of equals those of lower slots.

    Args:
        queries: [n, columns].
        rows: all rows by slot, maybe mapped from a file.
        slots: int64 [m] ascending: which of the rows take part.
        k: how many.
        space: of both.

    Returns:
        slots int64 [n, k], -1 where there are fewer, and distances float32 [n, k], there infinite.
    """
    if extension() is not None and len(queries) and len(slots):
        at_once = max(1, _AT_ONCE // len(slots))
        parts = [queries[start : start + at_once] for start in range(0, len(queries), at_once)]
        found = [_nearest_native(part, rows, slots, k, space) for part in parts]
        return np.concatenate([one for one, _ in found]), np.concatenate([other for _, other in found])
    return _nearest_numpy(queries, rows, slots, k, space)


def _nearest_native(
    queries: NDArray, rows: NDArray, slots: NDArray[np.int64], k: int, space: Space
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    first, end = int(slots[0]), int(slots[-1]) + 1
    if end - first == len(slots):
        every = kernels.distances(space, queries, rows[first:end])
    else:
        every = kernels.distances(space, queries, rows, slots.astype(np.uint32))
    found = np.full((len(queries), k), -1, np.int64), np.full((len(queries), k), np.inf, np.float32)
    for row, distances_of_query in enumerate(every):
        order = _least(distances_of_query, k)
        found[0][row, : len(order)], found[1][row, : len(order)] = slots[order], distances_of_query[order]
    return found


def _least(values: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """Places of the k least, ascending, of equals the first ones."""
    if k >= len(values):
        return np.argsort(values, kind="stable")
    bound = np.partition(values, k - 1)[k - 1]
    places = np.flatnonzero(values <= bound)
    return places[np.argsort(values[places], kind="stable")][:k]


def _nearest_numpy(
    queries: NDArray, rows: NDArray, slots: NDArray[np.int64], k: int, space: Space
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    best = np.full((len(queries), 0), np.inf, np.float32)
    which = np.full((len(queries), 0), -1, np.int64)
    for start in range(0, len(slots), CHUNK):
        part = slots[start : start + CHUNK]
        whole = len(part) and part[-1] - part[0] == len(part) - 1
        gathered = rows[part[0] : part[-1] + 1] if whole else rows[part]
        found = np.hstack((best, distances(queries, gathered, space)))
        names = np.hstack((which, np.broadcast_to(part, (len(queries), len(part)))))
        keep = min(k + _SLACK, found.shape[1])
        order = np.argpartition(found, keep - 1, axis=1)[:, :keep]
        best, which = np.take_along_axis(found, order, 1), np.take_along_axis(names, order, 1)
    return _reranked(queries, rows, which, k, space)


def _reranked(
    queries: NDArray, rows: NDArray, which: NDArray[np.int64], k: int, space: Space
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    slots, found = np.full((len(queries), k), -1, np.int64), np.full((len(queries), k), np.inf, np.float32)
    for row, names in enumerate(which):
        exact = exact_distances(queries[row], rows[names], space)
        order = np.lexsort((names, exact))[:k]
        slots[row, : len(order)], found[row, : len(order)] = names[order], exact[order]
    return slots, found


def _hamming(queries: NDArray, rows: NDArray) -> NDArray[np.float32]:
    found = np.empty((len(queries), len(rows)), np.float32)
    for row, query in enumerate(queries):
        found[row] = np.bitwise_count(rows ^ query).sum(axis=1, dtype=np.int64)
    return found
