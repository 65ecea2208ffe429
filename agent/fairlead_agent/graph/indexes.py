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


def resource_of(vertex: Vertex) -> tuple[str, str]:
    """The resource that a vertex offers and the attribute that says how much is free; empty texts for none."""
    if vertex.kind is VertexKind.PROCESSOR:
        return CORES, "cores_free"
    return (vertex.tier, "free_bytes") if vertex.kind in (VertexKind.MEMORY, VertexKind.STORAGE) else ("", "")


@dataclass(slots=True)
class Indexes:
    """Look-ups by what is asked. Inner dicts serve as ordered sets: iteration never depends on hashing."""

    parts: dict[str, dict[str, Vertex]] = field(default_factory=dict[str, dict[str, Vertex]])
    """By node: its vertices, itself included."""
    edges: dict[str, dict[str, Edge]] = field(default_factory=dict[str, dict[str, Edge]])
    """By source node."""
    links: dict[str, dict[str, dict[str, Edge]]] = field(default_factory=dict[str, dict[str, dict[str, Edge]]])
    """By source node and target node."""
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
        resource, attribute = resource_of(vertex)
        free = vertex.measured.get(attribute) if resource else None
        if free is not None:
            index = self.capacity.setdefault(resource, CapacityIndex())
            index.put(Capacity(vertex.id, node, free, vertex.simulated))

    def drop_vertex(self, vertex: Vertex) -> None:
        """Take back what :meth:`add_vertex` did for the same vertex."""
        node = vertex.node
        if node == ARTIFACT:
            return
        _drop(self.parts, node, vertex.id)
        if vertex.kind is VertexKind.INSTANCE:
            _drop(self.instances, str(vertex.properties.get("workload", "")), vertex.id)
        resource, _ = resource_of(vertex)
        if resource in self.capacity:
            self.capacity[resource].discard(vertex.id)

    def add_edge(self, edge: Edge) -> None:
        """Index an edge that is not indexed."""
        key, node = edge.key, edge.node
        self.edges.setdefault(node, {})[key] = edge
        if edge.kind is EdgeKind.LINK:
            self.links.setdefault(node, {}).setdefault(owner(edge.target), {})[key] = edge
        elif edge.kind is EdgeKind.CACHES:
            self.holders.setdefault(edge.target, {})[key] = edge

    def drop_edge(self, edge: Edge) -> None:
        """Take back what :meth:`add_edge` did for the same edge."""
        key, node = edge.key, edge.node
        _drop(self.edges, node, key)
        if edge.kind is EdgeKind.LINK:
            by_target = self.links[node]
            _drop(by_target, owner(edge.target), key)
            if not by_target:
                del self.links[node]
        elif edge.kind is EdgeKind.CACHES:
            _drop(self.holders, edge.target, key)


def _drop(index: dict[str, dict[str, T]], name: str, key: str) -> None:
    inner = index[name]
    del inner[key]
    if not inner:
        del index[name]
