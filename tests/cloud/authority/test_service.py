"""The authority over a bus: epochs are durable before they are said."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy import text

from fairlead_agent.bus.broker.choose import choose
from fairlead_agent.bus.bus import Bus, RequestTimeout
from fairlead_agent.bus.memory import MemoryBroker
from fairlead_agent.bus.mqtt import MqttTransport
from fairlead_agent.bus.topics import AUTHORITY
from fairlead_agent.bus.transport import Transport
from fairlead_agent.messages import (
    Grant,
    GrantDenied,
    GrantRequest,
    LeaseKey,
    LeaseQuery,
    LeaseRef,
    LeaseStates,
    Release,
    ReleaseAck,
    Renewal,
    RenewalReply,
)
from fairlead_agent.placement.authority import AuthorityRules, LeaseRow
from fairlead_agent.placement.settings import PlacementSettings
from fairlead_cloud.authority import AuthorityService
from fairlead_cloud.authority.standalone import StandaloneAuthority
from fairlead_cloud.settings import BrokerLogin, PlaneSettings
from fairlead_cloud.store import Database, LeaseStore
from tests.patience import patient

SITE = "test"
KEY = LeaseKey(site=SITE, workload="chat", replica=0)
RULES = AuthorityRules(PlacementSettings(ttl_s=3.0))
_numbers = count()


def new_id() -> str:
    return f"id-{next(_numbers)}"


class Place:
    """An authority and nodes on one bus in memory, with a clock that the test moves."""

    def __init__(self, database: Database) -> None:
        self.broker, self.database, self.now = MemoryBroker(), database, 100.0
        self.buses: list[tuple[Bus, Transport]] = []

    async def bus(self, node: str) -> Bus:
        transport = self.broker.transport(node)
        made = Bus(transport, SITE, node, 1, clock=lambda: 0.0, new_id=new_id)
        await transport.start()
        self.buses.append((made, transport))
        return made

    async def authority(self, inbox: str = AUTHORITY) -> AuthorityService:
        store = LeaseStore(self.database, SITE)
        service = AuthorityService(await self.bus(inbox), store, RULES, lambda: self.now)
        await service.start()
        return service

    async def close(self) -> None:
        for bus, transport in self.buses:
            bus.close()
            await transport.close()


@pytest.fixture
async def place(database: Database) -> AsyncIterator[Place]:
    made = Place(database)
    yield made
    await made.close()


def wanted(node: str, expected: int, *, key: LeaseKey = KEY, negotiation: str = "n") -> GrantRequest:
    return GrantRequest(
        request_id=new_id(),
        key=key,
        node=node,
        incarnation=1,
        negotiation=negotiation,
        generation=1,
        expected_epoch=expected,
        ttl_s=3.0,
    )


async def ask(bus: Bus, request: GrantRequest, authority: str = AUTHORITY) -> Grant | GrantDenied:
    return await bus.request(authority, request, (Grant, GrantDenied), patient(60), attempts=1)


def release(node: str, epoch: int) -> Release:
    return Release(request_id=new_id(), node=node, incarnation=1, key=KEY, epoch=epoch)


async def test_grant_renew_release_grant(place: Place) -> None:
    authority, a, b = await place.authority(), await place.bus("a"), await place.bus("b")
    first = await ask(a, wanted("a", 0))
    assert isinstance(first, Grant) and first.epoch == 1
    assert authority.holds(KEY, 1, "a") and not authority.holds(KEY, 1, "b") and not authority.holds(KEY, 2, "a")
    denied = await ask(b, wanted("b", 1))
    assert isinstance(denied, GrantDenied) and denied.holder == "a" and denied.retry_after_s is not None
    renewal = Renewal(
        request_id=new_id(), node="a", incarnation=1, sent_boottime_s=7.0, leases=(LeaseRef(key=KEY, epoch=1),)
    )
    place.now += 2.5
    reply = await a.request(AUTHORITY, renewal, RenewalReply, patient(60))
    assert reply.results[0].renewed and reply.sent_boottime_s == 7.0
    place.now += 2.5
    assert authority.holds(KEY, 1, "a")
    await a.request(AUTHORITY, release("a", 1), ReleaseAck, patient(60))
    assert not authority.holds(KEY, 1, "a")
    second = await ask(b, wanted("b", 1))
    assert isinstance(second, Grant) and second.epoch == 2


async def test_expired_lease_goes_to_another(place: Place) -> None:
    authority, b = await place.authority(), await place.bus("b")
    await ask(await place.bus("a"), wanted("a", 0))
    place.now += RULES.settings.hold_s(3.0) - 0.01
    assert isinstance(await ask(b, wanted("b", 1)), GrantDenied)
    place.now += 0.02
    assert not authority.holds(KEY, 1, "a")
    assert isinstance(await ask(b, wanted("b", 1)), Grant)


async def test_nobody_renews_or_releases_for_another(place: Place) -> None:
    authority, a, evil = await place.authority(), await place.bus("a"), await place.bus("evil")
    await ask(a, wanted("a", 0))
    with pytest.raises(RequestTimeout):
        await evil.request(AUTHORITY, release("a", 1), ReleaseAck, 0.2, attempts=1)
    assert authority.holds(KEY, 1, "a")


async def test_epochs_survive_the_authority(place: Place) -> None:
    first = await place.authority()
    await ask(await place.bus("a"), wanted("a", 0))
    changes: list[LeaseRow] = []
    first.on_change(changes.append)
    place.now += 1000.0
    second = await place.authority("authority-2")
    # Nobody knows how long it was away: the holder may have been told that it may go on.
    assert second.holds(KEY, 1, "a")
    assert isinstance(await ask(await place.bus("b"), wanted("b", 1), "authority-2"), GrantDenied)
    assert changes == []


async def test_two_authorities_on_one_database_never_issue_one_epoch_twice(place: Place) -> None:
    await place.authority("authority-1")
    await place.authority("authority-2")
    buses = [await place.bus(f"node-{n}") for n in range(2)]
    keys = [LeaseKey(site=SITE, workload="chat", replica=n) for n in range(10)]
    asked = [
        ask(bus, wanted(bus.node, 0, key=key), f"authority-{n + 1}") for key in keys for n, bus in enumerate(buses)
    ]
    replies = await asyncio.gather(*asked)
    granted = [reply for reply in replies if isinstance(reply, Grant)]
    assert sorted(grant.key.replica for grant in granted) == list(range(10))
    assert len(granted) == 10


async def test_a_newer_epoch_of_another_authority_is_renewed(place: Place) -> None:
    await place.authority("authority-1")
    await place.authority("authority-2")
    a = await place.bus("a")
    await ask(a, wanted("a", 0), "authority-1")
    renewal = Renewal(
        request_id=new_id(), node="a", incarnation=1, sent_boottime_s=7.0, leases=(LeaseRef(key=KEY, epoch=1),)
    )
    reply = await a.request("authority-2", renewal, RenewalReply, patient(60))
    assert reply.results[0].renewed


async def test_what_is_not_stored_is_not_said(place: Place, database: Database) -> None:
    authority, a = await place.authority(), await place.bus("a")
    async with database.transaction() as session:
        await session.execute(text("ALTER TABLE leases RENAME TO away"))
    with pytest.raises(RequestTimeout):
        await a.request(AUTHORITY, wanted("a", 0), (Grant, GrantDenied), 0.3, attempts=1)
    assert not authority.holds(KEY, 1, "a")
    async with database.transaction() as session:
        await session.execute(text("ALTER TABLE away RENAME TO leases"))
    assert isinstance(await ask(a, wanted("a", 0)), Grant)


async def test_stewards_are_told_how_leases_stand(place: Place) -> None:
    await place.authority()
    a = await place.bus("a")
    await ask(a, wanted("a", 0))
    query = LeaseQuery(request_id=new_id(), workloads=("chat", "other"))
    states = await a.request(AUTHORITY, query, LeaseStates, patient(60))
    assert [(state.epoch, state.node) for state in states.leases] == [(1, "a")]


async def test_stand_alone_over_a_real_broker(tmp_path: Path) -> None:
    broker = choose(tmp_path / "broker", site=SITE)
    address = await broker.start()
    transports: list[MqttTransport] = []

    def login(name: str, *, control: bool = False) -> BrokerLogin:
        user, password = broker.credentials(name, control=control)
        file = tmp_path / f"{name}.password"
        file.write_text(password)
        return BrokerLogin(username=user, password_file=file)

    def settings(folder: str) -> PlaneSettings:
        return PlaneSettings(
            site=SITE,
            state_dir=tmp_path / folder,
            database_url=f"sqlite+aiosqlite:///{tmp_path / 'shared.db'}",
            broker_port=address.port,
            authority_login=login(AUTHORITY, control=True),
            lease_ttl_s=3.0,
        )

    async def node(name: str) -> Bus:
        transport = MqttTransport(broker.address(name), name)
        transports.append(transport)
        bus = Bus(transport, SITE, name, 1, clock=lambda: 0.0, new_id=new_id)
        await _started(transport)
        return bus

    async def granted(make: Callable[[], GrantRequest], bus: Bus) -> Grant:
        reply = await bus.request(AUTHORITY, make(), (Grant, GrantDenied), patient(120), attempts=120)
        assert isinstance(reply, Grant)
        return reply

    try:
        a = await node("a")
        for expected, folder in ((0, "first"), (1, "second")):
            authority = StandaloneAuthority(settings(folder))
            await authority.start()
            assert (await granted(lambda e=expected: wanted("a", e), a)).epoch == expected + 1
            await a.request(AUTHORITY, release("a", expected + 1), ReleaseAck, patient(120), attempts=120)
            await authority.stop()
    finally:
        await asyncio.gather(*(transport.close() for transport in transports))
        await broker.stop()


async def _started(transport: MqttTransport) -> None:
    connected = asyncio.Event()

    async def ready() -> None:
        connected.set()

    transport.on_connected(ready)
    await transport.start()
    async with asyncio.timeout(patient(60)):
        await connected.wait()
