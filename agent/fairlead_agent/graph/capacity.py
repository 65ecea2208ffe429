"""Free capacity of one resource (a memory tier, or cores), kept sorted so that a question costs what it finds."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from fairlead_agent.graph.measured import Measured

#: Up to so many changes are sorted in one by one; more are cheaper to sort together.
FEW = 64


class Capacity(NamedTuple):
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
    _sorted: list[tuple[float, str]] = field(default_factory=list[tuple[float, str]], compare=False)
    _unsorted: dict[str, float] = field(default_factory=dict[str, float], compare=False)

    def put(self, capacity: Capacity) -> None:
        """Add or replace the capacity of a vertex."""
        vertex, node, free, _ = capacity
        if vertex in self.by_vertex:
            self.discard(vertex)
        self.by_vertex[vertex] = capacity
        self.by_node.setdefault(node, {})[vertex] = capacity
        self._unsorted[vertex] = free.value

    def discard(self, vertex: str) -> None:
        """Forget a vertex."""
        old = self.by_vertex.pop(vertex, None)
        if old is None:
            return
        on_node = self.by_node[old.node]
        del on_node[vertex]
        if not on_node:
            del self.by_node[old.node]
        if self._unsorted.pop(vertex, None) is None:
            del self._sorted[bisect_left(self._sorted, (old.free.value, vertex))]

    def count_at_least(self, amount: float) -> int:
        """How many vertices have ``amount`` or more."""
        amounts = self._amounts()
        return len(amounts) - bisect_left(amounts, (amount, ""))

    def at_least(self, amount: float) -> Iterator[Capacity]:
        """Vertices with ``amount`` or more, the most free first."""
        amounts, by_vertex = self._amounts(), self.by_vertex
        found = amounts[bisect_left(amounts, (amount, "")) :]
        return (by_vertex[vertex] for _, vertex in reversed(found))

    def _amounts(self) -> list[tuple[float, str]]:
        fresh = [(amount, vertex) for vertex, amount in self._unsorted.items()]
        if len(fresh) > FEW:
            self._sorted += fresh
            self._sorted.sort()
        else:
            for item in fresh:
                insort(self._sorted, item)
        self._unsorted.clear()
        return self._sorted
