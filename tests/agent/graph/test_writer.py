"""The writer tells what is worth telling, and a reader that follows it knows what it told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_agent.graph import (
    Edge,
    EdgeKind,
    GraphError,
    Measured,
    ResourceGraph,
    ShardWriter,
    Vertex,
    VertexKind,
)
from tests.agent.graph.strategies import values


def _dram(free_bytes: float, at: float = 0.0, **properties: str) -> Vertex:
    return Vertex("edge/dram", VertexKind.MEMORY, {"free_bytes": Measured(free_bytes, at)}, properties)


def _told(writer: ShardWriter) -> float:
    vertex = next(entry.value for entry in writer.snapshot().entries if entry.key == "edge/dram")
    assert vertex is not None
    return vertex.measured["free_bytes"].value


def test_each_flush_is_one_update_with_the_next_seq() -> None:
    writer = ShardWriter("edge", 3)
    assert writer.flush() is None
    writer.put(Vertex("edge", VertexKind.NODE), _dram(100))
    update = writer.flush()
    assert update is not None
    assert (update.node, update.incarnation, update.seq, update.full) == ("edge", 3, 1, False)
    assert [(entry.key, entry.seq) for entry in update.entries] == [("edge", 1), ("edge/dram", 1)]
    assert writer.flush() is None


def test_jitter_is_silent_and_drift_is_not() -> None:
    writer = ShardWriter("edge", 1, significance={"free_bytes": 0.10})
    writer.put(_dram(100))
    writer.flush()
    assert not any(writer.put(_dram(100 + delta, 1.0)) for delta in (5, -5, 9, -9))
    assert writer.flush() is None
    drift = [writer.put(_dram(100 - delta, 1.0)) for delta in range(1, 13)]
    assert drift.count(True) == 2 and drift[-1]
    writer.flush()
    assert _told(writer) == 88


def test_a_change_that_goes_back_before_it_was_told_is_not_told() -> None:
    writer = ShardWriter("edge", 1)
    writer.put(_dram(100))
    writer.flush()
    assert writer.put(_dram(50))
    assert not writer.put(_dram(101))
    assert writer.flush() is None


def test_an_old_value_is_told_again_even_if_it_is_the_same() -> None:
    writer = ShardWriter("edge", 1, refresh_s=60.0)
    writer.put(_dram(100, at=1000.0))
    writer.flush()
    assert not writer.put(_dram(100, at=1059.0))
    assert writer.put(_dram(100, at=1060.0))


def test_properties_and_new_attributes_are_always_told() -> None:
    writer = ShardWriter("edge", 1)
    writer.put(_dram(100))
    writer.flush()
    assert writer.put(_dram(100, tier="dram"))
    writer.flush()
    assert writer.measure("edge/dram", "read_bytes_per_s", Measured(1e9, 0.0))


def test_removing_tells_a_tombstone_once() -> None:
    writer = ShardWriter("edge", 1)
    writer.put(_dram(100))
    assert writer.remove("edge/dram") and writer.flush() is None
    writer.put(_dram(100))
    writer.flush()
    assert writer.remove("edge/dram")
    update = writer.flush()
    assert update is not None and [entry.value for entry in update.entries] == [None]
    assert not writer.remove("edge/dram") and writer.flush() is None
    assert writer.put(_dram(100)) and writer.keys() == ["edge/dram"]


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (Vertex("phone", VertexKind.NODE), "phone"),
        (Edge("phone", EdgeKind.LINK, "edge"), "phone>link>edge"),
        (Vertex("edge/dram", VertexKind.NODE), "kind"),
        (Vertex("edge/dram", VertexKind.MEMORY, {"free_bytes": Measured(float("nan"), 0.0)}), "free_bytes"),
        (Vertex("edge/dram", VertexKind.MEMORY, {"free_bytes": Measured(-5.0, 0.0)}), "free_bytes"),
        (Edge("edge", EdgeKind.LINK, "phone", {"loss": Measured(0.1, 0.0, -1.0)}), "uncertainty"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_staged(value: Vertex | Edge, named: str) -> None:
    writer = ShardWriter("edge", 1)
    with pytest.raises(GraphError, match=named):
        writer.put(_dram(1), value)
    assert writer.flush() is None


def test_measuring_what_is_not_there_names_what_is() -> None:
    writer = ShardWriter("edge", 1)
    writer.put(_dram(100))
    with pytest.raises(GraphError, match=r"edge/gpu0.*edge/dram"):
        writer.measure("edge/gpu0", "free_bytes", Measured(1.0, 0.0))


@given(st.lists(st.tuples(st.sampled_from(("put", "put", "remove", "flush")), values("edge")), max_size=30))
def test_following_the_changes_and_reading_a_snapshot_give_the_same_graph(
    steps: list[tuple[str, Vertex | Edge]],
) -> None:
    writer, follower = ShardWriter("edge", 1), ResourceGraph()
    for action, value in [*steps, ("flush", steps[0][1])] if steps else []:
        if action == "put":
            writer.put(value)
        elif action == "remove":
            writer.remove(value.key)
        elif update := writer.flush():
            assert not follower.merge(update).gap
    newcomer = ResourceGraph()
    newcomer.merge(writer.snapshot())
    assert (newcomer.vertices, newcomer.edges) == (follower.vertices, follower.edges)
    assert newcomer.seq_of("edge") == follower.seq_of("edge") == writer.seq
