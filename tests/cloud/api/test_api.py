"""The HTTP API: who may do what, what is refused and how, and the event stream."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import event

from fairlead_agent.messages import Workload
from fairlead_cloud.store import Event
from tests.cloud.place import Place, apply, place
from tests.patience import patient


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Place]:
    async with place(tmp_path) as made:
        yield made


def _pirate(workload: Workload) -> Workload:
    if workload.config.get("voice") == "parrot":
        raise ValueError("config: voice: 'parrot' is not one of 'calm', 'loud'")
    return workload.model_copy(update={"config": {"voice": "calm", **workload.config}})


ROUTES = [
    ("GET", "/api/v1/workloads", "viewer"),
    ("GET", "/api/v1/nodes", "viewer"),
    ("GET", "/api/v1/graph", "viewer"),
    ("GET", "/api/v1/placements", "viewer"),
    ("GET", "/api/v1/leases", "viewer"),
    ("GET", "/api/v1/events/log", "viewer"),
    ("GET", "/metrics", "viewer"),
    ("GET", "/v1/models", "client"),
    ("PUT", "/api/v1/workloads/chat", "operator"),
    ("DELETE", "/api/v1/workloads/chat", "operator"),
    ("GET", "/api/v1/workloads/chat/logs", "operator"),
    ("GET", "/api/v1/tokens", "admin"),
]


async def test_roles(here: Place) -> None:
    async with here.plane():
        admin, roles = here.client(), ["viewer", "client", "operator", "admin"]
        clients: dict[str, httpx.AsyncClient] = {}
        for role in roles:
            made = await admin.post("/api/v1/tokens", json={"name": f"for-{role}", "role": role})
            clients[role] = here.client(made.json()["token"])
        for method, path, needed in ROUTES:
            assert (await here.client("").request(method, path)).status_code == 401, path
            assert (await here.client("fl_wrong").request(method, path)).status_code == 401, path
            for role in roles:
                got = (await clients[role].request(method, path)).status_code
                assert (got == 403) == (roles.index(role) < roles.index(needed)), (role, method, path, got)


async def test_health_needs_no_token(here: Place) -> None:
    async with here.plane():
        said = (await here.client("").get("/api/v1/health")).json()
        assert (said["status"], said["site"], said["bus_connected"]) == ("ok", "test", True)


async def test_apply_get_list_delete(here: Place) -> None:
    async with here.plane(_pirate):
        client = here.client()
        assert (await apply(client)).json() == {"name": "chat", "generation": 1, "changed": True}
        assert (await apply(client)).json() == {"name": "chat", "generation": 1, "changed": False}
        assert (await apply(client, replicas=3)).json()["generation"] == 2
        shown = (await client.get("/api/v1/workloads/chat")).json()
        assert shown["workload"]["config"] == {"voice": "calm"} and shown["workload"]["replicas"] == 3
        assert [w["name"] for w in (await client.get("/api/v1/workloads")).json()] == ["chat"]
        assert (await client.delete("/api/v1/workloads/chat")).json()["generation"] == 3
        assert (await client.delete("/api/v1/workloads/chat")).status_code == 404
        assert (await client.get("/api/v1/workloads/chat/logs")).status_code == 404


BAD: list[tuple[dict[str, Any] | bytes, list[str]]] = [
    ({"name": "chat", "plugin": "echo", "replicas": -1}, ["replicas", "greater than or equal to 0", "-1"]),
    ({"name": "chat", "plugin": "echo", "replicas": "many"}, ["replicas", "integer", "'many'"]),
    ({"name": "chat", "plugin": "Not A Name"}, ["plugin", "pattern", "'Not A Name'"]),
    ({"name": "chat"}, ["plugin", "Field required"]),
    ({"name": "other", "plugin": "echo"}, ["name", "'chat'", "'other'"]),
    ({"name": "chat", "plugin": "echo", "config": {"voice": "parrot"}}, ["config", "voice", "'parrot'", "'calm'"]),
    (
        {"name": "chat", "plugin": "echo", "placement": {"guarantee": "at-most-once", "on_partition": "keep"}},
        ["on_partition", "'keep'", "Legal pairs"],
    ),
    (
        {"name": "chat", "plugin": "echo", "constraints": {"spread": "wide"}},
        ["constraints.spread", "'node' or 'none'", "'wide'"],
    ),
    (b'{"name": "chat",', ["not JSON"]),
    (b"[1]", ["body"]),
]


async def test_bad_input_is_one_clear_line(here: Place) -> None:
    async with here.plane(_pirate):
        client = here.client()
        headers = {"Content-Type": "application/json"}
        for body, words in BAD:
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            refused = await client.put("/api/v1/workloads/chat", content=content, headers=headers)
            assert refused.status_code == 422
            detail = refused.json()["detail"]
            assert "\n" not in detail and all(word in detail for word in words), (body, detail)
        assert (await client.get("/api/v1/workloads")).json() == []


async def test_bad_tokens_and_queries(here: Place) -> None:
    async with here.plane():
        client = here.client()
        for body, word in (({"name": "x", "role": "king"}, "'king'"), ({"name": "Bad Name", "role": "admin"}, "name")):
            refused = await client.post("/api/v1/tokens", json=body)
            assert refused.status_code == 422 and word in refused.json()["detail"]
        assert "limit" in (await client.get("/api/v1/events/log?limit=0")).json()["detail"]
        assert (await client.delete("/api/v1/tokens/nobody")).status_code == 404
        assert (await client.get("/api/v1/nonsense")).json() == {"detail": "Not Found"}


async def test_a_revoked_token_is_void_at_once(here: Place) -> None:
    async with here.plane():
        admin = here.client()
        made = (await admin.post("/api/v1/tokens", json={"name": "ci", "role": "viewer"})).json()
        ci = here.client(made["token"])
        assert (await ci.get("/api/v1/nodes")).status_code == 200
        assert (await admin.delete("/api/v1/tokens/ci")).json()["revoked"] is True
        assert (await ci.get("/api/v1/nodes")).status_code == 401
        listed = {token["name"]: token for token in (await admin.get("/api/v1/tokens")).json()}
        assert listed["ci"]["revoked"] and listed["ci"]["token"] is None


async def read_events(response: httpx.Response, count: int) -> list[dict[str, str]]:
    found: list[dict[str, str]] = []
    fields: dict[str, str] = {}
    async with asyncio.timeout(patient(60)):
        async for line in response.aiter_lines():
            if line:
                name, _, value = line.partition(": ")
                fields[name] = value
            elif "id" in fields:
                found.append(fields)
                fields = {}
                if len(found) == count:
                    break
    return found


async def test_events_are_followed_and_resumed(here: Place) -> None:
    async with here.plane() as plane:
        client = here.client()
        await apply(client, "one")
        async with client.stream("GET", "/api/v1/events?after=0") as response:
            assert response.headers["content-type"].startswith("text/event-stream")
            first = await read_events(response, 1)
        # Nobody listens now; what happens meanwhile is not lost for who says what was seen last.
        await apply(client, "two")
        await apply(client, "three")
        resumed = {"Last-Event-ID": first[0]["id"]}
        async with client.stream("GET", "/api/v1/events", headers=resumed) as response:
            reading = asyncio.create_task(read_events(response, 5))
            await plane.events.append_all([Event(0, 1.0, "test.last", "s", {"n": n}) for n in range(5)])
            found = await reading
        ids = [int(event["id"]) for event in found]
        assert ids == list(range(int(first[0]["id"]) + 1, int(first[0]["id"]) + 6))
        data = json.loads(found[-1]["data"])
        assert set(data) >= {"time", "subject"}
        assert (await client.get("/api/v1/events", headers={"Last-Event-ID": "7; DROP"})).status_code == 422


async def test_without_a_position_only_new_events_come(here: Place) -> None:
    async with here.plane() as plane:
        client = here.client()
        await plane.events.append("test.old", "s", {}, 0.0)
        async with client.stream("GET", "/api/v1/events") as response:
            await plane.events.append("test.new", "s", {}, 0.0)
            found = await read_events(response, 1)
        assert found[0]["event"] != "test.old"


def _query_only(engine: Any, on: bool) -> Callable[..., None]:
    def set_it(connection: Any, *_: Any) -> None:
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA query_only={'ON' if on else 'OFF'}")
        cursor.close()

    event.listen(engine, "checkout", set_it)
    return set_it


async def test_a_read_only_database_is_one_clear_error(here: Place) -> None:
    async with here.plane() as plane:
        client, engine = here.client(), plane.database.engine.sync_engine
        await apply(client)
        refusing = _query_only(engine, True)
        refused = await apply(client, "second")
        assert refused.status_code == 503
        assert "readonly" in refused.json()["detail"] and "\n" not in refused.json()["detail"]
        # It goes on: reads work, and writes again as soon as they can.
        assert [w["name"] for w in (await client.get("/api/v1/workloads")).json()] == ["chat"]
        event.remove(engine, "checkout", refusing)
        _query_only(engine, False)
        assert (await apply(client, "second")).status_code == 200
