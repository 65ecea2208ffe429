"""The writer of the local node's part of the graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from fairlead_agent.graph.attributes import attributes_of, significance
from fairlead_agent.graph.edge import Edge
from fairlead_agent.graph.entry import Entry, check_measured
from fairlead_agent.graph.errors import GraphError
from fairlead_agent.graph.keys import belongs_to
from fairlead_agent.graph.measured import Measured
from fairlead_agent.graph.update import ShardUpdate
from fairlead_agent.graph.vertex import Vertex

REFRESH_S = 60.0


@dataclass(slots=True)
class ShardWriter:
    """Collects what the node finds out about itself and tells what is worth telling.

    :meth:`put`, :meth:`measure` and :meth:`remove` stage; :meth:`flush` turns what was staged into one update. A
    change that is smaller than its attribute's significance, against what was last *told*, is held back until the told
    value is older than ``refresh_s``, so that a jittering sensor is silent and a slow drift is not.
    """

    node: str
    incarnation: int
    refresh_s: float = REFRESH_S
    significance: Mapping[str, float] = field(default_factory=dict[str, float])
    """Relative change by attribute; what is not named here has the table's."""
    seq: int = 0
    """Of the last update that :meth:`flush` returned."""
    _told: dict[str, Entry] = field(default_factory=dict[str, Entry])
    _staged: dict[str, Vertex | Edge | None] = field(default_factory=dict[str, Vertex | Edge | None])

    def put(self, *values: Vertex | Edge) -> bool:
        """Stage vertices and edges; returns whether any of them is worth telling.

        Raises:
            GraphError: one of them belongs to another node or does not fit; nothing is staged then.
        """
        for value in values:
            self._check(value)
        staged = [self._stage(value) for value in values]
        return any(staged)

    def measure(self, key: str, attribute: str, measured: Measured) -> bool:
        """Stage one measured attribute of a vertex or edge that was put before.

        Raises:
            GraphError: there is no such vertex or edge, or the value does not fit.
        """
        known = self.get(key)
        if known is None:
            accepted = ", ".join(self.keys()) or "nothing yet"
            raise GraphError(f"{key!r} is not in the part of {self.node!r}; accepted: {accepted}")
        return self.put(replace(known, measured={**known.measured, attribute: measured}))

    def remove(self, *keys: str) -> bool:
        """Stage the end of vertices and edges; returns whether any of them was known."""
        found = False
        for key in keys:
            staged = self._staged.pop(key, None) is not None
            if key in self._told:
                self._staged[key] = None
            found = found or staged or key in self._told
        return found

    def get(self, key: str) -> Vertex | Edge | None:
        """What is staged or was told under a key."""
        if key in self._staged:
            return self._staged[key]
        entry = self._told.get(key)
        return None if entry is None else entry.value

    def keys(self) -> list[str]:
        """All keys of the part, staged ones included."""
        gone = {key for key, value in self._staged.items() if value is None}
        return sorted((self._told.keys() | self._staged.keys()) - gone)

    def flush(self) -> ShardUpdate | None:
        """The staged changes as one update, with the next ``seq``; None where there are none."""
        if not self._staged:
            return None
        self.seq += 1
        entries = tuple(Entry(key, self.seq, value) for key, value in self._staged.items())
        for entry in entries:
            if entry.value is None:
                del self._told[entry.key]
            else:
                self._told[entry.key] = entry
        self._staged = {}
        return ShardUpdate(self.node, self.incarnation, self.seq, False, entries)

    def snapshot(self) -> ShardUpdate:
        """All that has been told, as one full update; what is staged is not in it."""
        return ShardUpdate(self.node, self.incarnation, self.seq, True, tuple(self._told.values()))

    def _check(self, value: Vertex | Edge) -> None:
        if not belongs_to(value.key, self.node):
            raise GraphError(f"{value.key!r} is not {self.node!r}'s to write")
        value.check()
        table = attributes_of(value.kind)
        for name, measured in value.measured.items():
            check_measured(name, measured, table.get(name))

    def _stage(self, value: Vertex | Edge) -> bool:
        told = self._told.get(value.key)
        if told is not None and told.value is not None and not self._significant(told.value, value):
            self._staged.pop(value.key, None)
            return False
        self._staged[value.key] = value
        return True

    def _significant(self, old: Vertex | Edge, new: Vertex | Edge) -> bool:
        if (old.kind, old.simulated, old.properties) != (new.kind, new.simulated, new.properties):
            return True
        if old.measured.keys() != new.measured.keys():
            return True
        return any(self._moved(new, name, old.measured[name], measured) for name, measured in new.measured.items())

    def _moved(self, value: Vertex | Edge, name: str, old: Measured, new: Measured) -> bool:
        if new.measured_at - old.measured_at >= self.refresh_s and new.measured_at > old.measured_at:
            return True
        limit = self.significance.get(name)
        share = significance(value.kind, name) if limit is None else limit
        return abs(new.value - old.value) > share * max(abs(old.value), abs(new.value))
