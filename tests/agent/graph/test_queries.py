"""Queries give what a search through all vertices and edges gives."""

from __future__ import annotations

import json
import math
from itertools import permutations
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_agent.graph import (
    CORES,
    Edge,
    EdgeKind,
    Measured,
    Need,
    ResourceGraph,
    ShardUpdate,
    ShardWriter,
    Vertex,
    VertexKind,
    candidates,
    children,
    fits,
    free_capacity,
    holders,
    instances,
    merged,
    quickest_path,
    shortest_path,
    subtree,
    to_mapping,
    tree,
    widest_path,
)
from tests.agent.graph.strategies import NODES, updates

MIB = 1 << 20


def _memory(
    id: str, free_bytes: float, tier: str = "dram", simulated: bool = False, at: float = 0.0, sigma: float = 0.0
):
    return Vertex(id, VertexKind.MEMORY, {"free_bytes": Measured(free_bytes, at, sigma)}, {"tier": tier}, simulated)


def _cores(id: str, free: float) -> Vertex:
    return Vertex(id, VertexKind.PROCESSOR, {"cores_free": Measured(free, 0.0)})


def _link(source: str, target: str, bits_per_s: float | None, latency_s: float | None, simulated: bool = False) -> Edge:
    stated = {"bandwidth_bits_per_s": bits_per_s, "latency_s": latency_s}
    measured = {name: Measured(value, 0.0) for name, value in stated.items() if value is not None}
    return Edge(source, EdgeKind.LINK, target, measured, {}, simulated)


def _graph(*values: Vertex | Edge) -> ResourceGraph:
    graph = ResourceGraph()
    for node in dict.fromkeys(value.node for value in values):
        writer = ShardWriter(node, 1)
        writer.put(Vertex(node, VertexKind.NODE), *(value for value in values if value.node == node))
        update = writer.flush()
        assert update is not None
        graph.merge(update)
    return graph


@given(st.lists(updates(), max_size=8), st.floats(1, 1e12), st.booleans())
def test_candidates_are_those_of_a_full_search(said: list[ShardUpdate], amount: float, simulated: bool) -> None:
    graph = merged(*said)
    need = Need({"dram": amount, "vram": amount / 2}, simulated=simulated)

    def has(node: str, tier: str, least: float) -> bool:
        return any(
            vertex.measured["free_bytes"].value >= least
            for vertex in graph.vertices.values()
            if vertex.node == node and vertex.kind is VertexKind.MEMORY and vertex.tier == tier
            if simulated or not vertex.simulated
        )

    expected = {node for node in NODES if has(node, "dram", amount) and has(node, "vram", amount / 2)}
    found = list(candidates(graph, need))
    assert set(found) == expected and len(found) == len(expected)
    assert {node for node in NODES if fits(graph, node, need)} == expected


def test_candidates_come_with_the_most_free_first() -> None:
    graph = _graph(
        _memory("a/dram", 100 * MIB), _memory("b/dram", 300 * MIB), _memory("c/dram", 50 * MIB), _cores("b/cpu", 0.5)
    )
    assert list(candidates(graph, Need({"dram": 64 * MIB}))) == ["b", "a"]
    assert list(candidates(graph, Need({"dram": 64 * MIB}, cores=1.0))) == []
    assert list(candidates(graph, Need({"tape": 1.0}))) == []
    assert list(candidates(graph, Need())) == ["a", "b", "c"]


def test_bytes_must_lie_in_one_vertex() -> None:
    graph = _graph(_memory("a/gpu0", 10, "vram"), _memory("a/gpu1", 10, "vram"))
    assert not fits(graph, "a", Need({"vram": 15})) and fits(graph, "a", Need({"vram": 10}))
    assert free_capacity(graph, "a") == {"vram": 20}


def test_uncertain_old_and_simulated_capacity_counts_only_where_asked() -> None:
    graph = _graph(_memory("a/dram", 100, at=50.0, sigma=10.0), _memory("b/dram", 100, simulated=True, at=99.0))
    assert list(candidates(graph, Need({"dram": 90}))) == ["a"]
    assert list(candidates(graph, Need({"dram": 90}, simulated=True))) == ["b", "a"]
    assert list(candidates(graph, Need({"dram": 90}, sigmas=2.0))) == []
    assert list(candidates(graph, Need({"dram": 90}, fresh_since=60.0, simulated=True))) == ["b"]


def test_free_capacity_keeps_real_and_simulated_apart() -> None:
    graph = _graph(_memory("a/dram", 100), _memory("a/gpu0", 7, "vram", simulated=True), _cores("b/cpu", 2.0))
    assert free_capacity(graph) == {CORES: 2.0, "dram": 100}
    assert free_capacity(graph, simulated=True) == {"vram": 7}
    assert free_capacity(graph, "b") == {CORES: 2.0}


def test_artifacts_and_instances_are_found_by_name() -> None:
    chat = [
        Vertex(f"{node}/instance/chat.{i}", VertexKind.INSTANCE, {}, {"workload": "chat"})
        for i, node in enumerate("ba")
    ]
    caches = [Edge(f"{node}/disk", EdgeKind.CACHES, "artifact/sha256:aa") for node in "ba"]
    graph = _graph(*chat, *caches)
    assert [vertex.id for vertex in instances(graph, "chat")] == ["a/instance/chat.1", "b/instance/chat.0"]
    assert holders(graph, "sha256:aa") == ["a", "b"] and holders(graph, "sha256:bb") == []
    assert [vertex.id for vertex in subtree(graph, "a")] == ["a", "a/instance/chat.1"]


