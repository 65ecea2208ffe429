"""Free capacity of one resource (a memory tier, or cores), kept sorted so that a question costs what it finds."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from dataclasses import dataclass, field

from fairlead_agent.graph.measured import Measured


@dataclass(frozen=True, slots=True)
class Capacity:
    """Free capacity of one vertex."""

    vertex: str
    node: str
    free: Measured
    simulated: bool


@dataclass(slots=True)
class CapacityIndex:
    """Free capacity by amount and by node."""

    by_vertex: dict[str, Capacity] = field(default_factory=dict[str, Capacity])
    by_node: dict[str, dict[str, Capacity]] = field(default_factory=dict[str, dict[str, Capacity]])
    _sorted: list[tuple[float, str]] = field(default_factory=list[tuple[float, str]])

    def put(self, capacity: Capacity) -> None:
        """Add or replace the capacity of a vertex."""
        self.discard(capacity.vertex)
        self.by_vertex[capacity.vertex] = capacity
        self.by_node.setdefault(capacity.node, {})[capacity.vertex] = capacity
        insort(self._sorted, (capacity.free.value, capacity.vertex))

    def discard(self, vertex: str) -> None:
        """Forget a vertex."""
        old = self.by_vertex.pop(vertex, None)
        if old is None:
            return
        on_node = self.by_node[old.node]
        del on_node[vertex]
        if not on_node:
            del self.by_node[old.node]
        del self._sorted[bisect_left(self._sorted, (old.free.value, vertex))]

    def count_at_least(self, amount: float) -> int:
        """How many vertices have ``amount`` or more."""
        return len(self._sorted) - bisect_left(self._sorted, (amount, ""))

    def at_least(self, amount: float) -> Iterator[Capacity]:
        """Vertices with ``amount`` or more, the most free first; equal ones by id."""
        end = len(self._sorted)
        while end > 0 and (top := self._sorted[end - 1][0]) >= amount:
            start = bisect_left(self._sorted, (top, ""), 0, end)
            for _, vertex in self._sorted[start:end]:
                yield self.by_vertex[vertex]
            end = start
