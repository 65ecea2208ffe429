"""Vertices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fairlead_agent.graph.errors import GraphError
from fairlead_agent.graph.keys import ARTIFACT, check_id, owner
from fairlead_agent.graph.kinds import VertexKind
from fairlead_agent.graph.measured import Measured

Scalar = str | int | float | bool
"""What a property may be."""


@dataclass(frozen=True, slots=True)
class Vertex:
    """Something of the site. It is a value: a change is a new vertex.

    ``properties`` are facts without a unit: ``tier`` of memory and storage, ``architecture`` of a processor,
    ``workload``, ``replica``, ``variant``, ``state``, ``epoch`` of an instance, ``profile`` of a node.
    """

    id: str
    kind: VertexKind
    measured: Mapping[str, Measured] = field(default_factory=dict[str, Measured])
    properties: Mapping[str, Scalar] = field(default_factory=dict[str, Scalar])
    simulated: bool = False

    @property
    def key(self) -> str:
        """Its key in a shard: the id."""
        return self.id

    @property
    def node(self) -> str:
        """The node that it belongs to; ``artifact`` for artifacts."""
        return owner(self.id)

    @property
    def tier(self) -> str:
        """The memory tier (dram, vram, storage, ...), or an empty text where it is none."""
        named = self.properties.get("tier")
        if named is not None:
            return str(named)
        if self.kind is VertexKind.STORAGE:
            return "storage"
        return "dram" if self.kind is VertexKind.MEMORY else ""

    def check(self) -> None:
        """Refuse a vertex whose id does not fit its kind.

        Raises:
            GraphError: names the id and the kind.
        """
        check_id(self.id)
        head, slash, _ = self.id.partition("/")
        expected = VertexKind.ARTIFACT if head == ARTIFACT else None if slash else VertexKind.NODE
        own_kinds = (VertexKind.ARTIFACT, VertexKind.NODE)
        if self.kind is not expected and (expected is not None or self.kind in own_kinds):
            raise GraphError(
                f"{self.id!r} cannot be of kind {self.kind.value!r}; the id stands for {_stands(expected)}"
            )


def _stands(expected: VertexKind | None) -> str:
    return f"a vertex of kind {expected.value!r}" if expected else "a part of a node"
