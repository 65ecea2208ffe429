"""The HTTP API: ask, stream, cancel, read, control; one clear error for what is wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from starlette.testclient import TestClient

from fairlead_isac.service.application import Application
from fairlead_isac.service.metrics import CellCollector
from tests.plugins.isac.service.cells import Bench

ASKED = {"class": 2, "area": {"range_m": 150.0, "angle_degrees": 4}}


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
def client(bench: Bench) -> Iterator[TestClient]:
    registry = CollectorRegistry()
    registry.register(CellCollector(bench.cell, "isac", 0))
    with TestClient(Application(bench.cell, registry).asgi(), raise_server_exceptions=False) as client:
        yield client


def events(text: str) -> list[tuple[str, dict[str, Any]]]:
    """Server-sent events as (kind, data); comments are left out."""
    blocks = [block.split("\n") for block in text.split("\n\n") if block.startswith("event:")]
    return [(lines[0].removeprefix("event: "), json.loads(lines[1].removeprefix("data: "))) for lines in blocks]


def test_a_request_is_served_streamed_and_cancelled(bench: Bench, client: TestClient) -> None:
    asked = client.post("/sensing/requests", json=ASKED)
    assert asked.status_code == 201 and asked.json()["state"] == "admitted"
    name = asked.json()["id"]
    assert all(each["met"] for each in asked.json()["requirements"]) and asked.json()["looks"]["refresh_s"] == 0.2
    bench.sense(3, step_s=0.2)
    assert client.delete(f"/sensing/requests/{name}").json()["state"] == "cancelled"
    told = events(client.get(f"/sensing/requests/{name}/estimates").text)
    assert [kind for kind, _ in told] == ["estimate"] * 3 + ["end"]
    assert told[0][1]["detections"][0]["range_m"] == pytest.approx(150, abs=1)
    assert told[-1][1] == {"state": "cancelled", "reason": "by who asked"}
    assert client.get("/sensing/requests").json()["requests"][0]["estimates"] == 3


def test_a_request_that_cannot_be_met_is_refused_with_each_reason(client: TestClient) -> None:
    refused = client.post("/sensing/requests", json={"class": 7, "area": {"range_m": 450.0}})
    assert refused.status_code == 409 and refused.json()["state"] == "refused"
    missed = {each["requirement"] for each in refused.json()["requirements"] if not each["met"]}
    assert {"range_resolution_m", "horizontal_m"} <= missed and len(refused.json()["reasons"]) == len(missed)
    answer = client.get(f"/sensing/requests/{refused.json()['id']}/estimates")
    assert answer.status_code == 400 and "was refused: range resolution" in answer.json()["error"]["message"]


def test_status_decisions_records_and_metrics_can_be_read(bench: Bench, client: TestClient) -> None:
    assert client.get("/decisions").json() == {"decisions": []}
    client.post("/sensing/requests", json=ASKED)
    bench.slots(25)
    status = client.get("/status").json()
    assert status["radio"]["state"] == "there" and status["requests"] == ["r1"]
    assert client.get("/health").status_code == 200
    lines = client.get("/decisions", params={"last": 1, "layer": "slot"}).json()["decisions"]
    assert len(lines) == 1 and lines[0]["decided"]["rate_bits_per_s"]["clients"] > 0
    assert client.get("/kpi").json()["indicationMessage"]["cellObjID"] == "cell"
    text = client.get("/metrics").text
    assert 'fairlead_isac_decisions_total{replica="0",workload="isac"} 25.0' in text
    assert 'fairlead_isac_rate_bits_per_s{replica="0",user="clients",workload="isac"}' in text
    for name in ("rate_p50_bits_per_s", "proportional_fairness_bits_per_s", "sinr_violations", "sensing_violations"):
        assert f'fairlead_isac_{name}{{replica="0",workload="isac"}}' in text


def test_a_control_is_acknowledged_with_what_is_in_force(client: TestClient) -> None:
    answer = client.post("/control", json={"sensing_share_maximum": 0.25, "weights": {"phone": 3}})
    assert answer.status_code == 200 and answer.json()["outcome"] == "acknowledged"
    assert client.get("/control").json() == answer.json()["control"]
    assert answer.json()["control"]["weights"] == {"clients": 1.0, "phone": 3.0}


def test_a_lost_radio_answers_503(bench: Bench, client: TestClient) -> None:
    bench.cell.loop.lose("unplugged")
    health = client.get("/health")
    assert (health.status_code, health.json()) == (503, {"status": "degraded", "reason": "unplugged"})
    refused = client.post("/sensing/requests", json=ASKED)
    assert refused.status_code == 503 and refused.headers["retry-after"] == "1"
    assert refused.json()["error"]["type"] == "radio_unavailable"


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "said"),
    [
        ("POST", "/sensing/requests", b"{", 400, "body: no JSON"),
        ("POST", "/sensing/requests", b"[" * 60000, 400, "body: no JSON"),
        ("POST", "/sensing/requests", b" " * 70000, 400, "accepted: at most 65536"),
        ("POST", "/sensing/requests", b'{"class": 1, "area": {"range_m": 1e999}}', 400, "area.range_m"),
        ("POST", "/sensing/requests", b'{"class": 1, "target": "car"}', 400, "accepted: drone"),
        ("POST", "/control", b"{}", 400, "at least one of"),
        ("POST", "/control", b'{"weights": {"car": 1}}', 400, "weights.car: no such user"),
        ("GET", "/sensing/requests/r5", b"", 404, "'r5' is not there"),
        ("GET", "/sensing/requests/r5/estimates", b"", 404, "'r5' is not there"),
        ("DELETE", "/sensing/requests/r5", b"", 404, "'r5' is not there"),
        ("GET", "/decisions?last=many", b"", 400, "last = 'many'; accepted: a whole number"),
        ("GET", "/decisions?layer=x", b"", 400, "layer = 'x'"),
        ("GET", "/nowhere", b"", 404, "Not Found"),
        ("DELETE", "/control", b"", 405, "Method Not Allowed"),
    ],
)
def test_what_is_wrong_is_said_in_one_shape(
    client: TestClient, method: str, path: str, body: bytes, status: int, said: str
) -> None:
    answer = client.request(method, path, content=body)
    assert answer.status_code == status
    assert list(answer.json()) == ["error"] and said in answer.json()["error"]["message"]
