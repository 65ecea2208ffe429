"""Answers of a given form, over the API."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import jsonschema
import pytest

from fairlead_sparse_inference.application import serve
from fairlead_sparse_inference.engine import Engine, SparseModel
from fairlead_sparse_inference.settings import MODELS

from .test_application import events

SCHEMA = {
    "type": "object",
    "properties": {
        "speaker": {"type": "string", "minLength": 1, "maxLength": 12},
        "mood": {"enum": ["glad", "grave", "angry"]},
        "years": {"type": "array", "items": {"type": "integer", "minimum": 1700, "maximum": 1999}, "maxItems": 2},
    },
    "required": ["speaker", "mood", "years"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    engine = Engine(SparseModel.load(MODELS / "tiny-drelu"), max_sequences=4)
    yield engine
    engine.close()


@pytest.fixture
async def client(engine: Engine) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(serve(engine, "chat").asgi())
    async with httpx.AsyncClient(transport=transport, base_url="http://test", timeout=60) as client:
        yield client


def body(seed: int = 1, **fields: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": "Who spoke, and in what mood?"}]
    return {"model": "chat", "messages": messages, "seed": seed, "max_tokens": 120, **fields}


def schema_format(schema: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": schema}}


async def test_seeded_answers_all_validate(client: httpx.AsyncClient) -> None:
    pytest.importorskip("llguidance", reason="llguidance is not installed")
    texts: list[str] = []
    for seed in range(20):
        asked = body(seed, response_format=schema_format(SCHEMA), stream=bool(seed % 2))
        answer = await client.post("/v1/chat/completions", json=asked)
        if seed % 2:
            choices = [choice for chunk in events(answer.text) for choice in chunk["choices"]]
            texts.append("".join(choice["delta"].get("content") or "" for choice in choices))
            assert choices[-1]["finish_reason"] == "stop"
        else:
            texts.append(answer.json()["choices"][0]["message"]["content"])
        jsonschema.validate(json.loads(texts[-1]), SCHEMA)
    assert len(set(texts)) > 10


async def test_json_objects_regular_expressions_and_grammars_are_followed(client: httpx.AsyncClient) -> None:
    pytest.importorskip("llguidance", reason="llguidance is not installed")

    async def ask(**fields: Any) -> str:
        asked = {"model": "chat", "prompt": "The year was", "temperature": 0, "max_tokens": 60, **fields}
        return (await client.post("/v1/completions", json=asked)).json()["choices"][0]["text"]

    assert (await ask(guided_regex=" 1[0-9]{3}")).strip().isdigit()
    assert await ask(guided_choice=["early", "late"]) in ("early", "late")
    assert await ask(grammar='root ::= "in " ("May" | "June") "."') in ("in May.", "in June.")
    found = json.loads(await ask(guided_json={"type": "array", "items": {"type": "boolean"}, "maxItems": 4}))
    assert all(isinstance(item, bool) for item in found)


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({"response_format": schema_format({"type": "objec"})}, "response_format.json_schema.schema", "objec"),
        ({"guided_regex": "(a"}, "guided_regex", "unclosed group"),
        ({"grammar": "start: missing"}, "grammar", "missing"),
        ({"guided_regex": "a", "guided_choice": ["b"]}, "guided_choice", "together with guided_regex"),
    ],
)
async def test_a_form_that_cannot_be_read_is_refused_by_name(
    client: httpx.AsyncClient, fields: dict[str, Any], param: str, words: str
) -> None:
    pytest.importorskip("llguidance", reason="llguidance is not installed")
    answer = await client.post("/v1/chat/completions", json=body(**fields))
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, param)
    assert words in error["message"]


async def test_without_the_library_the_request_is_refused_and_others_are_served(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "llguidance", None)
    answer = await client.post("/v1/chat/completions", json=body(response_format={"type": "json_object"}))
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (501, "grammar_unavailable", "response_format")
    assert "pip install" in error["message"]
    assert (await client.post("/v1/chat/completions", json=body(max_tokens=2))).status_code == 200
