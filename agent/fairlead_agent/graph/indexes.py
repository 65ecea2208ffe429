"""What the graph's queries look up, kept as entries come and go."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar

from fairlead_agent.graph.capacity import Capacity, CapacityIndex
from fairlead_agent.graph.edge import Edge
from fairlead_agent.graph.keys import ARTIFACT, owner
from fairlead_agent.graph.kinds import EdgeKind, VertexKind
from fairlead_agent.graph.vertex import Vertex

T = TypeVar("T")
CORES = "cores"
"""The resource of processors; the others are memory tiers."""


_FREE = {
    VertexKind.PROCESSOR: "cores_free",
    VertexKind.MEMORY: "free_bytes",
    VertexKind.STORAGE: "free_bytes",
}


def resource_of(vertex: Vertex) -> str:
    """The resource that a processor, memory or storage offers."""
    return CORES if vertex.kind is VertexKind.PROCESSOR else vertex.tier


@dataclass(slots=True)
class Indexes:
    """Look-ups by what is asked. Inner dicts serve as ordered sets: iteration never depends on hashing."""

    parts: dict[str, dict[str, Vertex]] = field(default_factory=dict[str, dict[str, Vertex]])
    """By node: its vertices, itself included."""
    edges: dict[str, dict[str, Edge]] = field(default_factory=dict[str, dict[str, Edge]])
    """By source node."""
    links: dict[str, dict[str, dict[str, Edge]]] = field(default_factory=dict[str, dict[str, dict[str, Edge]]])
    """By source node and target node."""
    links_to: dict[str, dict[str, dict[str, Edge]]] = field(default_factory=dict[str, dict[str, dict[str, Edge]]])
    """The same links by target node and source node."""
    capacity: dict[str, CapacityIndex] = field(default_factory=dict[str, CapacityIndex])
    """By resource."""
    holders: dict[str, dict[str, Edge]] = field(default_factory=dict[str, dict[str, Edge]])
    """By artifact id: its caches edges."""
    instances: dict[str, dict[str, Vertex]] = field(default_factory=dict[str, dict[str, Vertex]])
    """By workload."""

    def add_vertex(self, vertex: Vertex) -> None:
        """Index a vertex that is not indexed."""
        node = vertex.node
        if node == ARTIFACT:
            return
        self.parts.setdefault(node, {})[vertex.id] = vertex
        if vertex.kind is VertexKind.INSTANCE:
            self.instances.setdefault(str(vertex.properties.get("workload", "")), {})[vertex.id] = vertex
        attribute = _FREE.get(vertex.kind)
        free = vertex.measured.get(attribute) if attribute else None
        if free is not None:
            index = self.capacity.setdefault(resource_of(vertex), CapacityIndex())
            index.put(Capacity(vertex.id, node, free, vertex.simulated))

    def drop_vertex(self, vertex: Vertex) -> None:
        """Take back what :meth:`add_vertex` did for the same vertex."""
        node = vertex.node
        if node == ARTIFACT:
            return
        _drop(self.parts, node, vertex.id)
        if vertex.kind is VertexKind.INSTANCE:
            _drop(self.instances, str(vertex.properties.get("workload", "")), vertex.id)
        if vertex.kind in _FREE and (index := self.capacity.get(resource_of(vertex))):
            index.discard(vertex.id)

    def add_edge(self, key: str, edge: Edge) -> None:
        """Index an edge that is not indexed."""
        node = edge.node
        self.edges.setdefault(node, {})[key] = edge
        if edge.kind is EdgeKind.LINK:
            target = owner(edge.target)
            self.links.setdefault(node, {}).setdefault(target, {})[key] = edge
            self.links_to.setdefault(target, {}).setdefault(node, {})[key] = edge
        elif edge.kind is EdgeKind.CACHES:
            self.holders.setdefault(edge.target, {})[key] = edge

    def drop_edge(self, key: str, edge: Edge) -> None:
        """Take back what :meth:`add_edge` did for the same edge."""
        node = edge.node
        _drop(self.edges, node, key)
        if edge.kind is EdgeKind.LINK:
            target = owner(edge.target)
            _drop_link(self.links, node, target, key)
            _drop_link(self.links_to, target, node, key)
        elif edge.kind is EdgeKind.CACHES:
            _drop(self.holders, edge.target, key)


def _drop(index: dict[str, dict[str, T]], name: str, key: str) -> None:
    inner = index[name]
    del inner[key]
    if not inner:
        del index[name]


def _drop_link(index: dict[str, dict[str, dict[str, Edge]]], here: str, there: str, key: str) -> None:
    by_node = index[here]
    _drop(by_node, there, key)
    if not by_node:
        del index[here]
