"""Commands against answers that a control plane gives seldom."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from click.testing import Result

from tests.agent.cli.conftest import Canned, text_of

Run = Callable[..., Result]
WORKLOAD = "name: one\nplugin: p\n"


def view(**values: Any) -> dict[str, Any]:
    return {"name": "one", "ready": 0, "workload": {"replicas": 1}, "slots": [], "instances": [], **values}


def slot(**values: Any) -> dict[str, Any]:
    return {
        "key": {"replica": 0},
        "state": "placed",
        "node": "edge",
        "variant": "q8",
        "epoch": 3,
        "reason": "",
        **values,
    }


def event(seq: int, **data: Any) -> dict[str, Any]:
    return {"seq": seq, "time": 0.0, "type": "placement.recorded", "subject": "one", "data": data}


def test_nothing_is_sent_unless_all_files_fit(fairlead: Run, canned: Canned, tmp_path: Path) -> None:
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text(WORKLOAD)
    bad.write_text("name: two\nplugni: p\n")
    result = fairlead("apply", str(good), str(bad))
    assert result.exit_code == 1
    assert "bad.yaml:2: plugni: no such key; did you mean 'plugin'?" in result.output
    assert "Traceback" not in result.output
    assert canned.asked == []


def test_apply_reads_standard_input_and_passes_refusals_on(fairlead: Run, canned: Canned, tmp_path: Path) -> None:
    path = tmp_path / "one.yaml"
    path.write_text(WORKLOAD)
    canned.answers["/api/v1/workloads/one"] = (422, text_of({"detail": "workload 'one': no plugin 'p'"}))
    result = fairlead("apply", str(path))
    assert (result.exit_code, result.output) == (1, "Error: workload 'one': no plugin 'p'\n")


def test_what_a_plugin_refuses_in_its_config_is_found_in_the_file(
    fairlead: Run, canned: Canned, tmp_path: Path
) -> None:
    path = tmp_path / "one.yaml"
    path.write_text("name: one\nplugin: p\nconfig:\n  model: m\n  colour: red\n")
    canned.answers["/api/v1/workloads/one"] = (422, text_of({"detail": "config: colour: no such key; accepted: model"}))
    result = fairlead("apply", str(path))
    assert result.exit_code == 1
    assert result.output == f"Error: {path}:5: config: colour: no such key; accepted: model\n"


def test_apply_says_what_it_still_waited_for(fairlead: Run, canned: Canned, tmp_path: Path) -> None:
    path = tmp_path / "one.yaml"
    path.write_text(WORKLOAD)
    waiting = view(generation=1, changed=True, slots=[slot(state="unplaceable", node=None, reason="no room")])
    canned.answers["/api/v1/workloads/one"] = (200, text_of(waiting))
    result = fairlead("apply", str(path), "--wait", "0.01")
    assert result.exit_code == 1
    assert result.output.splitlines() == [
        "one: applied (generation 1)",
        "Error: not ready after 0.01 s: one: 0 of 1 replicas serve (no room)",
    ]


def test_workloads_in_all_their_states(fairlead: Run, canned: Canned) -> None:
    report = {
        "key": {"replica": 0},
        "epoch": 3,
        "state": "ready",
        "memory_bytes": 1 << 20,
        "limit_bytes": 2 << 20,
        "reason": "",
    }
    bid = {"outcome": "won", "node": "edge", "variant": "q8", "reason": "replica 0: score 0.5"}
    canned.answers["/api/v1/placements"] = (200, text_of([{"workload": "one", "bids": [bid]}]))
    for given, said in [
        (view(slots=[slot()], instances=[report]), "ready edge q8 3 1.0 MiB of 2.0 MiB score 0.5"),
        (view(slots=[slot(state="unplaceable", node=None, reason="no room")]), "unplaceable - q8 3 - no room"),
        (view(), "pending - - - - no steward has taken it up yet"),
        (view(workload={"replicas": 0}), "pending - - - - no replica is wanted"),
        (view(slots=[slot(reason="kept")], instances=[{**report, "epoch": 2}]), "placed edge q8 3 - score 0.5"),
    ]:
        canned.answers["/api/v1/workloads"] = (200, text_of([given]))
        assert said in " ".join(fairlead("get", "workloads").output.split()), said


def test_what_plugins_measured_of_their_instances_is_shown(fairlead: Run, canned: Canned) -> None:
    told = {"0": {"goodput_per_s": 3.25, "kv_capacity_bytes": 64 << 20, "dropped_layers": 3.0}}
    canned.answers["/api/v1/placements"] = (200, b"[]")
    canned.answers["/api/v1/workloads"] = (200, text_of([view(slots=[slot()], told=told)]))
    output = " ".join(fairlead("get", "workloads").output.split())
    assert "measured" in output and "goodput 3.25 /s, kv capacity 64 MiB, dropped layers 3" in output
    canned.answers["/api/v1/workloads"] = (200, text_of([view(slots=[slot()])]))
    assert "measured" not in fairlead("get", "workloads").output


def test_nothing_there_is_told(fairlead: Run, canned: Canned) -> None:
    for kind in ("workloads", "nodes", "placements", "leases"):
        canned.answers[f"/api/v1/{kind}"] = (200, b"[]")
        assert fairlead("get", kind).output.startswith(f"There are no {kind}.")
        assert json.loads(fairlead("get", kind, "--json").output) == []
    assert "no node 'x'; there is none" in fairlead("get", "nodes", "x").output
    canned.answers["/api/v1/workloads/one/logs?lines=50"] = (200, b"[]")
    assert "no instance runs now" in fairlead("logs", "one").output
    canned.answers["/api/v1/events/log?after=0&limit=5000"] = (200, b"[]")
    assert fairlead("events").output == "Nothing has happened yet.\n"


def test_events_are_the_last_ones_however_many_there_were(fairlead: Run, canned: Canned) -> None:
    pages = {0: range(1, 5001), 5000: range(5001, 5011)}
    for after, numbers in pages.items():
        body = text_of([event(number, number=number) for number in numbers])
        canned.answers[f"/api/v1/events/log?after={after}&limit=5000"] = (200, body)
    shown = json.loads(fairlead("events", "--last", "3", "--json").output)
    assert [item["seq"] for item in shown] == [5008, 5009, 5010]


def test_events_are_read_by_people(fairlead: Run, canned: Canned) -> None:
    slots = {"0": "placed:edge", "1": "negotiating:-"}
    first = event(1, trigger="facts of a: b changed", slots=slots, deleted=False, reason="")
    canned.answers["/api/v1/events/log?after=0&limit=5000"] = (200, text_of([first]))
    said = fairlead("events").output.split(maxsplit=1)[1]
    assert said == "placement.recorded   one: trigger facts of a: b changed, slots (0 placed on edge, 1 negotiating)\n"


def test_explain_shows_each_bid_once_and_what_has_changed(fairlead: Run, canned: Canned) -> None:
    bid = {"node": "edge", "variant": "q8", "outcome": "lost", "score": 2.0, "simulated": False, "reason": "too slow"}
    won = {**bid, "outcome": "won", "score": 1.0, "reason": "quick", "variant": "q4"}
    lines = ["one: 1 of 1 placed", "  replica 0: placed", "  edge/q4: won", "  edge/q8: lost", "  replica 0: moved"]
    answer = {"workload": "one", "record": {"slots": [{}], "bids": [bid, won]}, "lines": lines}
    canned.answers["/api/v1/workloads/one/explain"] = (200, text_of(answer))
    output = fairlead("explain", "one").output
    assert output.index("quick") < output.index("too slow") < output.index("replica 0: moved")
    assert "edge/q8: lost" not in output
    canned.answers["/api/v1/workloads/one/explain"] = (200, text_of({"record": None, "lines": ["one: not decided"]}))
    assert fairlead("explain", "one").output == "one: not decided\n"


def test_chat_keeps_what_was_said(fairlead: Run, canned: Canned) -> None:
    piece = text_of({"choices": [{"delta": {"content": "Hello."}}]})
    canned.answers["/v1/chat/completions"] = (200, b"data: " + piece + b"\n\ndata: [DONE]\n\n")
    result = fairlead("chat", "one", stdin="first\n\nsecond\n")
    assert (result.exit_code, result.output) == (0, "Hello.\nHello.\n")
    roles = [message["role"] for message in json.loads(canned.asked[-1][2])["messages"]]
    assert roles == ["user", "assistant", "user"]


def test_chat_in_json_is_the_whole_answer(fairlead: Run, canned: Canned) -> None:
    answer = {"choices": [{"message": {"content": "Hello."}}]}
    canned.answers["/v1/chat/completions"] = (200, text_of(answer))
    assert json.loads(fairlead("chat", "one", "hi", "--json").output) == answer
    canned.answers["/v1/completions"] = (200, text_of({"choices": [{"text": "there"}]}))
    assert json.loads(fairlead("chat", "one", "hi", "--complete", "--json").output)["choices"][0]["text"] == "there"
    assert json.loads(canned.asked[-1][2])["prompt"] == "hi"


def test_tokens(fairlead: Run, canned: Canned) -> None:
    canned.answers["/api/v1/tokens/a"] = (200, text_of({"name": "a", "revoked": True}))
    assert fairlead("token", "revoke", "a").output == "a: revoked\n"
    assert json.loads(fairlead("token", "revoke", "a", "--json").output)["revoked"]
    assert fairlead("token", "show").output == "secret-token\n"
