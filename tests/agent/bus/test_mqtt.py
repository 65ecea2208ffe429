"""The MQTT transport against real brokers: what users rely on, and what happens when things break."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import socket
from pathlib import Path

import pytest

from fairlead_agent.bus.address import BrokerAddress
from fairlead_agent.bus.broker.embedded import EmbeddedBroker
from fairlead_agent.bus.broker.mosquitto import MosquittoBroker
from fairlead_agent.bus.mqtt import MqttTransport
from fairlead_agent.bus.outbox import Outbox
from fairlead_agent.bus.topics import Topics
from fairlead_agent.bus.transport import OutboxFull, PayloadTooLarge, TransportClosed
from fairlead_agent.messages import MAX_MESSAGE_BYTES
from tests.agent.bus.support import SITE, Clients, Collector, eventually
from tests.patience import patient

TOPICS = Topics(SITE)


async def test_messages_arrive_in_order(clients: Clients) -> None:
    sender, reader = await clients.start("alpha", "beta")
    seen = Collector()
    reader.subscribe(TOPICS.all_nodes("delta"), seen)
    await reader.publish(TOPICS.delta("beta"), b"mark")
    await eventually(lambda: seen.payloads == [b"mark"])
    for number in range(200):
        await sender.publish(TOPICS.delta("alpha"), str(number).encode())
    assert await sender.flush(patient(60))
    await eventually(lambda: len(seen.received) >= 201)
    assert seen.payloads[1:] == [str(number).encode() for number in range(200)]
    assert not any(received.retain for received in seen.received)


async def test_protocol_is_the_best_that_the_broker_speaks(clients: Clients) -> None:
    [client] = await clients.start("alpha")
    assert client.protocol == ("3.1.1" if isinstance(clients.broker, EmbeddedBroker) else "5")


async def test_retained_state_reaches_late_readers_until_it_is_cleared(clients: Clients) -> None:
    [sender] = await clients.start("alpha")
    for state in (b"old", b"new"):
        await sender.publish(TOPICS.status("alpha"), state, retain=True)
    assert await sender.flush(patient(60))
    [late] = await clients.start("beta")
    seen = Collector()
    late.subscribe(TOPICS.all_nodes("status"), seen)
    await eventually(lambda: seen.received)
    assert [(received.payload, received.retain) for received in seen.received] == [(b"new", True)]
    await sender.publish(TOPICS.status("alpha"), b"", retain=True)
    await eventually(lambda: len(seen.received) == 2)
    [later] = await clients.start("gamma")
    nothing, mark = Collector(), Collector()
    later.subscribe(TOPICS.all_nodes("status"), nothing)
    later.subscribe(TOPICS.inbox("gamma"), mark)
    assert await later.flush(patient(60))
    await sender.publish(TOPICS.inbox("gamma"), b"mark")
    await eventually(lambda: mark.received)
    assert nothing.received == []


async def test_a_second_handler_gets_the_retained_state_too(clients: Clients) -> None:
    [client] = await clients.start("alpha")
    first, second = Collector(), Collector()
    client.subscribe(TOPICS.all_nodes("status"), first)
    await client.publish(TOPICS.status("alpha"), b"state", retain=True)
    await eventually(lambda: first.received)
    client.subscribe(TOPICS.all_nodes("status"), second)
    await eventually(lambda: second.received)
    assert second.payloads[0] == b"state"


async def test_unsubscribed_handlers_are_not_called(clients: Clients) -> None:
    [client] = await clients.start("alpha")
    gone, kept = Collector(), Collector()
    unsubscribe = client.subscribe(TOPICS.delta("alpha"), gone)
    client.subscribe(TOPICS.graph("alpha"), kept)
    unsubscribe()
    await client.publish(TOPICS.delta("alpha"), b"x")
    await client.publish(TOPICS.graph("alpha"), b"y")
    await eventually(lambda: kept.received)
    assert gone.received == []


async def test_a_handler_that_raises_costs_only_itself(clients: Clients) -> None:
    [client] = await clients.start("alpha")
    seen = Collector()

    async def broken(received: object) -> None:
        raise RuntimeError("on purpose")

    client.subscribe(TOPICS.delta("alpha"), broken)
    client.subscribe(TOPICS.delta("alpha"), seen)
    for number in range(3):
        await client.publish(TOPICS.delta("alpha"), str(number).encode())
    await eventually(lambda: len(seen.received) == 3)


async def test_will_is_spoken_when_a_client_dies_and_not_when_it_leaves(clients: Clients) -> None:
    [reader] = await clients.start("reader")
    seen = Collector()
    reader.subscribe(TOPICS.all_nodes("status"), seen)
    assert await reader.flush(patient(60))
    polite, doomed = clients.make("polite"), clients.make("doomed")
    for name, client in (("polite", polite), ("doomed", doomed)):
        client.set_will(TOPICS.status(name), f"{name} is gone".encode())
        await client.start()
        await eventually(lambda client=client: client.connected)
    await polite.close()
    await eventually(lambda: b"polite is gone" in seen.payloads)
    await _break(doomed)
    await eventually(lambda: b"doomed is gone" in seen.payloads)
    assert seen.payloads.count(b"polite is gone") == 1


async def test_client_that_freezes_is_declared_dead(clients: Clients) -> None:
    """Its socket stays open, but nothing comes from it: the broker waits 1.5 to 2.5 keepalives."""
    [reader] = await clients.start("reader")
    seen = Collector()
    reader.subscribe(TOPICS.all_nodes("status"), seen)
    assert await reader.flush(patient(60))
    frozen = clients.make("frozen", keepalive_s=2)
    frozen.set_will(TOPICS.status("frozen"), b"gone")
    await frozen.start()
    await eventually(lambda: frozen.connected)
    misc = frozen._session._misc_task
    assert misc is not None
    misc.cancel()
    await eventually(lambda: b"gone" in seen.payloads)


async def test_broker_killed_and_restarted_loses_nothing_acknowledged(clients: Clients) -> None:
    sender, reader = await clients.start("alpha", "beta")
    seen = Collector()
    reader.subscribe(TOPICS.inbox("beta"), seen)
    assert await reader.flush(patient(60))
    births = 0

    async def announce() -> None:
        nonlocal births
        births += 1

    sender.on_connected(announce)
    await sender.publish(TOPICS.status("alpha"), b"state", retain=True)
    await sender.publish(TOPICS.inbox("beta"), b"before")
    assert await sender.flush(patient(60))
    await eventually(lambda: seen.received)
    # mosquitto writes its database in the round of its loop that follows the acknowledgement.
    database = clients.broker._directory / "mosquitto.db"
    if isinstance(clients.broker, MosquittoBroker):
        await eventually(lambda: database.exists() and b"state" in database.read_bytes())
    await asyncio.sleep(0.3)
    await clients.broker.process.kill()
    await eventually(lambda: not sender.connected and not reader.connected)
    for number in range(100):
        await sender.publish(TOPICS.inbox("beta"), str(number).encode())
    assert not await sender.flush(0.05)
    await clients.broker.start()
    assert await sender.flush(patient(60))
    await eventually(lambda: len(set(seen.payloads)) == 101)
    assert list(dict.fromkeys(seen.payloads)) == [b"before", *(str(number).encode() for number in range(100))]
    assert births >= 1
    [late] = await clients.start("gamma")
    state = Collector()
    late.subscribe(TOPICS.all_nodes("status"), state)
    await eventually(lambda: b"state" in state.payloads)


async def test_messages_wait_for_a_client_that_lost_its_connection(clients: Clients) -> None:
    sender, reader = await clients.start("alpha", "beta")
    seen = Collector()
    reader.subscribe(TOPICS.inbox("beta"), seen)
    assert await reader.flush(patient(60))
    await sender.publish(TOPICS.inbox("beta"), b"first")
    await eventually(lambda: seen.received)
    await _break(reader)
    for number in range(50):
        await sender.publish(TOPICS.inbox("beta"), str(number).encode())
    await eventually(lambda: len(set(seen.payloads)) == 51)


async def test_restarted_client_does_not_read_its_predecessors_mail(clients: Clients) -> None:
    [sender, old] = await clients.start("alpha", "beta")
    seen = Collector()
    old.subscribe(TOPICS.inbox("beta"), seen)
    assert await old.flush(patient(60))
    await sender.publish(TOPICS.inbox("beta"), b"mark")
    await eventually(lambda: seen.received)
    await old.close()
    await sender.publish(TOPICS.inbox("beta"), b"for the old one")
    assert await sender.flush(patient(60))
    new, fresh = clients.make("beta"), Collector()
    new.subscribe(TOPICS.inbox("beta"), fresh)
    await new.start()
    assert await new.flush(patient(60))
    await sender.publish(TOPICS.inbox("beta"), b"for the new one")
    await eventually(lambda: fresh.received)
    assert fresh.payloads == [b"for the new one"]


async def test_second_client_with_the_same_id_takes_over(clients: Clients) -> None:
    [sender] = await clients.start("alpha")
    first = MqttTransport(clients.broker.address("twin"), "twin", sleep=_never)
    await first.start()
    await eventually(lambda: first.connected)
    [second] = await clients.start("twin")
    await eventually(lambda: not first.connected)
    seen = Collector()
    second.subscribe(TOPICS.inbox("twin"), seen)
    assert await second.flush(patient(60))
    for number in range(50):
        await sender.publish(TOPICS.inbox("twin"), str(number).encode())
    await eventually(lambda: len(seen.received) == 50)
    assert second.connected and second.connects == 1
    await first.close()


async def test_outbox_is_bounded_and_says_so(clients: Clients) -> None:
    client = clients.make("alpha", outbox=Outbox(max_messages=3))
    for number in range(3):
        await client.publish(TOPICS.delta("alpha"), str(number).encode())
    with pytest.raises(OutboxFull, match="at most 3"):
        await client.publish(TOPICS.delta("alpha"), b"x")
    seen = Collector()
    client.subscribe(TOPICS.delta("alpha"), seen)
    await client.start()
    assert await client.flush(patient(60))
    await client.publish(TOPICS.delta("alpha"), b"again")
    await eventually(lambda: b"again" in seen.payloads)


async def test_largest_message_passes_and_a_larger_one_is_refused(clients: Clients) -> None:
    [client] = await clients.start("alpha")
    seen = Collector()
    client.subscribe(TOPICS.delta("alpha"), seen)
    await client.publish(TOPICS.delta("alpha"), b"z" * MAX_MESSAGE_BYTES)
    await eventually(lambda: seen.received)
    assert len(seen.payloads[0]) == MAX_MESSAGE_BYTES
    with pytest.raises(PayloadTooLarge, match=str(MAX_MESSAGE_BYTES)):
        await client.publish(TOPICS.delta("alpha"), b"z" * (MAX_MESSAGE_BYTES + 1))


async def test_wrong_password_never_connects_and_is_never_shown(
    clients: Clients, capsys: pytest.CaptureFixture[str]
) -> None:
    good = clients.broker.address("alpha")
    transport = MqttTransport(BrokerAddress(good.host, good.port, "alpha", "not-the-password"), "alpha", timeout_s=2)
    await transport.start()
    await asyncio.sleep(patient(0.5))
    assert not transport.connected
    await transport.close()
    out, err = capsys.readouterr()
    assert "not-the-password" not in out + err + repr(transport) + repr(good) + str(good)
    assert good.password not in repr(good)


async def test_closed_transport_says_so(clients: Clients) -> None:
    [client] = await clients.start("alpha")
    await client.close()
    await client.close()
    with pytest.raises(TransportClosed):
        await client.publish(TOPICS.delta("alpha"), b"x")


async def test_no_secret_is_readable_by_others_or_on_a_command_line(clients: Clients) -> None:
    secret = clients.broker.address("alpha").password.encode()
    holders = _files_with(secret, clients.broker._directory)
    assert holders
    assert all(path.stat().st_mode & 0o077 == 0 for path in holders)
    assert _files_with(secret, Path(f"/proc/{clients.broker.process.pid}")) == []


async def test_broker_that_hangs_is_left_and_found_again(clients: Clients) -> None:
    client = clients.make("alpha", keepalive_s=1)
    await client.start()
    await eventually(lambda: client.connected)
    pid = clients.broker.process.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        await client.publish(TOPICS.delta("alpha"), b"x")
        await eventually(lambda: not client.connected)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert await client.flush(patient(60))


async def _never(seconds: float) -> None:
    await asyncio.Event().wait()


async def _break(client: MqttTransport) -> None:
    """Cut the connection as a network does."""
    sock = client._session._client.socket()
    sock.shutdown(socket.SHUT_RDWR)


def _files_with(secret: bytes, directory: Path) -> list[Path]:
    """The broker's files (or, below /proc, its command line) that hold ``secret``."""
    if directory.parts[1] == "proc":
        paths = [directory / "cmdline"]
    else:
        paths = [path for path in directory.iterdir() if path.is_file()]
    return [path for path in paths if secret in path.read_bytes()]


async def test_connections_that_break_at_random_lose_nothing_and_keep_the_order(clients: Clients) -> None:
    sender, reader = await clients.start("alpha", "beta")
    seen = Collector()
    reader.subscribe(TOPICS.inbox("beta"), seen)
    assert await reader.flush(patient(60))
    draw = random.Random(11)
    for number in range(300):
        await sender.publish(TOPICS.inbox("beta"), str(number).encode())
        await asyncio.sleep(0.001)
        if draw.random() < 0.03:
            with contextlib.suppress(OSError, AttributeError):
                await _break(draw.choice([sender, reader]))
    assert await sender.flush(patient(60))
    await eventually(lambda: len(set(seen.payloads)) == 300)
    assert list(dict.fromkeys(seen.payloads)) == [str(number).encode() for number in range(300)]
    assert sender.connects > 1 and reader.connects > 1
