"""The mapping form: what is written is read back, what does not fit is told and costs only itself."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_agent.graph import Entry, GraphError, Measured, ResourceGraph, ShardUpdate, Vertex, read_entries
from fairlead_agent.messages import GraphUpdate
from tests.agent.graph.strategies import updates

_GOOD: dict[str, Any] = {"kind": "memory", "measured": {"free_bytes": [1, 2.0, 0.5]}, "properties": {"tier": "dram"}}


@given(updates())
def test_an_update_survives_the_wire(update: ShardUpdate) -> None:
    message = GraphUpdate.model_validate_json(json.dumps(update.to_mapping()))
    assert ShardUpdate.from_mapping(message.model_dump()) == update
    assert ShardUpdate.from_message(message) == update


def test_what_a_newer_peer_adds_is_passed_over_or_kept() -> None:
    raw = {**_GOOD, "colour": "red", "measured": {"free_bytes": [1, 2.0], "wear_share": [0.1, 2.0, 0.0]}}
    entry = Entry.from_mapping({"key": "edge/dram", "seq": 1, "value": raw, "more": 1})
    assert isinstance(entry.value, Vertex)
    assert entry.value.measured == {"free_bytes": Measured(1, 2.0, 0.0), "wear_share": Measured(0.1, 2.0, 0.0)}


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("edge/dram", {**_GOOD, "kind": "tape"}, ("edge/dram", "tape", "memory")),
        ("edge", _GOOD, ("edge", "memory", "node")),
        ("edge/dram", {"kind": "node"}, ("edge/dram", "node", "part")),
        ("artifact/sha256:aa", _GOOD, ("artifact", "memory")),
        ("Edge/dram", _GOOD, ("Edge/dram", "lower-case")),
        ("edge/../x y", _GOOD, ("x y", "accepted")),
        ("edge/dram", [1], ("edge/dram", "mapping")),
        ("edge/dram", {**_GOOD, "measured": {"free_bytes": "much"}}, ("free_bytes", "much", "measured_at")),
        ("edge/dram", {**_GOOD, "measured": {"free_bytes": [1]}}, ("free_bytes", "[1]")),
        ("edge/dram", {**_GOOD, "measured": {"free_bytes": [float("nan"), 1]}}, ("free_bytes", "nan", "finite")),
        ("edge/dram", {**_GOOD, "measured": {"free_bytes": [10**400, 1]}}, ("free_bytes", "finite")),
        ("edge/dram", {**_GOOD, "measured": {"free_bytes": [True, 1]}}, ("free_bytes", "True")),
        ("edge/dram", {**_GOOD, "measured": {"free_bytes": [-1, 1]}}, ("free_bytes", "-1", "0")),
        ("edge/dram", {**_GOOD, "measured": {"free_bytes": [1, 1, -2]}}, ("uncertainty", "-2")),
        ("edge/battery", {"kind": "energy", "measured": {"charge": [1.5, 1]}}, ("charge", "1.5", "0 to 1")),
        ("edge/dram", {**_GOOD, "properties": {"tier": ["dram"]}}, ("properties.tier", "dram", "text")),
        ("edge/dram", {**_GOOD, "simulated": "no"}, ("simulated", "no", "true or false")),
        ("edge>rides>phone", {}, ("edge>rides>phone", "contains, link, caches, runs")),
        ("edge>link>phone", {"kind": "runs"}, ("edge>link>phone", "runs", "link")),
        ("edge>link>edge/x", {}, ("link", "two nodes")),
        ("edge>runs>phone/instance/a.0", {}, ("runs", "one node")),
        ("edge>caches>edge/dram", {}, ("caches", "artifact/")),
        ("edge>link", {}, ("edge>link", "source>kind>target")),
    ],
)
def test_a_bad_entry_is_named_and_costs_only_itself(key: str, value: Any, named: tuple[str, ...]) -> None:
    entries, rejected = read_entries([(key, 1, value), ("edge/dram", 1, _GOOD)])
    assert [entry.key for entry in entries] == ["edge/dram"]
    assert len(rejected) == 1 and "\n" not in rejected[0].reason
    for text in named:
        assert text in rejected[0].reason


@pytest.mark.parametrize(
    "raw", [{"seq": 1}, {"key": "edge", "seq": -1}, {"key": "edge", "seq": "1"}, {"key": 3, "seq": 1}]
)
def test_an_entry_without_key_or_seq_is_refused(raw: dict[str, Any]) -> None:
    with pytest.raises(GraphError, match="accepted"):
        Entry.from_mapping(raw)


def test_an_update_without_its_header_is_refused() -> None:
    with pytest.raises(GraphError, match="incarnation None"):
        ShardUpdate.from_mapping({"node": "edge", "seq": 1})


def test_rejections_of_reading_reach_the_merge() -> None:
    raw = {"node": "edge", "incarnation": 1, "seq": 1, "entries": [{"key": "edge", "seq": 1, "value": {"kind": "?"}}]}
    result = ResourceGraph().merge(ShardUpdate.from_mapping(raw))
    assert [rejection.key for rejection in result.rejected] == ["edge"]


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.integers() | st.text(), st.lists, max_leaves=5))
def test_no_value_makes_reading_raise_anything_else(value: Any) -> None:
    for key in ("edge", "edge/dram", "edge>link>phone"):
        try:
            Entry.from_mapping(
                {"key": key, "seq": 1, "value": {"kind": value, "measured": {"x": value}, "properties": value}}
            )
            Entry.from_mapping({"key": key, "seq": 1, "value": value})
        except GraphError:
            pass
