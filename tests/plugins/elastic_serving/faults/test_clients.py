"""What clients do wrong is theirs alone to hear of, and a client that goes away leaves nothing."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import pytest

from fairlead_elastic_serving.worker import Worker
from tests.plugins.elastic_serving.test_worker import BODY, Given, client
from tests.plugins.language_model.serving.leaving import WAIT_S, HeldUntilAborted

LONG = {**BODY, "max_tokens": 400}
SOME = {**BODY, "max_tokens": 60}


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        ({"prompt": [5] * 512}, 400, "the prompt has 512 tokens; accepted: at most 511"),
        ({"prompt": [5, 1_000_000]}, 400, "1000000: accepted: token ids from 0 to"),
        ({"prompt": [5, -1]}, 400, "-1"),
        ({"prompt": []}, 400, "prompt"),
        ({"max_tokens": 0}, 400, "max_tokens"),
        ({"logit_bias": {"1000000": 1}}, 400, "1000000: accepted: token ids from 0 to"),
        ({"model": "another"}, 404, "accepted: chat"),
    ],
)
async def test_a_request_out_of_bounds_is_refused_and_the_next_one_is_served(
    change: dict[str, Any], status: int, words: str
) -> None:
    async with client(Worker().application(Given())) as http:
        refused = await http.post("/v1/completions", json={**BODY, **change})
        assert refused.status_code == status and words in refused.json()["error"]["message"], refused.text
        assert (await http.post("/v1/completions", json=BODY)).status_code == 200


async def test_an_answer_ends_where_the_context_does() -> None:
    async with client(Worker().application(Given())) as http:
        found = (await http.post("/v1/completions", json={**BODY, "prompt": [5] * 508, "max_tokens": 400})).json()
    assert found["choices"][0]["finish_reason"] == "length" and found["usage"]["total_tokens"] == 512


async def test_more_than_may_wait_is_told_to_come_back() -> None:
    worker, go = Worker(), threading.Event()
    async with client(worker.application(Given(max_sequences=1, max_waiting=1))) as http:
        # No request is begun before all have come, however slowly they do.
        worker._running().between_steps(lambda: go.wait(WAIT_S))
        asked = [asyncio.create_task(http.post("/v1/completions", json=SOME)) for _ in range(6)]
        waiting = set(asked)
        while len(waiting) > 1:
            _, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        go.set()
        answers = await asyncio.gather(*asked)
    found = sorted(answer.status_code for answer in answers)
    assert set(found) == {200, 429} and found[0] == 200
    late = next(answer for answer in answers if answer.status_code == 429)
    assert late.headers["retry-after"] == "1" and late.json()["error"]["code"] == "queue_full"


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_goes_away_leaves_nothing(stream: bool) -> None:
    worker = Worker()
    app = worker.application(Given())
    began, sent = asyncio.Event(), False

    async def receive() -> dict[str, Any]:
        nonlocal sent
        if not sent:
            sent = True
            return {"type": "http.request", "body": json.dumps({**LONG, "stream": stream}).encode()}
        await began.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.body":
            began.set()

    scope = {
        "type": "http", "method": "POST", "path": "/v1/completions", "query_string": b"", "headers": [],
        "http_version": "1.1", "scheme": "http", "server": ("test", 80),
    }  # fmt: skip
    engine = worker._running()
    held = HeldUntilAborted(engine)
    served = asyncio.create_task(app(scope, receive, send))
    if not stream:
        await asyncio.to_thread(held.reached)
        began.set()
    await asyncio.wait({served}, timeout=WAIT_S)
    assert served.done()
    assert await asyncio.to_thread(engine.drain, WAIT_S)
    assert engine.load == (0, 0) and engine.pages[0] == 0
    assert engine.telemetry.generation_tokens < 400
    engine.loop.scheduler.check()