def test_paths_follow_the_direction_of_links() -> None:
    graph = _graph(_link("a", "b", 10e6, 0.010), _link("b", "c", 5e6, 0.005), _link("a", "c", 1e6, 0.001))
    wide, short = widest_path(graph, "a", "c"), shortest_path(graph, "a", "c")
    assert wide is not None and short is not None
    assert wide.nodes == ("a", "b", "c") and wide.bandwidth_bits_per_s == 5e6
    assert wide.latency_s == pytest.approx(0.015)
    assert short.nodes == ("a", "c") and short.latency_s == 0.001
    assert widest_path(graph, "c", "a") is None and shortest_path(graph, "c", "a") is None
    assert quickest_path(graph, "a", "c", 10.0) == short and quickest_path(graph, "a", "c", 1e6) == wide
    assert short.transfer_s(125_000) == pytest.approx(1.001)
    assert quickest_path(graph, "a", "nowhere", 1.0) is None


def test_a_path_within_a_node_is_free_and_unknown_links_do_not_count() -> None:
    graph = _graph(_link("a", "b", None, 0.01), _link("a", "c", 1e6, None), _link("a", "d", 1e6, 0.1, simulated=True))
    within = widest_path(graph, "a", "a")
    assert within is not None and within.latency_s == 0 and within.bandwidth_bits_per_s == math.inf
    assert widest_path(graph, "a", "b") is None and shortest_path(graph, "a", "c") is None
    only_wide = widest_path(graph, "a", "c")
    assert only_wide is not None and only_wide.latency_s == math.inf
    assert widest_path(graph, "a", "d", simulated=False) is None
    stated = shortest_path(graph, "a", "d")
    assert stated is not None and stated.simulated
    assert widest_path(graph, "nobody", "nobody") is None


@pytest.mark.parametrize("seed", range(40))
def test_paths_are_the_best_of_all_paths(seed: int) -> None:
    random = Random(seed)
    names = "abcdef"
    pairs = [(source, target) for source, target in permutations(names, 2) if random.random() < 0.45]
    links = {pair: (random.randint(1, 4) * 1e6, random.randint(1, 5) / 1000) for pair in pairs}
    graph = _graph(
        *(_link(*pair, *quantities) for pair, quantities in links.items()), *(_cores(f"{n}/cpu", 1) for n in names)
    )
    ways = [
        [links[hop] for hop in zip(("a", *middle, "f")[:-1], ("a", *middle, "f")[1:], strict=True)]
        for length in range(5)
        for middle in permutations("bcde", length)
        if all(hop in links for hop in zip(("a", *middle, "f")[:-1], ("a", *middle, "f")[1:], strict=True))
    ]
    wide, short = widest_path(graph, "a", "f"), shortest_path(graph, "a", "f")
    if not ways:
        assert wide is None and short is None
        return
    assert wide is not None and short is not None
    best = max((min(bits for bits, _ in way), -sum(delay for _, delay in way)) for way in ways)
    assert (wide.bandwidth_bits_per_s, -wide.latency_s) == pytest.approx(best)
    assert short.latency_s == pytest.approx(min(sum(delay for _, delay in way) for way in ways))


@given(st.lists(updates(), min_size=2, max_size=6))
def test_views_do_not_depend_on_the_order_of_updates(said: list[ShardUpdate]) -> None:
    there, back = merged(*said), merged(*reversed(said))
    assert tree(there) == tree(back)
    assert json.dumps(to_mapping(there)) == json.dumps(to_mapping(back))
    for source, target in permutations(NODES, 2):
        assert widest_path(there, source, target) == widest_path(back, source, target)


def test_the_tree_shows_parts_where_they_lie_and_loses_none() -> None:
    graph = _graph(
        _cores("a/cpu0", 2.0),
        _memory("a/dram", 512 * MIB, sigma=MIB),
        Vertex("a/core1", VertexKind.PROCESSOR),
        Edge("a/cpu0", EdgeKind.CONTAINS, "a/core1"),
        Vertex("a/x", VertexKind.RADIO),
        Vertex("a/y", VertexKind.RADIO),
        Edge("a/x", EdgeKind.CONTAINS, "a/y"),
        Edge("a/y", EdgeKind.CONTAINS, "a/x"),
        _link("a", "b", 20e6, 0.03, simulated=True),
    )
    assert children(graph, "a") == {"a": ["a/cpu0", "a/dram", "a/x", "a/y"], "a/cpu0": ["a/core1"]}
    (node,) = tree(graph)
    assert [branch.id for branch in node.children] == ["a/cpu0", "a/dram", "a/x", "a/y", "b"]
    assert node.children[1].details["free_bytes"] == "512 MiB ± 1 MiB"
    assert node.children[-1].details == {"bandwidth_bits_per_s": "20 Mbit/s", "latency_s": "30 ms"}
    assert node.children[-1].simulated


def test_dashboard_elements_leave_out_edges_to_the_unknown() -> None:
    graph = _graph(_memory("a/dram", 1), _link("a", "b", 1.0, 1.0), _link("a", "c", 1.0, 1.0), _memory("b/dram", 1))
    elements = to_mapping(graph)
    assert [item["data"]["id"] for item in elements["nodes"]] == ["a", "a/dram", "b", "b/dram"]
    assert elements["nodes"][1]["data"]["parent"] == "a"
    assert [item["data"]["id"] for item in elements["edges"]] == ["a>link>b"]
    assert json.loads(json.dumps(elements)) == elements
