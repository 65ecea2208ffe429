"""The transport in memory keeps the contract of the MQTT one, in virtual time."""

from __future__ import annotations

import asyncio
import random

import pytest

from fairlead_agent.bus.memory import Faults, MemoryBroker, VirtualClock, drive
from fairlead_agent.bus.outbox import Outbox
from fairlead_agent.bus.transport import OutboxFull, PayloadTooLarge, TransportClosed
from fairlead_agent.messages import MAX_MESSAGE_BYTES
from tests.agent.bus.support import Collector, eventually
from tests.patience import patient


async def test_real_time_delivery_with_retained_state_and_farewell() -> None:
    broker = MemoryBroker()
    a, b = broker.transport("a"), broker.transport("b")
    seen = Collector()
    b.subscribe("x/+", seen)
    a.set_will("x/will", b"bye")
    births = 0

    async def announce() -> None:
        nonlocal births
        births += 1
        await a.publish("x/birth", b"hi", retain=True)

    a.on_connected(announce)
    await b.start()
    await a.start()
    await eventually(lambda: seen.payloads == [b"hi"])
    assert births == 1 and a.connected
    late = Collector()
    b.subscribe("x/birth", late)
    await eventually(lambda: late.received)
    assert late.received[0].retain
    await a.close()
    await eventually(lambda: b"bye" in seen.payloads)
    with pytest.raises(TransportClosed):
        await a.publish("x/1", b"")
    await b.close()


async def test_outbox_survives_a_cut_and_the_client_announces_itself_again() -> None:
    broker = MemoryBroker()
    a, b = broker.transport("a", outbox=Outbox(max_messages=2)), broker.transport("b")
    seen = Collector()
    b.subscribe("x/+", seen)
    announced: list[bool] = []

    async def announce() -> None:
        announced.append(True)

    a.on_connected(announce)
    await a.start()
    await b.start()
    broker.network.cut("a")
    assert not a.connected
    for number in (b"1", b"2"):
        await a.publish("x/n", number)
    with pytest.raises(OutboxFull):
        await a.publish("x/n", b"3")
    assert not await a.flush(0.01)
    broker.network.restore("a")
    assert await a.flush(patient(60))
    await eventually(lambda: seen.payloads == [b"1", b"2"] and len(announced) == 2)
    await asyncio.gather(a.close(), b.close())


async def test_oversized_payloads_are_refused() -> None:
    client = MemoryBroker().transport("a")
    with pytest.raises(PayloadTooLarge):
        await client.publish("x", bytes(MAX_MESSAGE_BYTES + 1))


async def simulate(seed: int) -> list[tuple[float, bytes]]:
    clock = VirtualClock()
    broker = MemoryBroker(clock, random.Random(seed), Faults(0.01, 0.2, loss=0.1, duplicate=0.1, reorder=0.1))
    a, b = broker.transport("a"), broker.transport("b")
    trace: list[tuple[float, bytes]] = []

    async def echo(received: object) -> None:
        payload = received.payload
        trace.append((clock(), payload))
        if len(payload) < 6:
            await b.publish("to/a", payload + b"!")

    async def back(received: object) -> None:
        trace.append((clock(), received.payload))
        await a.publish("to/b", received.payload + b"?")

    b.subscribe("to/b", echo)
    a.subscribe("to/a", back)
    await a.start()
    await b.start()
    for number in range(20):
        await a.publish("to/b", str(number).encode())
    await drive(clock, 30.0)
    assert clock() == 30.0
    await asyncio.gather(a.close(), b.close())
    return trace


async def test_same_seed_same_trace_with_asyncio_handlers() -> None:
    first = await simulate(3)
    assert len(first) > 40
    assert first == await simulate(3)
    assert first != await simulate(4)
