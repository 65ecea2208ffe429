"""Real brokers for the tests: each runs with mosquitto and with the embedded one, whichever are installed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fairlead_agent.bus.broker import process
from tests.agent.bus.support import AnyBroker, Clients, make_broker
from tests.patience import patient


@pytest.fixture(autouse=True)
def patient_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker may take its time to start, too."""
    monkeypatch.setattr(process, "READY_S", patient(process.READY_S))


@pytest.fixture(params=["mosquitto", "embedded"])
async def broker(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[AnyBroker]:
    made = make_broker(request.param, tmp_path / "broker")
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def clients(broker: AnyBroker) -> AsyncIterator[Clients]:
    made = Clients(broker)
    yield made
    await asyncio.gather(*(transport.close() for transport in made.made))
