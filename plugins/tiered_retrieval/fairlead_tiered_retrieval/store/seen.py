"""Queries that came of late: what recall is worth measuring on, since they need not look like what is stored."""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray

#: Queries that are kept, of one request at most, and how many say something.
KEPT, OF_ONE, ENOUGH = 256, 32, 50


class SeenQueries:
    """The last few queries without a filter, in memory alone. Any thread may note them."""

    def __init__(self) -> None:
        self.came = 0
        """Queries that came in all."""
        self._rows: list[NDArray] = []
        self._next = 0
        self._lock = threading.Lock()

    def note(self, queries: NDArray) -> None:
        """Keep some of these [n, columns] in the place of the oldest."""
        step = max(1, -(-len(queries) // OF_ONE))
        with self._lock:
            self.came += len(queries)
            for row in queries[::step]:
                if len(self._rows) < KEPT:
                    self._rows.append(row.copy())
                else:
                    self._rows[self._next] = row.copy()
                    self._next = (self._next + 1) % KEPT

    def rows(self, most: int = KEPT) -> NDArray:
        """Return distinct ones of those that are kept, [n, columns], as many as wanted at most."""
        with self._lock:
            rows = list(self._rows)
        if not rows:
            return np.empty((0, 0), np.float32)
        distinct = np.unique(np.stack(rows), axis=0)
        return np.ascontiguousarray(distinct[np.linspace(0, len(distinct) - 1, min(most, len(distinct))).astype(int)])
