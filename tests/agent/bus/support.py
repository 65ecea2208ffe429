"""What the tests of the bus share: brokers, clients, and a patient wait."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from importlib.util import find_spec
from itertools import count
from pathlib import Path

import pytest

from fairlead_agent.bus.backoff import Backoff
from fairlead_agent.bus.broker.embedded import EmbeddedBroker
from fairlead_agent.bus.broker.mosquitto import MosquittoBroker, find_mosquitto
from fairlead_agent.bus.mqtt import MqttTransport
from fairlead_agent.bus.outbox import Outbox
from fairlead_agent.bus.transport import Received
from tests.patience import patient

AnyBroker = MosquittoBroker | EmbeddedBroker
SITE = "test"


def make_broker(kind: str, directory: Path) -> AnyBroker:
    if kind == "mosquitto":
        if find_mosquitto() is None:
            pytest.skip("mosquitto is not installed")
        return MosquittoBroker(directory, site=SITE)
    if find_spec("amqtt") is None:
        pytest.skip("amqtt is not installed")
    return EmbeddedBroker(directory, site=SITE)


class Clients:
    """Makes transports for a broker and closes them all at the end."""

    def __init__(self, broker: AnyBroker) -> None:
        self.broker = broker
        self.made: list[MqttTransport] = []

    def make(
        self, name: str, *, control: bool = False, keepalive_s: int = 15, outbox: Outbox | None = None
    ) -> MqttTransport:
        transport = MqttTransport(
            self.broker.address(name, control=control),
            name,
            keepalive_s=keepalive_s,
            backoff=Backoff(0.05, 0.3),
            draw=random.Random(len(self.made)),
            outbox=outbox,
        )
        self.made.append(transport)
        return transport

    async def start(self, *names: str, control: bool = False) -> list[MqttTransport]:
        transports = [self.make(name, control=control) for name in names]
        for transport in transports:
            await transport.start()
        for transport in transports:
            await eventually(lambda transport=transport: transport.connected)
        return transports


class Collector:
    """A handler that keeps what it gets."""

    def __init__(self) -> None:
        self.received: list[Received] = []

    async def __call__(self, received: Received) -> None:
        self.received.append(received)

    @property
    def payloads(self) -> list[bytes]:
        return [received.payload for received in self.received]


async def eventually(predicate: Callable[[], object], timeout_s: float = patient(60.0)) -> None:
    """Wait until ``predicate`` holds; the limit only ends a hopeless wait."""
    async with asyncio.timeout(timeout_s):
        while not predicate():
            await asyncio.sleep(0.01)


def ids(prefix: str) -> Callable[[], str]:
    numbers = count()
    return lambda: f"{prefix}-{next(numbers)}"
