"""The main job: a fleet places a language model twice, and clients are answered through the gateway."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fleet.conftest import BROKERS, TINY, Fleet, FleetMaker

pytestmark = [pytest.mark.fleet, pytest.mark.timeout(600)]


@pytest.fixture(scope="module", params=BROKERS)
def fleet(request: pytest.FixtureRequest, make_shared_fleet: FleetMaker) -> Fleet:
    """A fleet with two replicas of the shipped model, which tests leave as they find it."""
    made = make_shared_fleet(request.param)
    made.place(**TINY, replicas=2)
    return made


def test_the_openai_client_talks_to_the_gateway(fleet: Fleet) -> None:
    openai = pytest.importorskip("openai")
    client = openai.OpenAI(base_url=f"{fleet.local.url}/v1", api_key=fleet.local.admin_token(), max_retries=0)

    assert [model.id for model in client.models.list()] == ["tiny-chat"]
    options: dict[str, Any] = {"model": "tiny-chat", "prompt": "It was a dark", "max_tokens": 12, "temperature": 0.8}
    # A small model may end at once; of a few seeds some do not.
    wholes = [client.completions.create(**options, seed=seed) for seed in range(8)]
    longest = max(range(8), key=lambda seed: wholes[seed].usage.completion_tokens)
    streamed = client.completions.create(**options, seed=longest, stream=True)
    pieces = [chunk.choices[0].text for chunk in streamed if chunk.choices]
    assert 4 < wholes[longest].usage.completion_tokens <= 12
    assert "".join(pieces) == wholes[longest].choices[0].text
    assert len(pieces) > 3

    messages = [{"role": "user", "content": "Who are you?"}]
    chat: dict[str, Any] = {"model": "tiny-chat", "messages": messages, "max_tokens": 8, "temperature": 0}
    answer = client.chat.completions.create(**chat)
    said = [chunk.choices[0].delta.content or "" for chunk in client.chat.completions.create(**chat, stream=True)]
    assert "".join(said) == answer.choices[0].message.content

    with pytest.raises(openai.NotFoundError, match="nothing-such"):
        client.completions.create(model="nothing-such", prompt="x")
    with pytest.raises(openai.BadRequestError, match="temperature"):
        client.completions.create(model="tiny-chat", prompt="x", temperature=9)
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=f"{fleet.local.url}/v1", api_key="wrong", max_retries=0).models.list()


def test_both_replicas_answer_alike_whichever_way_the_request_goes(fleet: Fleet) -> None:
    """The phone is reached over MQTT only, the others by HTTP: nobody can tell from the answer."""
    answers = [fleet.complete("tiny-chat") for _ in range(6)]
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["choices"][0]["text"] for answer in answers}) == 1
    assert {answer.headers["fairlead-node"] for answer in answers} <= {"phone", "edge", "gpu"}


def test_explain_says_why_each_bid_won_or_lost(fleet: Fleet) -> None:
    answer = fleet.get("/api/v1/workloads/tiny-chat/explain")
    bids = answer["record"]["bids"]
    assert sum(bid["outcome"] == "won" for bid in bids) == 2
    assert all(bid["reason"] for bid in bids)
    gpu = next(bid for bid in bids if bid["node"] == "gpu" and bid["variant"] == "bf16-gpu")
    assert gpu["outcome"] == "refused"
    assert "simulated" in gpu["reason"]
    assert any("gpu/bf16-gpu" in line for line in answer["lines"])


def test_the_graph_marks_what_is_simulated(fleet: Fleet) -> None:
    def whole() -> dict[str, Any] | None:
        """The graph, once all that is placed is in it."""
        graph = fleet.get("/api/v1/graph")
        found = {vertex["data"]["id"]: vertex["data"] for vertex in graph["nodes"]}
        kinds = [vertex["kind"] for vertex in found.values()]
        return found if kinds.count("instance") >= 2 and "phone/battery" in found else None

    vertices = fleet.until(whole, "the graph")
    assert vertices["gpu/gpu0"]["simulated"]
    assert vertices["phone/battery"]["simulated"]
    assert not vertices["edge/dram"]["simulated"]
    assert {"phone", "edge", "gpu"} <= vertices.keys()
    instances = [vertex for vertex in vertices.values() if vertex["kind"] == "instance"]
    assert len(instances) == 2


def test_memory_budgets_are_in_force_and_reported(fleet: Fleet) -> None:
    def measured() -> list[dict[str, Any]]:
        reports = list(fleet.holders("tiny-chat").values())
        return reports if all(report["memory_bytes"] for report in reports) else []

    for report in fleet.until(measured, "memory measured"):
        assert report["limiter"] in ("cgroup-v1", "cgroup-v2", "watchdog")
        assert 0 < report["memory_bytes"] < report["limit_bytes"] <= 192 << 20


def test_a_deleted_workload_is_gone(fleet: Fleet) -> None:
    fleet.place(**{**TINY, "name": "short-lived"}, replicas=1)
    assert fleet.complete("short-lived").status_code == 200
    assert fleet.http.delete("/api/v1/workloads/short-lived").status_code == 200
    fleet.until(lambda: not fleet.holders("short-lived"), "instances gone")
    assert fleet.complete("short-lived").status_code == 404
    fleet.until(lambda: fleet.released("short-lived"), "leases released")
    assert fleet.complete("tiny-chat").status_code == 200


def test_a_pretended_gpu_never_wins_what_needs_a_real_one(fleet: Fleet) -> None:
    fleet.apply(**{**TINY, "name": "real-gpu"}, replicas=1, constraints={"variants": ["bf16-gpu"]})

    def bids() -> list[dict[str, Any]]:
        record = fleet.get("/api/v1/workloads/real-gpu/explain")["record"]
        bids = record["bids"] if record else []
        return [bid for bid in bids if bid["node"] == "gpu" and bid["outcome"] != "no-answer"]

    refused = fleet.until(bids, "the GPU server's bid")
    assert {bid["outcome"] for bid in refused} <= {"refused", "declined", "lost"}
    assert any("simulated" in bid["reason"] for bid in refused if bid["variant"] == "bf16-gpu")
    answer = fleet.get("/api/v1/workloads/real-gpu")
    assert answer["ready"] == 0
    assert answer["slots"][0]["state"] in ("unplaceable", "pending", "negotiating")
    fleet.delete("real-gpu")
