"""The resource graph as a tree."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

from click.testing import Result
from rich.console import Console

from fairlead_agent.cli.graph import trees
from fairlead_agent.graph import EdgeKind, Measured, ResourceGraph, ShardWriter, Vertex, VertexKind, to_mapping
from fairlead_agent.graph.edge import Edge
from tests.agent.cli.conftest import Canned, text_of

NOW = 1000.0


def at(value: float) -> Measured:
    return Measured(value, NOW - 7)


def elements() -> dict[str, Any]:
    """A node with memory that exists, a GPU that does not, an instance and a link."""
    graph = ResourceGraph()
    for node in ("edge", "gpu"):
        writer = ShardWriter(node, 1)
        writer.put(Vertex(node, VertexKind.NODE, {}, {"profile": f"{node}-profile"}))
        if node == "edge":
            dram = {"total_bytes": at(512 << 20), "free_bytes": at(128 << 20)}
            writer.put(Vertex("edge/dram", VertexKind.MEMORY, dram, {"tier": "dram"}))
            writer.put(Vertex("edge/gpu0", VertexKind.PROCESSOR, {}, {"model": "Pretended"}, simulated=True))
            running = {"workload": "chat", "replica": 0, "variant": "q8", "state": "ready"}
            writer.put(Vertex("edge/instance/chat.0", VertexKind.INSTANCE, {"memory_bytes": at(1 << 20)}, running))
            for part in ("dram", "gpu0"):
                writer.put(Edge("edge", EdgeKind.CONTAINS, f"edge/{part}"))
            writer.put(Edge("edge", EdgeKind.RUNS, "edge/instance/chat.0"))
            writer.put(Edge("edge", EdgeKind.LINK, "gpu", {"latency_s": at(0.012)}))
        graph.merge(writer.flush() or writer.snapshot())
    return to_mapping(graph)


def shown(**options: Any) -> str:
    stream = io.StringIO()
    screen = Console(file=stream, width=120)
    for tree in trees(elements(), now=NOW, **options):
        screen.print(tree)
    return stream.getvalue()


def test_parts_stand_below_their_node_with_units() -> None:
    lines = [line.rstrip() for line in shown().splitlines()]
    assert lines[0] == "edge (edge-profile)"
    assert "├── dram  128 MiB of 512 MiB free" in lines
    assert "├── gpu0  simulated  Pretended" in lines
    assert "├── chat replica 0  q8, ready, memory 1 MiB" in lines
    assert "└── link to gpu  latency 12 ms" in lines
    assert lines[-1] == "gpu (gpu-profile)"


def test_age_is_shown_on_demand() -> None:
    assert "old" not in shown()
    assert "latency 12 ms (7 s old)" in shown(with_age=True)


def test_json_is_what_the_api_says_or_the_part_that_was_asked_for(
    fairlead: Callable[..., Result], canned: Canned
) -> None:
    canned.answers["/api/v1/graph"] = (200, text_of(elements()))
    assert json.loads(fairlead("graph", "--json").output) == elements()
    part = json.loads(fairlead("graph", "gpu", "--json").output)
    assert [vertex["data"]["id"] for vertex in part["nodes"]] == ["gpu"]
    assert "no node 'edg' in the graph; there are edge, gpu" in fairlead("graph", "edg").output


def test_a_link_to_a_node_that_is_not_shown_is_no_trouble(fairlead: Callable[..., Result], canned: Canned) -> None:
    canned.answers["/api/v1/graph"] = (200, text_of(elements()))
    assert "link to gpu" in fairlead("graph", "edge").output


def test_an_empty_graph_is_told(fairlead: Callable[..., Result], canned: Canned) -> None:
    canned.answers["/api/v1/graph"] = (200, text_of({"nodes": [], "edges": []}))
    assert "empty" in fairlead("graph").output
