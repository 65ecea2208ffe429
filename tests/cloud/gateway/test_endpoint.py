"""The gateway's routes as clients see them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
import pytest_asyncio

from fairlead_agent.messages import LeaseKey
from fairlead_cloud.gateway import request
from tests.cloud.backends import Dying, Held, Receive, Scope, Send, body_of, echo, piece, start
from tests.cloud.place import Place, apply, place, ready, until
from tests.patience import patient

# One control plane for all tests of this module: none of them changes it for the others.
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def here(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    async with place(tmp_path_factory.mktemp("gateway")) as made:
        yield made


class ByPath:
    """Behaves as the last part of the path says."""

    def __init__(self) -> None:
        self.held: Held | None = None

    def __call__(self, node: str, key: LeaseKey, epoch: Callable[[], int]) -> Any:
        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            what = scope["path"].rpartition("/")[2]
            if what.startswith("die-"):
                await Dying(epoch(), what.removeprefix("die-"))(scope, receive, send)
            elif what == "hold":
                self.held = Held(epoch(), early=False)
                await self.held(scope, receive, send)
            elif what == "nothing":
                await body_of(receive)
                await start(send, epoch(), status=204)
                await piece(send, b"", more=False)
            elif what == "teapot":
                await body_of(receive)
                head = (("set-cookie", "a=1"), ("set-cookie", "b=2"), ("fairlead-node", "me"), ("content-length", "5"))
                await start(send, epoch(), *head, status=418)
                await piece(send, b"short", more=False)
            elif scope["method"] == "HEAD":
                await start(send, epoch(), ("content-length", "1234"))
                await piece(send, b"", more=False)
            else:
                await echo(node, epoch())(scope, receive, send)

        return app


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(here: Place) -> AsyncIterator[httpx.AsyncClient]:
    async with here.plane(gateway_wait_s=0.5) as plane:
        app = ByPath()
        await here.node("near", app)
        client = here.client()
        client.app, client.plane = app, plane  # type: ignore[attr-defined]
        await apply(client)
        await ready(plane, "chat")
        yield client


async def test_everything_goes_through_but_the_credentials(client: httpx.AsyncClient) -> None:
    url = "/workloads/chat/a%2Fb/c%20d?x=1&y=%20"
    sent = {"Cookie": "secret=1", "Fairlead-Epoch": "99", "X-Own": "kept", "Connection": "x-hop", "X-Hop": "dropped"}
    said = (await client.patch(url, content=b"\x00\xff", headers=sent)).json()
    assert (said["method"], said["path"], said["query"]) == ("PATCH", "/a%2Fb/c%20d", "x=1&y=%20")
    headers = dict(said["headers"])
    assert headers["x-own"] == "kept" and headers["fairlead-epoch"] == "1"
    assert not {"authorization", "cookie", "x-hop"} & set(headers)
    assert said["body"].encode("latin-1") == b"\x00\xff"


async def test_status_headers_and_empty_answers(client: httpx.AsyncClient) -> None:
    teapot = await client.get("/workloads/chat/teapot")
    assert (teapot.status_code, teapot.text) == (418, "short")
    assert teapot.headers.get_list("set-cookie") == ["a=1", "b=2"]
    assert teapot.headers.get_list("fairlead-node") == ["near"]
    assert (await client.get("/workloads/chat/nothing")).status_code == 204
    head = await client.head("/workloads/chat/whatever")
    assert (head.status_code, head.headers["content-length"], head.content) == (200, "1234", b"")


async def test_unknown_workloads_and_missing_tokens(client: httpx.AsyncClient, here: Place) -> None:
    missing = await client.get("/workloads/nobody/x")
    assert (missing.status_code, missing.json()) == (404, {"detail": "no workload 'nobody'"})
    stranger = here.client("")
    assert (await stranger.get("/workloads/chat/x")).json() == {"detail": "missing or unknown bearer token"}
    viewer = await client.post("/api/v1/tokens", json={"name": "v", "role": "viewer"})
    refused = await here.client(viewer.json()["token"]).get("/workloads/chat/x")
    assert (refused.status_code, refused.json()["detail"]) == (403, "this token's role is viewer; client is needed")


OPENAI_ERRORS = [
    ("", {"model": "chat"}, 401, "authentication_error", None, "bearer token"),
    (None, {"model": "nobody"}, 404, "not_found_error", "model_not_found", "these are: chat"),
    (None, {"prompt": "x"}, 400, "invalid_request_error", None, "field 'model'"),
    (None, {"model": 7}, 400, "invalid_request_error", None, "7"),
]


async def test_openai_errors(client: httpx.AsyncClient, here: Place) -> None:
    for token, body, status, kind, code, word in OPENAI_ERRORS:
        refused = await here.client(token).post("/v1/chat/completions", json=body)
        error = refused.json()["error"]
        assert (refused.status_code, error["type"], error["code"]) == (status, kind, code)
        assert word in error["message"] and set(error) == {"message", "type", "param", "code"}


async def test_openai_errors_of_routes(client: httpx.AsyncClient, here: Place) -> None:
    for method, path, status in (
        ("GET", "/v1/models/nobody", 404),
        ("GET", "/v1/nonsense", 404),
        ("GET", "/v1/chat/completions", 405),
    ):
        refused = await client.request(method, path)
        assert refused.status_code == status and "message" in refused.json()["error"], path
    assert "error" in (await here.client("").get("/v1/models")).json()
    junk = await client.post("/v1/completions", content=b"{" * 100_000)
    assert junk.status_code == 400 and junk.json()["error"]["param"] == "model"


async def test_bodies_have_a_bound(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request, "MAX_BODY_BYTES", 1000)
    announced = await client.post("/workloads/chat/x", content=b"x" * 1001)
    assert (announced.status_code, announced.json()["detail"]) == (413, "body: at most 1000 bytes are accepted")

    async def unannounced() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b"x" * 100

    assert (await client.post("/v1/completions", content=unannounced())).json()["error"]["type"] == "request_too_large"


async def test_nobody_serves_is_a_503_that_says_why(client: httpx.AsyncClient) -> None:
    await apply(client, "lonely", constraints={"nodes": ["elsewhere"]})
    refused = await client.get("/workloads/lonely/x")
    assert refused.status_code == 503 and refused.headers["retry-after"] == "2"
    assert "no replica is ready" in refused.json()["detail"]


async def test_a_stream_that_breaks_ends_with_an_error_event(client: httpx.AsyncClient) -> None:
    text = (await client.get("/workloads/chat/die-stream")).text
    assert text.startswith("data: one\n\nda\n\n")
    error = json.loads(text.split("\n\n")[2].removeprefix("data: "))["error"]
    assert (error["code"], "what came before stands" in error["message"]) == ("replica_lost", True)


async def test_another_answer_that_breaks_breaks_the_connection(client: httpx.AsyncClient) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        await client.get("/workloads/chat/die-chunks")


async def test_a_post_that_may_have_had_its_effect_is_a_502(client: httpx.AsyncClient) -> None:
    refused = await client.post("/workloads/chat/die-head")
    assert refused.status_code == 502 and "may have had its effect" in refused.json()["detail"]
    # With a key the instance can tell a repetition, so it is repeated until the time is up.
    again = await client.post("/workloads/chat/die-head", headers={"Idempotency-Key": "k"})
    assert again.status_code == 503


async def test_a_client_that_leaves_frees_the_instance(client: httpx.AsyncClient) -> None:
    app, plane = client.app, client.plane  # type: ignore[attr-defined]
    asking = asyncio.create_task(client.get("/workloads/chat/hold"))
    await until(lambda: app.held is not None)
    async with asyncio.timeout(patient(60)):
        await app.held.asked.wait()
        asking.cancel()
        await app.held.left.wait()
    await until(lambda: plane.forwarder.in_flight == 0)
    assert 'status="499"' in (await client.get("/metrics")).text


async def test_answers_from_application(client: httpx.AsyncClient) -> None:
    said = await client.post("/v1/completions", json={"model": "chat", "prompt": "x"})
    assert said.json()["path"] == "/v1/completions" and said.headers["fairlead-attempts"] == "1"
