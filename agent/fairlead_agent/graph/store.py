"""The site's resource graph as one reader knows it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

from fairlead_agent.graph.edge import Edge
from fairlead_agent.graph.entry import Entry
from fairlead_agent.graph.indexes import Indexes
from fairlead_agent.graph.keys import ARTIFACT, belongs_to, is_edge
from fairlead_agent.graph.shard import Shard
from fairlead_agent.graph.update import Rejection, ShardUpdate
from fairlead_agent.graph.vertex import Vertex

_ARTIFACTS = ARTIFACT + "/"


@dataclass(frozen=True, slots=True)
class MergeResult:
    """What an update did."""

    changed: tuple[str, ...] = ()
    """Keys whose vertex or edge is now another, or gone."""
    rejected: tuple[Rejection, ...] = ()
    stale: bool = False
    """The update was of an incarnation that has ended."""
    gap: bool = False
    """Updates before it are missing: ask the node for a rebirth."""


@dataclass(slots=True)
class ResourceGraph:
    """Vertices and edges of all nodes, merged from what each node says of itself.

    One writer per fact: an entry belongs to the node that its key begins with. Vertices of artifacts belong to nobody:
    their digest fixes their facts, so any node may state them, and of several statements the one of the
    alphabetically first node counts.
    """

    vertices: dict[str, Vertex] = field(default_factory=dict[str, Vertex])
    edges: dict[str, Edge] = field(default_factory=dict[str, Edge])
    shards: dict[str, Shard] = field(default_factory=dict[str, Shard])
    indexes: Indexes = field(default_factory=Indexes)
    _complete_seq: dict[str, int] = field(default_factory=dict[str, int])
    _statements: dict[str, dict[str, Vertex]] = field(default_factory=dict[str, dict[str, Vertex]])

    def merge(self, update: ShardUpdate) -> MergeResult:
        """Take in what a node says. Order and repetition of updates do not matter for what the graph becomes."""
        shard = self.shards.setdefault(update.node, Shard())
        if update.incarnation < shard.incarnation:
            return MergeResult(rejected=update.rejected, stale=True)
        if update.incarnation > shard.incarnation:
            self._complete_seq.pop(update.node, None)
        accepted, rejected = _own(update)
        touched = shard.take(accepted)
        changed = tuple(key for key in sorted(touched) if self._refresh(update.node, key, shard.current(key)))
        return MergeResult(changed, update.rejected + rejected, gap=self._gap(update))

    def forget(self, node: str) -> tuple[str, ...]:
        """Drop all that a node said, when it has left the site for good; returns the keys that are gone.

        This is a decision of this reader and no merge: a later update of the node brings it back.
        """
        shard = self.shards.pop(node, None)
        self._complete_seq.pop(node, None)
        if shard is None:
            return ()
        keys = sorted(shard.snapshot.keys() | shard.changes.keys())
        return tuple(key for key in keys if self._refresh(node, key, None))

    def seq_of(self, node: str) -> int:
        """Up to which update a node's part is complete; 0 where nothing is known."""
        return self._complete_seq.get(node, 0)

    def incarnation_of(self, node: str) -> int:
        """The incarnation whose entries are held; 0 where nothing is known."""
        shard = self.shards.get(node)
        return shard.incarnation if shard else 0

    def _gap(self, update: ShardUpdate) -> bool:
        complete = self._complete_seq.get(update.node, 0)
        if update.full or update.seq == complete + 1:
            self._complete_seq[update.node] = max(complete, update.seq)
            return False
        return update.seq > complete

    def _refresh(self, writer: str, key: str, entry: Entry | None) -> bool:
        value = None if entry is None else entry.value
        if key.startswith(_ARTIFACTS):
            value = self._state(writer, key, value)
        if is_edge(key):
            return self._refresh_edge(key, cast("Edge | None", value))
        return self._refresh_vertex(key, cast("Vertex | None", value))

    def _refresh_vertex(self, key: str, value: Vertex | None) -> bool:
        old = self.vertices.pop(key, None)
        if value is not None:
            self.vertices[key] = value
        if value is old:
            return False
        if old is not None:
            self.indexes.drop_vertex(old)
        if value is not None:
            self.indexes.add_vertex(value)
        return value != old

    def _refresh_edge(self, key: str, value: Edge | None) -> bool:
        old = self.edges.pop(key, None)
        if value is not None:
            self.edges[key] = value
        if value is old:
            return False
        if old is not None:
            self.indexes.drop_edge(key, old)
        if value is not None:
            self.indexes.add_edge(key, value)
        return value != old

    def _state(self, writer: str, key: str, value: Vertex | Edge | None) -> Vertex | None:
        statements = self._statements.setdefault(key, {})
        if isinstance(value, Vertex):
            statements[writer] = value
        else:
            statements.pop(writer, None)
        if not statements:
            del self._statements[key]
            return None
        return statements[min(statements)]


def merged(*updates: ShardUpdate) -> ResourceGraph:
    """The graph that a set of updates makes."""
    graph = ResourceGraph()
    for update in updates:
        graph.merge(update)
    return graph


def _own(update: ShardUpdate) -> tuple[ShardUpdate, tuple[Rejection, ...]]:
    foreign = [entry for entry in update.entries if not belongs_to(entry.key, update.node)]
    if not foreign:
        return update, ()
    kept = tuple(entry for entry in update.entries if belongs_to(entry.key, update.node))
    reason = f"is not {update.node!r}'s to write; accepted: {update.node!r}, its parts and edges that start there"
    rejected = tuple(Rejection(entry.key, f"{entry.key!r} {reason}") for entry in foreign)
    return ShardUpdate(update.node, update.incarnation, update.seq, update.full, kept), rejected
