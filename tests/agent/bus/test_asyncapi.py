"""The published contract against the code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from fairlead_agent.bus import asyncapi
from fairlead_agent.bus.topics import Topics
from fairlead_agent.messages import Body, StreamChunk, bodies, encode

DOCS = Path(__file__).parents[3] / "docs"


def test_files_in_the_repository_are_up_to_date() -> None:
    assert asyncapi.stale(DOCS) == [], "run: python -m fairlead_agent.bus.asyncapi --write"


def test_every_message_has_a_channel_and_a_schema() -> None:
    own = {body for body in bodies().values() if body.__module__.startswith("fairlead_agent.messages")}
    assert own == {body for channel in asyncapi.channels() for body in channel.bodies}
    assert {f"{body.TYPE}.json" for body in own} <= set(asyncapi.schemas())


def test_addresses_are_those_of_the_topics_page() -> None:
    topics = Topics("{site}")
    made = {
        *(getattr(topics, name)("{node}") for name in ("status", "graph", "delta", "instances", "call", "inbox")),
        topics.placement("{node}", "{workload}"),
        topics.desired("{workload}"),
    }
    assert made == {channel.address for channel in asyncapi.channels()}


def test_all_references_resolve() -> None:
    document = yaml.safe_load((DOCS / asyncapi.DOCUMENT).read_text())

    def references(node: object) -> list[str]:
        if isinstance(node, dict):
            own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
            return own + [found for value in node.values() for found in references(value)]
        return [found for value in node for found in references(value)] if isinstance(node, list) else []

    found = references(document)
    assert len(found) > 50
    for reference in found:
        if reference.startswith("#/"):
            place = document
            for key in reference[2:].split("/"):
                place = place[key]
        else:
            assert (DOCS / reference).is_file(), reference


def test_schema_agrees_with_a_real_message() -> None:
    payload = json.loads(encode(StreamChunk(stream="s", index=0, data_base64=""), id="i", source="a", time=1.0))
    schema = asyncapi.schemas()["stream-chunk.json"]
    assert set(schema["required"]) <= payload["data"].keys() <= schema["properties"].keys()
    header = asyncapi.schemas()["envelope.json"]
    assert set(header["required"]) <= payload.keys()


def test_command_finds_stale_files_and_writes_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*arguments: str) -> int:
        monkeypatch.setattr("sys.argv", ["asyncapi", "--docs", str(tmp_path), *arguments])
        with pytest.raises(SystemExit) as ended:
            asyncapi.main()
        return int(ended.value.code or 0)

    assert run() == 1
    assert run("--write") == 0
    assert run() == 0
    (tmp_path / asyncapi.SCHEMAS / "no-longer-made.json").write_text("{}")
    (tmp_path / asyncapi.SCHEMAS / "call.json").write_text("{}")
    assert run() == 1
    assert run("--write") == 0
    assert asyncapi.stale(tmp_path) == []


def test_messages_of_tests_and_plugins_do_not_leak_into_the_contract() -> None:
    class Foreign(Body):
        TYPE = "foreign"

    bodies.cache_clear()
    assert "fairlead.1.foreign" in bodies()
    assert "foreign.json" not in asyncapi.schemas()
    del Foreign
