"""Whether vectors are entered in further lists: what it saves a search and what it takes, measured on a sample."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels.backend import extension
from fairlead_kernels.vector_lists import Closure, Lists, ListTraining

from ..distances import nearest
from ..space import Space

#: Vectors that ask, those they are held against, and how many of the nearest are looked for.
ASK, BASE, NEAREST = 300, 16_000, 10
#: Vectors that say how many copies there will be.
FEW = 2000
#: Of those nearest a search must find so many: the mean over some recalls is less a matter of chance than one.
RECALLS = (0.9, 0.92, 0.94, 0.96)
#: How much farther two lists of a vector may lie from it than from one another, squared; the first has most copies.
APART = (1.5, 1.35, 1.2)
#: Codes that are scanned in the time that a list takes to be probed.
LIST_COST = 32
#: Copies must save so much of a search, and all codes may take so much of four bytes a dimension; where few dimensions
#: make them larger than that anyway, so many times what they take without copies.
WORTH, SHARE, GROWTH = 0.1, 0.08, 1.5
#: Bytes that name a vector in its list, by its slot and by its copies; those that name a copy.
NAME, PLACES, COPY_NAME = 4, 9, 8
#: Entries come in blocks: of the last one so many are free.
FREE = 8


@dataclass(frozen=True, slots=True)
class Closing:
    """A choice.

    Attributes:
        closure: as the index takes it.
        reason: why, in words.
    """

    closure: Closure
    reason: str


def as_asked_for(copies: int, list_size: int) -> Closing:
    """Return the closure of a number of copies that was given."""
    words = f"up to {copies} further lists a vector" if copies else "each vector in one list"
    return Closing(_closure(copies, APART[0], list_size), f"{words}, as asked for")


def closing(
    space: Space, training: ListTraining, sample: NDArray, list_size: int, spare: float = np.inf, seed: int = 0
) -> Closing:
    """Return the closure that saves most of a search, if any is worth its memory.

    Args:
        space: of the vectors.
        training: of the index.
        sample: of its vectors.
        list_size: vectors of a list on average.
        spare: bytes that the copies may take, for each vector.
        seed: of which vectors ask.
    """
    if extension() is None:
        return Closing(Closure(), "each vector in one list: without compiled kernels others are not measured")
    if len(sample) < 20 * NEAREST or len(training.centroids) < 8:
        return Closing(Closure(), "each vector in one list: there are few")
    asked = min(ASK, len(sample) // 4)
    order = np.random.default_rng(seed).permutation(len(sample))
    queries, base = sample[order[:asked]], sample[order[asked : asked + BASE]]
    near = nearest(queries, base, np.arange(len(base)), NEAREST, space)[0]
    ranks = _ranks(training, queries)
    room = min(spare, _room(training, list_size))
    # How many copies there are is known from fewer than what they save.
    fit = [
        (apart, more)
        for apart in APART
        if _bytes(training, more := _more(training, base[:FEW], apart), list_size) <= room
    ]
    if not fit:
        return Closing(Closure(), "each vector in one list: codes in further ones would not fit")
    without = _work(ranks, Lists(training).closed(base), near, list_size)
    tried = [
        (_work(ranks, _closed(training, base, apart), near, list_size) / without, more, apart) for apart, more in fit
    ]
    share, more, apart = min(tried)
    if share > 1 - WORTH:
        return Closing(
            Closure(), f"each vector in one list: codes in {1 + more:.2f} would save {max(0, 1 - share):.0%}"
        )
    words = f"each vector in {1 + more:.2f} lists by its codes: {1 - share:.0%} less is scanned for the same recall"
    return Closing(_closure(1, apart, list_size), words)


def _closure(copies: int, apart: float, list_size: int) -> Closure:
    """No list is to have more copies than twice what lists hold."""
    return Closure(copies, apart, room=2 * list_size)


def _closed(training: ListTraining, rows: NDArray, apart: float) -> NDArray[np.uint32]:
    return Lists(training, Closure(1, apart)).closed(rows)


def _more(training: ListTraining, rows: NDArray, apart: float) -> float:
    """Further lists of a vector on average."""
    return float((_closed(training, rows, apart)[:, 1:] < len(training.centroids)).mean())


def _bytes(training: ListTraining, more: float, list_size: int) -> float:
    """Of so many copies of a vector."""
    return more * (training.row_bytes + 4 + COPY_NAME) * (1 + FREE / max(1.0, more * list_size))


def _room(training: ListTraining, list_size: int) -> float:
    """Bytes that copies may take, for each vector."""
    own = (training.code_bytes + NAME) * (1 + FREE / list_size) + PLACES + (4 * training.lead + 400) / list_size
    share = SHARE * 4 * training.space.dim
    return share - own if own <= share else (GROWTH - 1) * own


def _ranks(training: ListTraining, queries: NDArray) -> NDArray[np.int64]:
    """In which turn each query would probe each list: [queries, lists]."""
    centroids, leading = training.centroids, training.leading(queries, queries=True)
    products = leading @ centroids.T
    dots = training.space.metric == "dot" and training.space.element != "bit"
    far = -products if dots else np.einsum("ij,ij->i", centroids, centroids) - 2 * products
    return np.argsort(np.argsort(far, axis=1, kind="stable"), axis=1)


def _work(ranks: NDArray[np.int64], closed: NDArray[np.uint32], near: NDArray[np.int64], list_size: int) -> float:
    """What a search scans so that it finds enough of its nearest, the lists' own cost included, as a share of all."""
    lists = ranks.shape[1]
    padded = np.concatenate([ranks, np.full((len(ranks), 1), lists)], axis=1)
    into = np.minimum(closed, lists)[near]
    first = np.sort(padded[np.arange(len(ranks))[:, None, None], into].min(axis=2), axis=None)
    sizes = np.bincount(np.minimum(closed, lists).ravel(), minlength=lists + 1)[:lists] / len(closed)
    probes = [int(first[min(len(first) - 1, int(recall * len(first)))]) + 1 for recall in RECALLS]
    scanned = [float((sizes * (ranks < some)).sum(axis=1).mean()) for some in probes]
    return float(np.mean(scanned) + np.mean(probes) * LIST_COST / (lists * list_size))
