"""The worker as its host uses it: prepare, serve, measure, drain."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from starlette.testclient import TestClient

from fairlead_agent.plugin import Budget
from fairlead_isac.errors import RadioUnavailable
from fairlead_isac.service.cell_state import cell_of
from fairlead_isac.service.radio_front import SimulatedFront
from fairlead_isac.worker import Worker
from tests.patience import patient
from tests.plugins.isac.service.cells import Clock, Recorder

CONFIG: dict[str, Any] = {
    "cell": {"carrier_hz": 3.5e9, "resource_blocks": 51, "antennas": 4, "power_watts": 1.0},
    "users": [{"name": "clients", "peer": "gateway", "distance_m": 50}],
    "targets": [{"name": "car", "angle_degrees": 3, "range_m": 90, "velocity_m_per_s": 5, "rcs_m2": 10}],
    "slot_s": 0.1,
}


class Log:
    def __init__(self) -> None:
        self.said: list[str] = []

    def info(self, event: str, **values: Any) -> None:
        self.said.append(f"{event}: {values}")

    warning = info


class HostContext(Recorder):
    """What the host gives a worker."""

    workload, replica, budget = "isac", 0, Budget()

    def __init__(self, variant: str = "simulated-radio", **config: Any) -> None:
        super().__init__()
        self.variant, self.config = variant, {**CONFIG, **config}
        self.log, self.metrics = Log(), CollectorRegistry()
        self.steps: list[tuple[float, str]] = []

    def progress(self, share: float, what: str) -> None:
        self.steps.append((share, what))


def until(condition: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + patient(60)
    while not (found := condition()):
        assert time.monotonic() < deadline, what
        time.sleep(0.02)
    return found


def test_an_instance_serves_from_start_to_end() -> None:
    worker, context = Worker(), HostContext()
    worker.prepare(context)
    assert context.steps[-1] == (1.0, "ready") and "elements_per_s" in context.log.said[0]
    with TestClient(worker.application(context)) as client:
        until(lambda: client.get("/status").json()["radio"]["state"] == "there", "the radio")
        until(lambda: client.get("/status").json()["stage"], "a decision")
        needs = {"refresh_s": 0.2, "horizontal_m": 20}
        asked = client.post("/sensing/requests", json={"needs": needs, "target": "car"})
        assert asked.status_code == 201, asked.json()
        path = f"/sensing/requests/{asked.json()['id']}"
        until(lambda: client.get(path).json()["estimates"] >= 2, "estimates")
        until(lambda: context.facts.get(("edge>link>control-plane", "bandwidth_bits_per_s")), "the link's fact")
        assert {line["layer"] for line in client.get("/decisions").json()["decisions"]} >= {"band", "cell", "slot"}
        assert set(worker.measurements()) == {"latency_p90_s", "throughput_per_s"}
        worker.drain()
        assert client.get(path).json()["state"] == "cancelled"
    assert worker.reconfigure(Budget(), 1.0).accepted
    assert not worker.reconfigure(Budget(memory_bytes={"dram": 1 << 20}), 1.0).accepted


def test_a_radio_that_is_not_there_ends_the_preparation_clearly() -> None:
    with pytest.raises(RadioUnavailable, match="SoapySDR"):
        Worker().prepare(HostContext("soapy-radio", radio={"device": "driver=none-such", "channels": 1}))
    with pytest.raises(RuntimeError, match="variant other: accepted: simulated-radio, soapy-radio"):
        Worker().prepare(HostContext("other"))


def test_an_absent_radio_comes_into_service_later(monkeypatch: pytest.MonkeyPatch) -> None:
    worker, clock = Worker(), Clock()
    monkeypatch.setattr(
        "fairlead_isac.worker.front_of", lambda variant, settings: SimulatedFront(settings, cell_of(settings), clock)
    )
    context = HostContext(radio={"absences": [{"begin_s": 0, "end_s": 1.5}]}, samples_per_s=1e6)
    with TestClient(worker.application(context)) as client:
        until(lambda: client.get("/health").status_code == 503, "the loss told")
        refused = client.post("/sensing/requests", json={"class": 1, "target": "car"})
        assert refused.status_code in (503, 201, 409)
        clock.now += 2.0
        until(lambda: client.get("/health").status_code == 200, "the radio back")
        assert any("the radio is back" in line for line in context.log.said)
        worker.drain()
