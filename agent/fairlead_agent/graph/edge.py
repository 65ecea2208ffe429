"""Edges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fairlead_agent.graph.errors import GraphError
from fairlead_agent.graph.keys import ARTIFACT, check_id, edge_key, owner
from fairlead_agent.graph.kinds import EdgeKind
from fairlead_agent.graph.measured import Measured
from fairlead_agent.graph.vertex import Scalar


@dataclass(frozen=True, slots=True)
class Edge:
    """A directed relation; it belongs to the node of its source."""

    source: str
    kind: EdgeKind
    target: str
    measured: Mapping[str, Measured] = field(default_factory=dict[str, Measured])
    properties: Mapping[str, Scalar] = field(default_factory=dict[str, Scalar])
    simulated: bool = False

    @property
    def key(self) -> str:
        """Its key in a shard: ``source>kind>target``."""
        return edge_key(self.source, self.kind, self.target)

    @property
    def node(self) -> str:
        """The node that writes it."""
        return owner(self.source)

    def check(self) -> None:
        """Refuse an edge between vertices that its kind cannot join.

        Raises:
            GraphError: names the edge and what its kind joins.
        """
        check_id(self.source)
        check_id(self.target)
        if not self._fits(owner(self.source), owner(self.target)):
            raise GraphError(f"{self.key!r}: {_JOINS[self.kind]}")

    def _fits(self, source: str, target: str) -> bool:
        if source == ARTIFACT:
            return False
        if self.kind is EdgeKind.CACHES:
            return target == ARTIFACT
        if self.kind is EdgeKind.LINK:
            return target not in (source, ARTIFACT)
        return target == source


_JOINS = {
    EdgeKind.CONTAINS: "contains joins two vertices of one node",
    EdgeKind.LINK: "link joins vertices of two nodes",
    EdgeKind.CACHES: "caches leads from a node, or a part of it, to artifact/<digest>",
    EdgeKind.RUNS: "runs joins two vertices of one node",
}
