"""The whole control plane against a real broker and nodes that negotiate."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from fairlead_agent.daemon.clocks import boottime
from fairlead_agent.messages import LeaseKey, Offer
from tests.cloud.backends import Receive, Scope, Send, answer, body_of, piece, start
from tests.cloud.node import estimate, refusing
from tests.cloud.place import TTL_S, Place, apply, place, ready, until
from tests.patience import patient


def openai_app(node: str, key: LeaseKey, epoch: Callable[[], int]) -> Any:
    """A small OpenAI server: says its node's name back, word by word."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        asked = json.loads(await body_of(receive) or b"{}")
        text = f"{node} heard {asked.get('prompt') or asked['messages'][-1]['content']}"
        chat = "chat" in scope["path"]
        if not asked.get("stream"):
            part = {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
            await answer(send, epoch(), json.dumps(_choice(asked, chat, part)).encode())
            return
        await start(send, epoch(), ("content-type", "text/event-stream"))
        for word in text.split():
            part = {"delta": {"content": f"{word} "}} if chat else {"text": f"{word} "}
            await piece(send, f"data: {json.dumps(_choice(asked, chat, part))}\n\n".encode())
        await piece(send, b"data: [DONE]\n\n", more=False)

    return app


def _choice(asked: dict[str, Any], chat: bool, part: dict[str, Any]) -> dict[str, Any]:
    kind = "text_completion" if not chat else ("chat.completion.chunk" if asked.get("stream") else "chat.completion")
    choice = {"index": 0, "finish_reason": None if asked.get("stream") else "stop", **part}
    return {"id": "x", "object": kind, "created": 1, "model": asked["model"], "choices": [choice]}


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Place]:
    async with place(tmp_path) as made:
        yield made


async def test_from_apply_to_the_openai_client(here: Place) -> None:
    openai = pytest.importorskip("openai")
    async with here.plane() as plane:
        await here.node("near", openai_app)
        await here.node("far", openai_app, offers=(Offer(variant="cpu", estimate=estimate(5.0)),))
        assert (await apply(here.client())).json() == {"name": "chat", "generation": 1, "changed": True}
        await ready(plane, "chat")
        client = openai.AsyncOpenAI(base_url=f"{here.url}/v1", api_key=here.token, max_retries=0)
        assert [model.id async for model in client.models.list()] == ["chat"]
        whole = await client.completions.create(model="chat", prompt="hello")
        assert whole.choices[0].text == "near heard hello"
        messages = [{"role": "user", "content": "hi"}]
        said = await client.chat.completions.create(model="chat", messages=messages)
        assert said.choices[0].message.content == "near heard hi"
        stream = await client.chat.completions.create(model="chat", messages=messages, stream=True)
        assert "".join([chunk.choices[0].delta.content async for chunk in stream]) == "near heard hi "
        with pytest.raises(openai.NotFoundError, match="these are: chat"):
            await client.completions.create(model="other", prompt="hello")
        stranger = openai.AsyncOpenAI(base_url=f"{here.url}/v1", api_key="nobody", max_retries=0)
        with pytest.raises(openai.AuthenticationError, match="missing or unknown bearer token"):
            await stranger.completions.create(model="chat", prompt="hello")
        await client.close()
        await stranger.close()


