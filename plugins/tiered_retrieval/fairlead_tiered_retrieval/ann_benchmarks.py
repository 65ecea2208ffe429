"""An index as ann-benchmarks runs it (github.com/erikbern/ann-benchmarks): its `BaseANN`, without importing it.

Copy ``benchmarks/ann_benchmarks`` to ``ann_benchmarks/algorithms/fairlead`` of a checkout: its config names this.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from .errors import TieredRetrievalError
from .flat_index import FlatIndex
from .index import Found, Index, IndexKind, Limits
from .space import Element, Metric, Space
from .store.policy import index_kind

#: Of ann-benchmarks, and what we call it.
METRICS: dict[str, Metric] = {"euclidean": "l2", "angular": "cosine", "hamming": "l2"}


class Fairlead:
    """One index. Settings are the recall that a search asks for.

    Args:
        metric: euclidean, angular or hamming.
        kind: graph, lists or flat.
        options: of the kind's build.
        threads: of the build.
    """

    def __init__(
        self, metric: str, kind: str = "graph", options: dict[str, Any] | None = None, threads: int = 1
    ) -> None:
        if metric not in METRICS:
            raise TieredRetrievalError(f"metric = {metric!r}; accepted: {', '.join(METRICS)}")
        self._metric, self._kind, self._options, self._threads = metric, kind, dict(options or {}), threads
        self._class = cast("type[IndexKind]", FlatIndex) if kind == "flat" else index_kind(kind)
        self._index: Index | None = None
        self._recall = 0.95
        self._found: Found | None = None
        self._reads = self._searched = 0

    def fit(self, vectors: NDArray) -> None:
        """Build the index over [n, d]; of hamming, rows of booleans."""
        rows = self._rows(vectors)
        element: Element = "float32" if self._metric != "hamming" else "bit"
        space = Space(element, METRICS[self._metric], vectors.shape[1])
        slots = np.arange(len(rows), dtype=np.int64)
        self._index = self._class.build(space, slots, rows, limits=Limits(threads=self._threads), **self._options)

    def set_query_arguments(self, recall: float) -> None:
        """Say what recall the next searches ask for, above 0 and up to 1."""
        if not 0 < recall <= 1:
            raise TieredRetrievalError(f"recall = {recall}; accepted: above 0, up to 1")
        self._recall = recall

    def query(self, vector: NDArray, n: int) -> NDArray[np.int64]:
        """Return ids of the nearest n of one vector."""
        return self._ids(self._search(vector[None], n))[0]

    def batch_query(self, vectors: NDArray, n: int) -> None:
        """Search many; `get_batch_results` has what was found."""
        self._found = self._search(vectors, n)

    def get_batch_results(self) -> list[NDArray[np.int64]]:
        """Return ids of the nearest of each vector of the last batch."""
        return [] if self._found is None else self._ids(self._found)

    def get_additional(self) -> dict[str, float]:
        """Return reads of exact vectors for each query."""
        return {"reads": self._reads / max(1, self._searched)}

    def get_memory_usage(self) -> float:
        """Return KiB that the index takes, in memory and in its tier."""
        return sum(self._built.sizes()) / 1024

    def done(self) -> None:
        """Let the index go."""
        self._index = self._found = None

    def __str__(self) -> str:
        return f"Fairlead({self._kind}, recall={self._recall:g})"

    @property
    def _built(self) -> Index:
        if self._index is None:
            raise TieredRetrievalError("there is no index; accepted: fit first")
        return self._index

    def _search(self, vectors: NDArray, n: int) -> Found:
        found = self._built.search(self._rows(vectors), n, recall=self._recall)
        self._reads += int(found.reads.sum())
        self._searched += len(vectors)
        return found

    def _rows(self, vectors: NDArray) -> NDArray:
        if self._metric == "hamming":
            return np.packbits(np.asarray(vectors, bool), axis=1)
        return np.ascontiguousarray(vectors, np.float32)

    @staticmethod
    def _ids(found: Found) -> list[NDArray[np.int64]]:
        return [row[row >= 0] for row in found.slots]
