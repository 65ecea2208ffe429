"""Kinds of vertices and edges."""

from __future__ import annotations

from enum import StrEnum


class VertexKind(StrEnum):
    """What a vertex of the resource graph stands for."""

    NODE = "node"
    PROCESSOR = "processor"
    MEMORY = "memory"
    STORAGE = "storage"
    ENERGY = "energy"
    RADIO = "radio"
    ARTIFACT = "artifact"
    INSTANCE = "instance"


class EdgeKind(StrEnum):
    """How two vertices relate, read from source to target."""

    CONTAINS = "contains"
    """A node or a part of it contains a part."""
    LINK = "link"
    """Data can flow from the source's node to the target's; one edge per direction, written by its sender."""
    CACHES = "caches"
    """The source keeps a copy of an artifact."""
    RUNS = "runs"
    """A node (or a processor of it) runs an instance."""


VERTEX_KINDS: dict[str, VertexKind] = {kind.value: kind for kind in VertexKind}
EDGE_KINDS: dict[str, EdgeKind] = {kind.value: kind for kind in EdgeKind}
