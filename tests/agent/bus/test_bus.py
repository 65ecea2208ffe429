"""The typed bus: envelopes, de-duplication, expiry, requests; over memory, and the essentials over real brokers."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairlead_agent.bus.bus import Bus, RequestTimeout
from fairlead_agent.bus.memory import Faults, MemoryBroker
from fairlead_agent.bus.topics import AUTHORITY
from fairlead_agent.bus.transport import Received
from fairlead_agent.messages import (
    MAX_MESSAGE_BYTES,
    Cancel,
    Envelope,
    LeaseKey,
    LeaseQuery,
    LeaseStates,
    MessageError,
    NodeStatus,
    RebirthRequest,
    Release,
    decode,
    encode,
)
from tests.agent.bus.support import SITE, Clients, eventually, ids
from tests.patience import patient

CANCEL = Cancel(negotiation="n", reason="test")


class Net:
    """Buses on a network in memory, with a clock that the test moves."""

    def __init__(self, faults: Faults | None = None) -> None:
        self.broker = MemoryBroker(draw=random.Random(1), faults=faults)
        self.now_s = 1000.0
        self.buses: list[Bus] = []

    async def bus(self, node: str, *, inboxes: tuple[str, ...] = ()) -> Bus:
        transport = self.broker.transport(node)
        bus = Bus(transport, SITE, node, 1, lambda: self.now_s, ids(node), inboxes=inboxes)
        self.buses.append(bus)
        await transport.start()
        return bus


@pytest.fixture
async def net() -> AsyncIterator[Net]:
    made = Net()
    yield made
    for bus in made.buses:
        bus.close()
        await bus.transport.close()


def collect(bus: Bus, body_type: type = Cancel) -> list[Envelope]:
    got: list[Envelope] = []

    async def keep(envelope: Envelope) -> None:
        got.append(envelope)

    bus.on(body_type, keep)
    return got


async def test_inbox_gets_the_envelope_with_source_time_and_epoch(net: Net) -> None:
    a, b = await net.bus("a"), await net.bus("b")
    got = collect(b)
    await a.send("b", CANCEL, epoch=7, expires_in_s=5)
    await eventually(lambda: got)
    [envelope] = got
    assert (envelope.source, envelope.time, envelope.expires, envelope.epoch) == ("a", 1000.0, 1005.0, 7)
    assert envelope.data == CANCEL


async def test_handlers_get_only_their_types_and_stop_when_told(net: Net) -> None:
    a, b = await net.bus("a"), await net.bus("b")
    cancels, rebirths = collect(b), collect(b, RebirthRequest)
    stopped: list[Envelope] = []

    async def keep(envelope: Envelope) -> None:
        stopped.append(envelope)

    b.on(Cancel, keep)()
    await a.send("b", CANCEL)
    await a.send("b", RebirthRequest(node="b"))
    await eventually(lambda: cancels and rebirths)
    assert len(cancels) == len(rebirths) == 1
    assert stopped == []


async def test_what_a_handler_returns_goes_to_the_source(net: Net) -> None:
    a, b = await net.bus("a"), await net.bus("b")
    got = collect(a)

    async def answer(envelope: Envelope) -> Cancel:
        return CANCEL

    b.on(RebirthRequest, answer)
    await a.send("b", RebirthRequest(node="b"))
    await eventually(lambda: got)
    assert got[0].source == "b"


async def test_slow_handler_does_not_hold_up_the_others(net: Net) -> None:
    a, b = await net.bus("a"), await net.bus("b")
    gate = asyncio.Event()

    async def slow(envelope: Envelope) -> None:
        await gate.wait()

    b.on(RebirthRequest, slow)
    got = collect(b)
    await a.send("b", RebirthRequest(node="b"))
    await a.send("b", CANCEL)
    await eventually(lambda: got)
    gate.set()


async def test_failing_handler_is_contained(net: Net) -> None:
    a, b = await net.bus("a"), await net.bus("b")
    calls = 0

    async def fail(envelope: Envelope) -> None:
        nonlocal calls
        calls += 1
        raise RuntimeError("on purpose")

    b.on(Cancel, fail)
    got = collect(b)
    await a.send("b", CANCEL)
    await a.send("b", CANCEL)
    await eventually(lambda: calls == 2 and len(got) == 2)


async def test_duplicates_of_the_network_are_handled_once(net: Net) -> None:
    net.broker.network.faults = Faults(duplicate=1.0)
    a, b = await net.bus("a"), await net.bus("b")
    got = collect(b)
    for _ in range(5):
        await a.send("b", CANCEL)
    await eventually(lambda: len(got) == 5 and b.duplicates == 5)
    assert len({envelope.id for envelope in got}) == 5


async def test_expired_messages_are_dropped(net: Net) -> None:
    a, b = await net.bus("a"), await net.bus("b")
    got = collect(b)
    stale = encode(CANCEL, id="old", source="a", time=900.0, expires=999.0)
    await a.transport.publish(a.topics.inbox("b"), stale)
    await a.send("b", CANCEL, expires_in_s=1)
    await eventually(lambda: got)
    assert len(got) == 1 and b.expired == 1


async def test_watch_gets_state_with_its_topic_also_when_it_comes_later(net: Net) -> None:
    a, b = await net.bus("a"), await net.bus("b")
    status = NodeStatus(node="a", incarnation=3, online=True)
    await a.publish(a.topics.status("a"), status, retain=True)
    for _ in range(2):
        got: list[tuple[Envelope, Received]] = []

        async def keep(envelope: Envelope, received: Received, got: list = got) -> None:
            got.append((envelope, received))

        b.watch(b.topics.all_nodes("status"), NodeStatus, keep)
        await eventually(lambda got=got: got)
        assert got[0][0].data == status
        assert got[0][1] == Received(a.topics.status("a"), got[0][1].payload, True)
    await a.clear(a.topics.status("a"))
    await eventually(lambda: net.broker.network.retained == {})
    assert b.malformed == 0


async def test_nobody_speaks_in_another_nodes_name(net: Net) -> None:
    a, b = await net.bus("a"), await net.bus("b")
    got: list[Envelope] = []

    async def keep(envelope: Envelope, received: Received) -> None:
        got.append(envelope)

    b.watch(b.topics.all_nodes("status"), NodeStatus, keep)
    await a.publish(a.topics.status("victim"), NodeStatus(node="victim", incarnation=1, online=False))
    await a.publish(a.topics.status("a"), NodeStatus(node="a", incarnation=1, online=True))
    await eventually(lambda: got)
    assert [envelope.source for envelope in got] == ["a"]
    assert b.malformed == 1


async def test_malformed_messages_are_counted_and_logged_once_a_minute(
    net: Net, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = await net.bus("a"), await net.bus("b")
    capsys.readouterr()
    for minute in range(2):
        for _ in range(50):
            await a.transport.publish(a.topics.inbox("b"), b"garbage")
        await eventually(lambda minute=minute: b.malformed == 50 * (minute + 1))
        net.now_s += 61
    assert capsys.readouterr().out.count("message is malformed") == 2


async def test_larger_messages_are_refused_at_the_sender(net: Net) -> None:
    a = await net.bus("a")
    with pytest.raises(MessageError, match=str(MAX_MESSAGE_BYTES)):
        await a.send("b", NodeStatus(node="a", incarnation=1, online=True, labels={"x": "y" * MAX_MESSAGE_BYTES}))


async def answer_queries(bus: Bus, *, ignore: int = 0) -> list[str]:
    asked: list[str] = []

    async def answer(envelope: Envelope) -> LeaseStates | None:
        assert isinstance(envelope.data, LeaseQuery)
        asked.append(envelope.data.request_id)
        if len(asked) <= ignore:
            return None
        return LeaseStates(request_id=envelope.data.request_id, leases=())

    bus.on(LeaseQuery, answer)
    return asked


async def test_request_finds_its_reply_among_others(net: Net) -> None:
    steward = await net.bus("steward")
    authority = await net.bus("plane", inboxes=(AUTHORITY,))
    await answer_queries(authority)
    queries = [LeaseQuery(request_id=f"q{number}", workloads=()) for number in range(20)]
    replies = await asyncio.gather(*(steward.request(AUTHORITY, query, LeaseStates, patient(60)) for query in queries))
    assert [reply.request_id for reply in replies] == [query.request_id for query in queries]


async def test_request_is_tried_again_with_the_same_request_id(net: Net) -> None:
    a, b = await net.bus("a"), await net.bus("b")
    asked = await answer_queries(b, ignore=2)
    # Again after a fifth of a second, and as often as a machine that stands still makes it.
    reply = await a.request("b", LeaseQuery(request_id="q", workloads=()), LeaseStates, 60, attempts=300)
    assert reply.request_id == "q"
    assert len(asked) >= 3 and set(asked) == {"q"}


async def test_request_over_a_lossy_network_succeeds(net: Net) -> None:
    net.broker.network.faults = Faults(loss=0.4, duplicate=0.3)
    a, b = await net.bus("a"), await net.bus("b")
    await answer_queries(b)
    query = LeaseQuery(request_id="q", workloads=())
    assert (await a.request("b", query, LeaseStates, 60, attempts=600)).request_id == "q"


async def test_request_without_an_answer_ends_with_one_clear_error(net: Net) -> None:
    a, b = await net.bus("a"), await net.bus("b")
    asked = await answer_queries(b, ignore=99)
    with pytest.raises(RequestTimeout, match="LeaseQuery to b"):
        await a.request("b", LeaseQuery(request_id="q", workloads=()), LeaseStates, 0.1, attempts=2)
    assert asked == ["q", "q"]


async def test_request_needs_a_request_id_and_a_fresh_one(net: Net) -> None:
    a = await net.bus("a")
    with pytest.raises(TypeError, match="request_id"):
        await a.request("b", CANCEL, LeaseStates, 1)
    query = LeaseQuery(request_id="q", workloads=())
    first = asyncio.create_task(a.request("b", query, LeaseStates, 0.2))
    await asyncio.sleep(0)
    with pytest.raises(ValueError, match="under way"):
        await a.request("b", query, LeaseStates, 1)
    with pytest.raises(RequestTimeout):
        await first


@given(st.binary(max_size=300))
def test_decode_of_garbage_is_one_error(garbage: bytes) -> None:
    with pytest.raises(MessageError):
        decode(garbage)


KEY = LeaseKey(site="s", workload="w", replica=0)
RELEASE = Release(request_id="r", node="a", incarnation=1, key=KEY, epoch=1)
VALID = encode(RELEASE, id="i", source="a", time=1.0)


@given(st.integers(0, len(VALID) - 1), st.binary(min_size=1, max_size=4))
def test_decode_of_damaged_messages_never_fails_otherwise(at: int, damage: bytes) -> None:
    try:
        envelope = decode(VALID[:at] + damage + VALID[at + len(damage) :])
    except MessageError as error:
        assert "\n" not in str(error)
    else:
        assert isinstance(envelope.data, Release)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(garbage=st.lists(st.binary(max_size=60), max_size=8))
async def test_bus_that_gets_garbage_goes_on(garbage: list[bytes]) -> None:
    net = Net()
    a, b = await net.bus("a"), await net.bus("b")
    got = collect(b)
    for payload in garbage:
        await a.transport.publish(a.topics.inbox("b"), payload)
    await a.send("b", CANCEL)
    await eventually(lambda: got)
    assert b.malformed == sum(1 for payload in garbage if payload)
    for bus in net.buses:
        bus.close()
        await bus.transport.close()


async def test_over_a_real_broker(clients: Clients) -> None:
    transports = [clients.make(name) for name in ("a", "b")]
    a, b = (Bus(t, SITE, n, 1, lambda: 5.0, ids(n)) for t, n in zip(transports, "ab", strict=True))
    await answer_queries(b)
    states: list[Envelope] = []

    async def keep(envelope: Envelope, received: Received) -> None:
        states.append(envelope)

    a.watch(a.topics.all_nodes("status"), NodeStatus, keep)
    transports[1].set_will(b.topics.status("b"), b.payload(NodeStatus(node="b", incarnation=1, online=False)))
    for transport in transports:
        await transport.start()
    for transport in transports:
        assert await transport.flush(patient(10))
    reply = await a.request("b", LeaseQuery(request_id="q", workloads=()), LeaseStates, patient(60))
    assert reply.request_id == "q"
    await transports[0].publish(a.topics.inbox("b"), b"\xff garbage")
    await b.publish(b.topics.status("b"), NodeStatus(node="b", incarnation=1, online=True), retain=True)
    await eventually(lambda: states)
    await transports[1].close()
    await eventually(lambda: len(states) == 2)
    assert [envelope.data.online for envelope in states] == [True, False]
    assert b.malformed == 1
