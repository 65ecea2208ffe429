"""The page on one's own machine: it gives the token that browsers cannot, and to its own page alone."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx

from fairlead_stylization.service.trying import Passing


def upstream(request: httpx.Request) -> httpx.Response:
    known = [f"http://gate/workloads/s/{name}" for name in ("stylize", "generate")]
    if request.headers.get("authorization") != "Bearer fl_1" or str(request.url) not in known:
        return httpx.Response(401, json={"error": {"message": "missing or unknown bearer token"}})
    return httpx.Response(200, content=request.content, headers={"fairlead-conversions": "x", "set-cookie": "a=b"})


def asked(token: str | None = "fl_1", host: str = "127.0.0.1:8765") -> httpx.AsyncClient:
    passing = Passing("http://gate/workloads/s/", token, httpx.AsyncClient(transport=httpx.MockTransport(upstream)))
    return httpx.AsyncClient(transport=httpx.ASGITransport(passing.asgi()), base_url=f"http://{host}")


async def test_forms_are_passed_on_with_the_token() -> None:
    async with asked() as client:
        assert 'name="strength"' in (await client.get("/")).text
        answer = await client.post("/stylize", content=b"form", headers={"origin": "http://127.0.0.1:8765"})
        assert answer.status_code == 200 and answer.content == b"form"
        assert answer.headers["fairlead-conversions"] == "x" and "set-cookie" not in answer.headers
        assert (await client.post("/generate", content=b"other")).content == b"other"
    async with asked(token=None) as client:
        answer = await client.post("/stylize", content=b"form")
        assert answer.status_code == 401 and "bearer token" in answer.json()["error"]["message"]


async def test_other_sites_are_refused() -> None:
    async with asked() as client:
        answer = await client.post("/stylize", content=b"form", headers={"origin": "http://elsewhere.example"})
        assert answer.status_code == 403
    async with asked(host="elsewhere.example") as client:
        assert (await client.get("/")).status_code == 400


async def test_who_leaves_the_page_is_not_worked_for() -> None:
    ended = asyncio.Event()

    async def searching(request: httpx.Request) -> httpx.Response:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()
        return httpx.Response(200)

    passing = Passing("http://gate", None, httpx.AsyncClient(transport=httpx.MockTransport(searching)))
    messages = iter([{"type": "http.request", "body": b"form"}, {"type": "http.disconnect"}])
    sent = []

    async def receive() -> Any:
        return next(messages, {"type": "http.disconnect"})

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"host", b"localhost")]
    scope = {"type": "http", "method": "POST", "path": "/stylize", "headers": headers, "query_string": b""}
    async with asyncio.timeout(30):
        await passing.asgi()(scope, receive, send)
        await ended.wait()
    assert sent[0]["status"] == 499


async def test_nobody_there_is_told() -> None:
    def gone(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("connection refused")

    passing = Passing("http://gate", None, httpx.AsyncClient(transport=httpx.MockTransport(gone)))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(passing.asgi()), base_url="http://localhost") as client:
        answer = await client.post("/stylize", content=b"form")
    assert answer.status_code == 502 and "nobody answers: http://gate" in answer.json()["error"]["message"]
