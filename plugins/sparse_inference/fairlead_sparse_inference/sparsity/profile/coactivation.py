"""Which neurons fire together, and an order that puts them side by side on disk."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .record import unpack

FloatArray = NDArray[np.float32]
_CHUNK = 4096
#: How much of its affinity to earlier neurons the chain keeps at each step.
_MEMORY = 0.7


@dataclass(frozen=True, slots=True)
class Pair:
    """Two neurons, how many tokens fire both, and the Jaccard index: both / either."""

    first: int
    second: int
    tokens: int
    jaccard: float


def joint_counts(bits: NDArray[np.uint8], neurons: int) -> FloatArray:
    """Return how many tokens fire both neurons of each pair, [neurons, neurons]; the diagonal counts each alone."""
    counts = np.zeros((neurons, neurons), np.float32)
    for start in range(0, len(bits), _CHUNK):
        fires = unpack(bits[start : start + _CHUNK], neurons).astype(np.float32)
        counts += fires.T @ fires
    return counts


def jaccard(counts: FloatArray) -> FloatArray:
    """Return the Jaccard index of each pair, with a zero diagonal."""
    alone = np.diagonal(counts)
    either = alone[:, None] + alone[None, :] - counts
    index = np.divide(counts, either, out=np.zeros_like(counts), where=either > 0)
    np.fill_diagonal(index, 0)
    return index


def top_pairs(counts: FloatArray, index: FloatArray, most: int, fewest_tokens: int) -> list[Pair]:
    """Return the pairs with the highest Jaccard index among those that at least `fewest_tokens` fire together."""
    rows, columns = np.triu_indices(len(counts), 1)
    enough = counts[rows, columns] >= fewest_tokens
    rows, columns = rows[enough], columns[enough]
    scores = index[rows, columns]
    best = np.argsort(-scores, kind="stable")[:most]
    chosen = zip(rows[best], columns[best], scores[best], strict=True)
    return [Pair(int(i), int(j), int(counts[i, j]), round(float(score), 4)) for i, j, score in chosen]


def chain_order(counts: FloatArray, index: FloatArray) -> NDArray[np.int32]:
    """Return an order of neurons, int32 [neurons], in which those that fire together lie side by side.

    A greedy chain: it starts at the most frequent neuron and goes on to the one with most affinity to the last ones,
    the past fading by a factor at each step. Never-firing neurons come last, in their own order.
    """
    alone = np.diagonal(counts)
    size = len(alone)
    # Ties go to the more frequent neuron: a quantity below any difference of two Jaccard indices that matters.
    tie = (alone / max(float(alone.max(initial=0)), 1.0) * np.float32(1e-6)).astype(np.float32)
    open_ = np.where(alone > 0, np.float32(0), np.float32(-np.inf))
    affinity = np.zeros(size, np.float32)
    order: list[int] = []
    for _ in range(int((alone > 0).sum())):
        best = int(np.argmax(affinity + tie + open_))
        order.append(best)
        open_[best] = -np.inf
        affinity = _MEMORY * affinity + index[best]
    return np.asarray([*order, *np.flatnonzero(alone == 0)], np.int32)


def clusters_touched(bits: NDArray[np.uint8], order: NDArray[np.int32], size: int) -> float:
    """Return how many clusters of `size` neighbours in an order hold a neuron that fires, on average a token."""
    neurons = len(order)
    padded = -(-neurons // size) * size
    touched = 0
    for start in range(0, len(bits), _CHUNK):
        fires = np.zeros((len(bits[start : start + _CHUNK]), padded), np.bool_)
        fires[:, :neurons] = unpack(bits[start : start + _CHUNK], neurons)[:, order]
        touched += int(fires.reshape(len(fires), -1, size).any(axis=2).sum())
    return touched / max(len(bits), 1)
