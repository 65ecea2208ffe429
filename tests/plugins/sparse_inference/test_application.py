"""The OpenAI-compatible API, over ASGI."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from fairlead_kernels.work import FIELDS
from fairlead_sparse_inference.application import serve
from fairlead_sparse_inference.engine import Engine
from tests.plugins.language_model.serving.leaving import HeldUntilAborted

from .conftest import WAIT_S

MODEL = "tiny-chat"
NO_END = {"logit_bias": {"1": -100, "4": -100}}


@pytest.fixture
def engine(make_engine: Callable[..., Engine]) -> Engine:
    return make_engine(max_sequences=2, max_waiting=2)


@pytest.fixture
def app(engine: Engine) -> Starlette:
    return serve(engine, MODEL, aliases=("tiny-drelu",), max_tokens=12).asgi()


@pytest.fixture
async def client(app: Starlette) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test", timeout=30) as client:
        yield client


def completion(**fields: Any) -> dict[str, Any]:
    return {"model": MODEL, "prompt": "The rain", "max_tokens": 8, "temperature": 0, **fields}


def chat(**fields: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": "Who is there?"}]
    return {"model": MODEL, "messages": messages, "max_completion_tokens": 8, "temperature": 0, **fields}


def events(body: str) -> list[dict[str, Any]]:
    lines = [line.removeprefix("data: ") for line in body.split("\n\n") if line]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


async def test_a_stream_carries_the_text_of_the_whole_response(client: httpx.AsyncClient) -> None:
    whole = (await client.post("/v1/completions", json=completion(**NO_END))).json()
    streamed = await client.post(
        "/v1/completions", json=completion(stream=True, stream_options={"include_usage": True}, **NO_END)
    )
    assert streamed.headers["content-type"].startswith("text/event-stream")
    chunks = events(streamed.text)
    text = "".join(choice["text"] for chunk in chunks for choice in chunk["choices"])
    assert text == whole["choices"][0]["text"] != ""
    assert whole["choices"][0]["finish_reason"] == "length"
    assert chunks[-2]["choices"][0]["finish_reason"] == "length"
    assert chunks[-1]["choices"] == []
    details = [told["usage"].pop("prompt_tokens_details") for told in (whole, chunks[-1])]
    assert chunks[-1]["usage"] == whole["usage"]
    # The second request finds the prompt in memory, but for its last token.
    assert details == [{"cached_tokens": 0}, {"cached_tokens": whole["usage"]["prompt_tokens"] - 1}]
    usage = whole["usage"]
    assert usage["completion_tokens"] == 8
    assert usage["total_tokens"] == usage["prompt_tokens"] + 8


async def test_several_choices_are_the_answers_to_the_next_seeds(client: httpx.AsyncClient) -> None:
    asked = {"temperature": 1.5, "max_tokens": 16, **NO_END}
    bodies = [completion(seed=seed, **asked) for seed in (7, 8, 9)]
    single = [(await client.post("/v1/completions", json=body)).json()["choices"][0]["text"] for body in bodies]
    whole = (await client.post("/v1/completions", json=completion(seed=7, n=3, **asked))).json()
    assert [(choice["index"], choice["text"]) for choice in whole["choices"]] == list(enumerate(single))
    assert whole["usage"]["completion_tokens"] == 3 * 16
    options = {"stream": True, "stream_options": {"include_usage": True}}
    chunks = events((await client.post("/v1/completions", json=completion(seed=7, n=3, **options, **asked))).text)
    texts = ["", "", ""]
    for choice in (choice for chunk in chunks for choice in chunk["choices"]):
        texts[choice["index"]] += choice["text"]
    assert texts == single
    assert sorted(c["index"] for chunk in chunks for c in chunk["choices"] if c["finish_reason"]) == [0, 1, 2]
    assert chunks[-1]["usage"]["completion_tokens"] == 3 * 16


async def test_further_choices_find_the_prompt_computed(client: httpx.AsyncClient, engine: Engine) -> None:
    body = chat(n=4, temperature=1, **NO_END)
    answer = (await client.post("/v1/chat/completions", json=body)).json()
    assert len(answer["choices"]) == 4
    assert await asyncio.to_thread(engine.drain, WAIT_S)
    prompt = answer["usage"]["prompt_tokens"]
    assert engine.telemetry.prompt_tokens < 4 * prompt
    assert engine.telemetry.cached_tokens + engine.telemetry.prompt_tokens == 4 * prompt
    assert engine.pages[0] == 0


async def test_a_full_queue_says_so_and_when_to_come_back(client: httpx.AsyncClient) -> None:
    body = completion(max_tokens=100, **NO_END)
    responses = await asyncio.gather(*(client.post("/v1/completions", json=body) for _ in range(24)))
    codes = {response.status_code for response in responses}
    assert 200 in codes and codes <= {200, 429}
    for response in responses:
        if response.status_code == 429:
            assert response.headers["retry-after"] == "1"
            assert response.json()["error"]["code"] == "queue_full"


async def raw_request(app: Starlette, body: dict[str, Any], leave_after: Callable[[list[Any]], bool]) -> list[Any]:
    """Send a request by hand and disconnect once `leave_after` says so."""
    sent: list[Any] = []
    left = asyncio.Event()
    parts = [{"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}]

    async def receive() -> Any:
        if parts:
            return parts.pop()
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)
        if leave_after(sent):
            left.set()

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "path": "/v1/completions",
        "raw_path": b"/v1/completions",
        "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
    }
    if leave_after(sent):
        left.set()
    await asyncio.wait_for(app(scope, receive, send), WAIT_S)  # pyright: ignore[reportArgumentType]
    return sent


async def test_a_client_that_leaves_a_stream_aborts_its_generation(app: Starlette, engine: Engine) -> None:
    HeldUntilAborted(engine)
    body = completion(max_tokens=127, stream=True, temperature=1, seed=1, **NO_END)
    await raw_request(app, body, lambda sent: len(sent) >= 3)
    assert await asyncio.to_thread(engine.drain, WAIT_S)
    assert engine.pages[0] == 0
    assert engine.telemetry.aborted == 1


async def test_a_client_that_leaves_before_the_answer_aborts_it(app: Starlette, engine: Engine) -> None:
    from starlette.requests import ClientDisconnect

    HeldUntilAborted(engine)
    body = completion(max_tokens=127, temperature=1, seed=1, **NO_END)
    with pytest.raises(ClientDisconnect):
        await raw_request(app, body, lambda sent: True)
    assert await asyncio.to_thread(engine.drain, WAIT_S)
    assert engine.pages[0] == 0
    assert engine.telemetry.aborted == 1


async def test_health_follows_the_engine(client: httpx.AsyncClient, engine: Engine) -> None:
    assert (await client.get("/health")).json() == {"status": "ok", "active": 0, "waiting": 0}
    await asyncio.to_thread(engine.drain, WAIT_S)
    assert (await client.get("/health")).status_code == 503
    refused = await client.post("/v1/completions", json=completion())
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "draining")


async def test_metrics_count_tokens_and_neurons(client: httpx.AsyncClient, engine: Engine) -> None:
    await client.post("/v1/completions", json=completion(**NO_END))
    assert await asyncio.to_thread(engine.drain, WAIT_S)
    text = (await client.get("/metrics")).text
    samples = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert float(samples['fairlead_sparse_tokens_total{kind="completion"}']) == 8
    assert float(samples['fairlead_sparse_neurons_active_total{layer="0"}']) > 0
    assert float(samples['fairlead_sparse_neurons_computed_total{layer="1"}']) > 0
    assert float(samples['fairlead_sparse_token_seconds_bucket{le="+Inf"}']) == 7
    assert float(samples["fairlead_sparse_token_seconds_count"]) == 7
    assert float(samples['fairlead_sparse_kv_pages{state="used"}']) == 0
    assert "# TYPE fairlead_sparse_tokens_total counter" in text


async def test_what_does_not_take_place_is_absent_from_the_metrics(client: httpx.AsyncClient) -> None:
    await client.post("/v1/completions", json=completion(**NO_END))
    text = (await client.get("/metrics")).text
    for name in ("draft_tokens", "neurons_predicted", "neurons_found", "read_bytes", "sessions"):
        assert f"fairlead_sparse_{name}" not in text


async def test_what_was_read_and_found_is_in_the_metrics(client: httpx.AsyncClient, engine: Engine) -> None:
    """As the kernels report it where neurons lie on storage."""
    told = {"predicted": 9, "fixed_hits": 1, "hot_hits": 2, "cold_hits": 3, "misses": 4, "reads": 4}
    told |= {"read_bytes": 16384, "read_ns": 2_000_000, "stalled_ns": 500_000, "predictor_ns": 1_000_000}
    for name, value in told.items():
        engine.telemetry.work[0, FIELDS.index(name)] += value
    text = (await client.get("/metrics")).text
    samples = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    found = {place: samples[f'fairlead_sparse_neurons_found_total{{place="{place}"}}'] for place in ("hot", "storage")}
    assert found == {"hot": "2.0", "storage": "4.0"}
    assert float(samples["fairlead_sparse_read_bytes_total"]) == 16384
    assert float(samples["fairlead_sparse_read_stalled_seconds_total"]) == 0.0005
    assert float(samples['fairlead_sparse_neurons_predicted_total{layer="0"}']) == 9
