"""The resource graph as messages bring it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fairlead_agent.graph import ResourceGraph, VertexKind
from fairlead_agent.graph.attributes import VERTEX_ATTRIBUTES
from fairlead_agent.graph.keys import is_edge
from fairlead_agent.graph.link_changes import LinkChanges
from fairlead_agent.graph.queries import subtree
from fairlead_agent.graph.update import ShardUpdate
from fairlead_agent.graph.views import to_mapping
from fairlead_agent.messages import GraphUpdate


@dataclass(frozen=True, slots=True)
class Merged:
    """What an update did to the view."""

    changed: bool
    gap: bool
    seen_seq: int
    notable: str = ""
    """In words, what placement should look at at once: links that carry notably more or less."""


class GraphView:
    """Merges graph updates and answers what the API asks."""

    def __init__(self) -> None:
        self.graph = ResourceGraph()
        self._link_changes = LinkChanges()

    def merge(self, update: GraphUpdate) -> Merged:
        """Take in one update."""
        result = self.graph.merge(ShardUpdate.from_mapping(update.model_dump()))
        edges = (key for key in result.changed if is_edge(key))
        told = [text for key in edges if (text := self._link_changes.seen(key, self.graph.edges.get(key)))]
        return Merged(bool(result.changed), result.gap, self.graph.seq_of(update.node), "; ".join(told))

    def facts(self, node: str) -> dict[str, Any]:
        """A node's vertices: attributes and properties by vertex id."""
        return {
            vertex.id: {
                "kind": vertex.kind.value,
                "simulated": vertex.simulated,
                **vertex.properties,
                **{name: measured.value for name, measured in vertex.measured.items()},
            }
            for vertex in subtree(self.graph, node)
        }

    def told(self, instance: str) -> dict[str, float]:
        """What a plugin measured of its instance, beside what the agent measures of every one."""
        vertex, ours = self.graph.vertices.get(instance), VERTEX_ATTRIBUTES[VertexKind.INSTANCE]
        if vertex is None:
            return {}
        return {name: measured.value for name, measured in vertex.measured.items() if name not in ours}

    def to_mapping(self) -> dict[str, Any]:
        """The whole graph as cytoscape.js elements."""
        return to_mapping(self.graph)
