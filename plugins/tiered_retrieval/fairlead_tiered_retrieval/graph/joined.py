"""Which searches of a graph join one another."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from fairlead_kernels.vector_graph import GraphStream

#: Searches of so many queries join those of others that are under way.
_FEW = 8


class Joined:
    """A search that comes alone computes on its caller's thread; those that come meanwhile share a stream.

    Args:
        make: the stream; None where there is none to be had.
    """

    def __init__(self, make: Callable[[], GraphStream | None]) -> None:
        self._make = make
        self._stream: GraphStream | None = None
        self._under_way = 0
        self._lock = threading.Lock()

    @contextmanager
    def one(self, queries: int) -> Iterator[GraphStream | None]:
        """Count a search of so many queries as under way; lend the stream where it shall use that."""
        with self._lock:
            join = self._under_way > 0 and queries <= _FEW
            if join and self._stream is None:
                self._stream = self._make()
            self._under_way += 1
        try:
            yield self._stream if join else None
        finally:
            with self._lock:
                self._under_way -= 1
