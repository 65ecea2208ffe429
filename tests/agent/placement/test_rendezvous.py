"""Who is the steward."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fairlead_agent.messages import NodeStatus
from fairlead_agent.placement.rendezvous import highest, steward_of, weight

nodes = st.lists(st.from_regex(r"[a-z][a-z0-9]{0,8}", fullmatch=True), min_size=2, max_size=20, unique=True)


def status(node: str, rank: int = 1, online: bool = True) -> NodeStatus:
    return NodeStatus(node=node, incarnation=1, online=online, steward_rank=rank)


@given(nodes, st.data())
def test_losing_a_node_moves_only_its_own_workloads(names: list[str], data: st.DataObject) -> None:
    gone = data.draw(st.sampled_from(names))
    left = [name for name in names if name != gone]
    for index in range(20):
        before = highest(f"w{index}", names)
        after = highest(f"w{index}", left)
        assert after == before or before == gone


@given(nodes, st.data())
def test_everyone_comes_to_the_same_answer(names: list[str], data: st.DataObject) -> None:
    assert highest("chat", names) == highest("chat", data.draw(st.permutations(names)))


def test_workloads_spread_over_the_nodes() -> None:
    names = [f"n{i}" for i in range(8)]
    shares = [sum(highest(f"w{i}", names) == name for i in range(2000)) / 2000 for name in names]
    assert min(shares) > 0.09 and max(shares) < 0.17


def test_the_hash_is_fixed_for_ever() -> None:
    assert weight("chat", "edge") == 0xD4EDA31DDBDC6775
    assert weight("chat", "edge") != weight("chat", "edgf")


def test_the_control_plane_has_first_right_while_it_is_there() -> None:
    statuses = [status("a"), status("b"), status("cp", rank=2), status("phone", rank=0)]
    assert steward_of("chat", statuses) == "cp"
    statuses[2] = status("cp", rank=2, online=False)
    assert steward_of("chat", statuses) in ("a", "b")
    assert steward_of("chat", [status("phone", rank=0)]) is None
    assert steward_of("chat", []) is None
