"""The graph as others show it: a tree for the terminal, elements for the dashboard."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fairlead_agent.graph.display import show_measured
from fairlead_agent.graph.edge import Edge
from fairlead_agent.graph.keys import owner
from fairlead_agent.graph.kinds import EdgeKind
from fairlead_agent.graph.queries import children
from fairlead_agent.graph.store import ResourceGraph
from fairlead_agent.graph.vertex import Vertex


@dataclass(frozen=True, slots=True)
class Branch:
    """A line of the tree and what hangs below it."""

    id: str
    kind: str
    details: Mapping[str, str]
    simulated: bool = False
    children: tuple[Branch, ...] = ()


def tree(graph: ResourceGraph) -> tuple[Branch, ...]:
    """One branch for each node, by name: its parts, then its links and the artifacts that it keeps."""
    return tuple(_node_branch(graph, node) for node in sorted(graph.indexes.parts))


def to_mapping(graph: ResourceGraph) -> dict[str, list[dict[str, Any]]]:
    """The graph as cytoscape.js elements: ``{"nodes": [{"data"}], "edges": [{"data"}]}``, ready for JSON.

    Parts name the vertex that they lie in as ``parent``. Edges to vertices that are not known (yet) are left out, as
    cytoscape refuses them.
    """
    parents = {
        part: parent
        for node in graph.indexes.parts
        for parent, parts in children(graph, node).items()
        for part in parts
        if parent in graph.vertices
    }
    nodes = [_vertex_data(graph.vertices[key], parents.get(key)) for key in sorted(graph.vertices)]
    edges = (graph.edges[key] for key in sorted(graph.edges))
    known = [_edge_data(edge) for edge in edges if edge.source in graph.vertices and edge.target in graph.vertices]
    return {"nodes": [{"data": data} for data in nodes], "edges": [{"data": data} for data in known]}


def _node_branch(graph: ResourceGraph, node: str) -> Branch:
    inside = children(graph, node)
    edges = [edge for _, edge in sorted(graph.indexes.edges.get(node, {}).items())]
    ends = tuple(_edge_branch(edge) for edge in edges if edge.kind in (EdgeKind.LINK, EdgeKind.CACHES))
    parts = tuple(_part_branch(graph, key, inside) for key in inside.get(node, ()))
    own = graph.vertices.get(node)
    details = _details(own) if own is not None else {}
    return Branch(node, "node", details, own is not None and own.simulated, parts + ends)


def _part_branch(graph: ResourceGraph, key: str, inside: Mapping[str, list[str]]) -> Branch:
    vertex = graph.vertices[key]
    below = tuple(_part_branch(graph, part, inside) for part in inside.get(key, ()))
    return Branch(key, vertex.kind.value, _details(vertex), vertex.simulated, below)


def _edge_branch(edge: Edge) -> Branch:
    return Branch(edge.target, edge.kind.value, _details(edge), edge.simulated)


def _details(value: Vertex | Edge) -> dict[str, str]:
    properties = {name: str(property_) for name, property_ in sorted(value.properties.items())}
    return properties | {name: show_measured(name, measured) for name, measured in sorted(value.measured.items())}


def _vertex_data(vertex: Vertex, parent: str | None) -> dict[str, Any]:
    data = {"id": vertex.id, "label": vertex.id.rpartition("/")[2], "node": owner(vertex.id), **_common(vertex)}
    return data if parent is None else {**data, "parent": parent}


def _edge_data(edge: Edge) -> dict[str, Any]:
    return {"id": edge.key, "source": edge.source, "target": edge.target, **_common(edge)}


def _common(value: Vertex | Edge) -> dict[str, Any]:
    return {
        "kind": value.kind.value,
        "simulated": value.simulated,
        "properties": dict(value.properties),
        "measured": {name: measured._asdict() for name, measured in value.measured.items()},
    }