async def test_a_node_that_leaves_is_replaced_while_a_request_waits(
    here: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with here.plane() as plane:
        near = await here.node("near", openai_app)
        await here.node("far", openai_app, offers=(Offer(variant="cpu", estimate=estimate(5.0)),))
        client = here.client()
        await apply(client)
        await ready(plane, "chat")
        before = (await client.get("/api/v1/leases")).json()
        assert [(lease["node"], lease["epoch"]) for lease in before] == [("near", 1)]
        here.nodes.remove(near)
        await near.stop()
        # Its lease, which it cannot give back any more, runs out by the authority's clock.
        monkeypatch.setattr(plane.authority, "_clock", lambda: boottime() + 2 * TTL_S)
        response = await client.post("/v1/completions", json={"model": "chat", "prompt": "you"})
        assert response.status_code == 200
        assert response.json()["choices"][0]["text"] == "far heard you"
        assert (response.headers["fairlead-node"], response.headers["fairlead-epoch"]) == ("far", "2")
        events = [event["type"] for event in (await client.get("/api/v1/events/log")).json()]
        assert {"workload.applied", "node.online", "node.offline", "lease.granted", "instance.ready"} <= set(events)


async def test_explain_says_why_each_bid_won_or_lost(here: Place) -> None:
    async with here.plane() as plane:
        await here.node("near", openai_app)
        await here.node("far", openai_app, offers=(Offer(variant="cpu", estimate=estimate(5.0)),))
        await here.node("full", openai_app, offers=(refusing("cpu", "130 MiB free, 1 GiB needed"),))
        client = here.client()
        await apply(client)
        await ready(plane, "chat")
        await until(lambda: (r := plane.view.record("chat")) is not None and r.slots and r.slots[0].state == "placed")
        explained = (await client.get("/api/v1/workloads/chat/explain")).json()
        bids = {bid["node"]: bid for bid in explained["record"]["bids"]}
        assert {node: bid["outcome"] for node, bid in bids.items()} == {
            "near": "won",
            "far": "lost",
            "full": "refused",
        }
        assert bids["near"]["score"] < bids["far"]["score"] and bids["far"]["terms"]["latency"] > 1
        assert any("130 MiB free" in line for line in explained["lines"])
        shown = (await client.get("/api/v1/workloads/chat")).json()
        assert (shown["ready"], shown["slots"][0]["node"], shown["steward"]) == (1, "near", "control-plane")
        placements = (await client.get("/api/v1/placements")).json()
        assert [record["workload"] for record in placements] == ["chat"]


async def test_delete_drains_and_releases(here: Place) -> None:
    async with here.plane() as plane:
        await here.node("near", openai_app)
        client = here.client()
        await apply(client)
        await ready(plane, "chat")
        assert (await client.delete("/api/v1/workloads/chat")).json()["generation"] == 2
        await until(lambda: not plane.report.leases() or plane.report.leases()[0].node is None)
        assert (await client.get("/api/v1/workloads")).json() == []
        assert (await client.get("/api/v1/workloads/chat")).status_code == 404
        assert (await client.post("/v1/completions", json={"model": "chat"})).status_code == 404


async def test_a_restarted_control_plane_goes_on(here: Place) -> None:
    async with here.plane() as plane:
        await here.node("near", openai_app)
        await apply(here.client())
        await ready(plane, "chat")
        key = plane.key.id
    async with here.plane() as plane:
        assert plane.key.id == key
        await ready(plane, "chat")
        answered = await here.client().post("/v1/completions", json={"model": "chat", "prompt": "again"})
        assert answered.json()["choices"][0]["text"] == "near heard again"
        # The node held its lease all the while: nothing was placed anew.
        assert answered.headers["fairlead-epoch"] == "1"


async def test_logs_come_from_the_nodes(here: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fairlead_cloud.instance_logs.ANSWER_S", patient(60))
    async with here.plane() as plane:
        await here.node("near", openai_app)
        await here.node("silent", openai_app)
        client = here.client()
        await apply(client, replicas=2)
        await ready(plane, "chat", 2)
        logs = {log["node"]: log for log in (await client.get("/api/v1/workloads/chat/logs?lines=7")).json()}
        assert logs["near"]["text"].startswith("near /instances/chat/") and "lines=7" in logs["near"]["text"]
        assert "silent did not answer" in logs["silent"]["error"]


async def test_graph_and_nodes(here: Place) -> None:
    async with here.plane() as plane:
        node = await here.node("near", openai_app)
        node.put_device(links=("control-plane",))
        client = here.client()
        await until(lambda: any(n["data"]["id"] == "near/dram" for n in plane.report.graph()["nodes"]))
        graph = (await client.get("/api/v1/graph")).json()
        parts = {part["data"]["id"]: part["data"] for part in graph["nodes"]}
        assert parts["near/dram"]["parent"] == "near" and parts["near/dram"]["measured"]["total_bytes"]["value"] > 0
        assert ("near", "control-plane") in {(e["data"]["source"], e["data"]["target"]) for e in graph["edges"]}
        shown = (await client.get("/api/v1/nodes/near")).json()
        assert shown["status"]["online"] and "near/cpu0" in shown["facts"]
        assert (await client.get("/api/v1/nodes/nobody")).status_code == 404


async def test_a_stand_alone_authority(here: Place, tmp_path: Path) -> None:
    from fairlead_cloud.authority.standalone import StandaloneAuthority

    authority = StandaloneAuthority(here.settings(state_dir=tmp_path / "authority"))
    await authority.start()
    try:
        async with here.plane(run_authority=False) as plane:
            await here.node("near", openai_app)
            client = here.client()
            await apply(client)
            await ready(plane, "chat")
            answered = await client.post("/v1/completions", json={"model": "chat", "prompt": "you"})
            assert answered.headers["fairlead-epoch"] == "1"
            assert (await client.get("/api/v1/leases")).json()[0]["node"] == "near"
    finally:
        await authority.stop()


async def test_metrics(here: Place) -> None:
    async with here.plane() as plane:
        await here.node("near", openai_app)
        client = here.client()
        await apply(client)
        await ready(plane, "chat")
        await client.post("/v1/completions", json={"model": "chat", "prompt": "you"})
        text = (await client.get("/metrics")).text
        assert 'fairlead_gateway_requests_total{status="200",workload="chat"} 1.0' in text
        assert "fairlead_leases_live 1.0" in text and "fairlead_nodes_online 2.0" in text
        assert (await here.client("").get("/metrics")).status_code == 401
