"""Merging: whatever the order, the repetition and the contradictions, all readers end with the same graph."""

from __future__ import annotations

from copy import deepcopy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_agent.graph import (
    Edge,
    EdgeKind,
    Entry,
    Measured,
    ResourceGraph,
    Shard,
    ShardUpdate,
    Vertex,
    VertexKind,
    artifact_id,
    merged,
)
from tests.agent.graph.strategies import updates


def _dram(node: str, free_bytes: float, at: float = 1.0) -> Vertex:
    return Vertex(f"{node}/dram", VertexKind.MEMORY, {"free_bytes": Measured(free_bytes, at)}, {"tier": "dram"})


def _update(node: str, seq: int, *values: Vertex | Edge, incarnation: int = 1, full: bool = False) -> ShardUpdate:
    return ShardUpdate(node, incarnation, seq, full, tuple(Entry(value.key, seq, value) for value in values))


def _contents(graph: ResourceGraph) -> tuple[object, object, object]:
    return graph.vertices, graph.edges, {node: shard for node, shard in graph.shards.items() if shard != Shard()}


@given(st.lists(updates(), max_size=8), st.randoms(use_true_random=False))
def test_order_and_repetition_do_not_matter(said: list[ShardUpdate], shuffle: object) -> None:
    again = [*said, *said[:3]]
    shuffle.shuffle(again)  # type: ignore[attr-defined]
    assert _contents(merged(*said)) == _contents(merged(*again))


@given(updates(("edge",)), updates(("edge",)), updates(("edge",)))
def test_the_join_of_shards_is_a_semilattice(first: ShardUpdate, second: ShardUpdate, third: ShardUpdate) -> None:
    a, b, c = Shard.of(first), Shard.of(second), Shard.of(third)
    assert a.join(b) == b.join(a)
    assert a.join(b).join(c) == a.join(b.join(c))
    assert a.join(a) == a


@given(st.lists(updates(), max_size=8))
def test_indexes_are_those_of_a_graph_built_at_once(said: list[ShardUpdate]) -> None:
    grown = merged(*said)
    rebuilt = ResourceGraph()
    for vertex in grown.vertices.values():
        rebuilt.indexes.add_vertex(vertex)
    for key, edge in grown.edges.items():
        rebuilt.indexes.add_edge(key, edge)
    kept = deepcopy(grown.indexes)
    kept.capacity = {name: index for name, index in kept.capacity.items() if index.by_vertex}
    assert kept == rebuilt.indexes


@given(st.lists(updates(), max_size=6))
def test_changed_names_exactly_what_changed(said: list[ShardUpdate]) -> None:
    graph = ResourceGraph()
    for update in said:
        before = {**graph.vertices, **graph.edges}
        result = graph.merge(update)
        after = {**graph.vertices, **graph.edges}
        different = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
        assert set(result.changed) == different


@given(st.lists(updates(), max_size=6))
def test_forgetting_every_node_leaves_nothing(said: list[ShardUpdate]) -> None:
    graph = merged(*said)
    for node in list(graph.shards):
        graph.forget(node)
    assert not graph.vertices and not graph.edges and not graph.indexes.parts and not graph.indexes.links


def test_a_later_incarnation_replaces_and_an_earlier_one_is_stale() -> None:
    graph = merged(_update("edge", 9, _dram("edge", 10), Vertex("edge", VertexKind.NODE)))
    assert graph.merge(_update("edge", 1, _dram("edge", 5), incarnation=2)).changed == ("edge", "edge/dram")
    assert list(graph.vertices) == ["edge/dram"]
    assert graph.merge(_update("edge", 99, _dram("edge", 7))).stale
    assert graph.vertices["edge/dram"].measured["free_bytes"].value == 5
    assert graph.incarnation_of("edge") == 2


def test_a_full_update_ends_what_it_does_not_name_and_later_changes_survive_it() -> None:
    later = _update("edge", 5, Edge("edge", EdgeKind.LINK, "phone"))
    graph = merged(_update("edge", 1, _dram("edge", 10)), later, _update("edge", 4, full=True))
    assert not graph.vertices
    assert list(graph.edges) == ["edge>link>phone"]


def test_tombstones_do_not_outlive_the_next_snapshot() -> None:
    gone = ShardUpdate("edge", 1, 2, False, (Entry("edge/dram", 2, None),))
    graph = merged(_update("edge", 1, _dram("edge", 10)), gone)
    assert graph.shards["edge"].changes["edge/dram"].value is None
    graph.merge(_update("edge", 3, full=True))
    assert graph.shards["edge"].changes == {} and graph.shards["edge"].snapshot == {}


@pytest.mark.parametrize("key", ["phone", "phone/dram", "phone>link>edge", "edges", "artifact/x>caches>artifact/x"])
def test_what_is_not_the_writers_is_rejected_and_the_rest_is_taken(key: str) -> None:
    intruder = Entry(key, 1, None)
    result = ResourceGraph().merge(
        ShardUpdate("edge", 1, 1, False, (intruder, Entry("edge/dram", 1, _dram("edge", 1))))
    )
    assert result.changed == ("edge/dram",)
    assert [rejection.key for rejection in result.rejected] == [key]
    assert "edge" in result.rejected[0].reason


def test_an_artifact_may_be_stated_by_any_node_and_lives_while_one_does() -> None:
    key = artifact_id("sha256:aa")
    stated = [
        _update(node, 1, Vertex(key, VertexKind.ARTIFACT, properties={"name": node})) for node in ("phone", "edge")
    ]
    graph = merged(*stated)
    assert graph.vertices[key].properties["name"] == "edge"
    graph.forget("edge")
    assert graph.vertices[key].properties["name"] == "phone"
    graph.forget("phone")
    assert key not in graph.vertices


def test_a_gap_is_told_until_a_snapshot_fills_it() -> None:
    graph = merged(_update("edge", 3, full=True))
    assert graph.merge(_update("edge", 4, _dram("edge", 1))).gap is False
    assert graph.merge(_update("edge", 6, _dram("edge", 2))).gap is True
    assert graph.merge(_update("edge", 7, _dram("edge", 3))).gap is True
    assert graph.merge(_update("edge", 7, _dram("edge", 3), full=True)).gap is False
    assert graph.merge(_update("edge", 8, _dram("edge", 4))).gap is False
    assert graph.seq_of("edge") == 8
    assert graph.merge(_update("edge", 2, _dram("edge", 3), incarnation=2)).gap is True
