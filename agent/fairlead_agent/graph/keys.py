"""Ids of vertices and keys of edges.

``edge`` is a node, ``edge/dram`` and ``edge/instance/tiny-chat.0`` belong to it, ``artifact/<digest>`` belongs to
nobody. The key of an edge is ``source>kind>target``.
"""

from __future__ import annotations

import re

from fairlead_agent.graph.errors import GraphError
from fairlead_agent.graph.kinds import EDGE_KINDS, EdgeKind

ARTIFACT = "artifact"
SEPARATOR = ">"
MAX_KEY_LENGTH = 256

_ENDS = ("", "/", SEPARATOR)
_ID = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?(?:/[A-Za-z0-9_.:+@-]{1,128})*")
_NODE_NAME = "lower-case letters, digits, '-' and '_', at most 63, then '/' and its part"


def owner(vertex_id: str) -> str:
    """The node that a vertex belongs to; ``artifact`` for artifacts."""
    return vertex_id.split("/", 1)[0]


def is_edge(key: str) -> bool:
    """Whether a key names an edge."""
    return SEPARATOR in key


def edge_key(source: str, kind: EdgeKind, target: str) -> str:
    """The key of an edge."""
    return f"{source}>{kind.value}>{target}"


def split_edge_key(key: str) -> tuple[str, EdgeKind, str]:
    """Source, kind and target of an edge's key.

    Raises:
        GraphError: it has not three parts, or its kind is unknown.
    """
    parts = key.split(SEPARATOR)
    if len(parts) != 3 or parts[1] not in EDGE_KINDS:
        raise GraphError(f"{key!r} is no edge; accepted: source>kind>target with kind {', '.join(EDGE_KINDS)}")
    return parts[0], EDGE_KINDS[parts[1]], parts[2]


def belongs_to(key: str, writer: str) -> bool:
    """Whether ``writer`` may write ``key``: its own vertices, edges that start at them, and any artifact's vertex."""
    if key.startswith(writer):
        rest = key[len(writer) : len(writer) + 1]
        return rest in _ENDS and writer != ARTIFACT
    return key.startswith("artifact/") and SEPARATOR not in key


def check_id(vertex_id: str) -> None:
    """Refuse what is no vertex id.

    Raises:
        GraphError: it is too long or holds other characters.
    """
    if len(vertex_id) > MAX_KEY_LENGTH or not _ID.fullmatch(vertex_id) or vertex_id == ARTIFACT:
        raise GraphError(f"{vertex_id[:MAX_KEY_LENGTH]!r} is no vertex id; accepted: {_NODE_NAME}")


def artifact_id(digest: str) -> str:
    """The vertex id of an artifact."""
    return f"{ARTIFACT}/{digest}"


def instance_id(node: str, workload: str, replica: int) -> str:
    """The vertex id of an instance."""
    return f"{node}/instance/{workload}.{replica}"
