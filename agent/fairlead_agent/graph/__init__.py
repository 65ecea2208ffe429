"""The resource graph: what a site is made of, as its nodes say it.

Pure data: no I/O, no clock, no randomness. A node keeps a :class:`ShardWriter` for its own part; everyone keeps a
:class:`ResourceGraph` and merges what the writers publish. Times are Unix seconds of the node that measured.
"""

from fairlead_agent.graph.attributes import EDGE_ATTRIBUTES, VERTEX_ATTRIBUTES, Attribute
from fairlead_agent.graph.capacity import Capacity
from fairlead_agent.graph.display import plain_name, show, show_measured
from fairlead_agent.graph.edge import Edge
from fairlead_agent.graph.entry import Entry
from fairlead_agent.graph.errors import GraphError
from fairlead_agent.graph.indexes import CORES
from fairlead_agent.graph.keys import ARTIFACT, artifact_id, edge_key, instance_id, owner
from fairlead_agent.graph.kinds import EdgeKind, VertexKind
from fairlead_agent.graph.measured import Measured
from fairlead_agent.graph.paths import Path, quickest_path, shortest_path, widest_path
from fairlead_agent.graph.queries import (
    Need,
    candidates,
    children,
    fits,
    free_capacity,
    holders,
    instances,
    subtree,
)
from fairlead_agent.graph.shard import Shard
from fairlead_agent.graph.store import MergeResult, ResourceGraph, merged
from fairlead_agent.graph.update import Rejection, ShardUpdate, read_entries
from fairlead_agent.graph.vertex import Vertex
from fairlead_agent.graph.views import Branch, to_mapping, tree
from fairlead_agent.graph.writer import ShardWriter

__all__ = [
    "ARTIFACT",
    "CORES",
    "EDGE_ATTRIBUTES",
    "VERTEX_ATTRIBUTES",
    "Attribute",
    "Branch",
    "Capacity",
    "Edge",
    "EdgeKind",
    "Entry",
    "GraphError",
    "Measured",
    "MergeResult",
    "Need",
    "Path",
    "Rejection",
    "ResourceGraph",
    "Shard",
    "ShardUpdate",
    "ShardWriter",
    "Vertex",
    "VertexKind",
    "artifact_id",
    "candidates",
    "children",
    "edge_key",
    "fits",
    "free_capacity",
    "holders",
    "instance_id",
    "instances",
    "merged",
    "owner",
    "plain_name",
    "quickest_path",
    "read_entries",
    "shortest_path",
    "show",
    "show_measured",
    "subtree",
    "to_mapping",
    "tree",
    "widest_path",
]
