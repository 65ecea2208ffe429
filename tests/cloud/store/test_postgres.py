"""The same stores on PostgreSQL, with two of everything."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fairlead_agent.messages import LeaseKey, Workload
from fairlead_agent.placement.authority import LeaseRow
from fairlead_cloud.keys import SiteKey
from fairlead_cloud.store import Database, EpochConflict, EventLog, LeaseStore, Role, TokenStore, WorkloadStore
from tests.patience import patient


@pytest.fixture
async def pair(postgres_url: str) -> AsyncIterator[tuple[Database, Database]]:
    databases = Database(postgres_url), Database(postgres_url)
    for database in databases:
        await database.open()
    yield databases
    for database in databases:
        await database.close()


def row(site: str, replica: int, epoch: int, node: str) -> LeaseRow:
    key = LeaseKey(site=site, workload="chat", replica=replica)
    return LeaseRow(key, epoch, node, 1, "negotiation", 1, 3.0, 0.0)


async def swap(store: LeaseStore, wanted: LeaseRow, known: int) -> str | None:
    try:
        await store.swap(wanted, known)
    except EpochConflict:
        return None
    return wanted.node


async def test_two_authorities_grant_each_epoch_once(pair: tuple[Database, Database]) -> None:
    stores = [LeaseStore(database, "swap") for database in pair]
    for epoch in range(1, 9):
        both = [swap(store, row("swap", 0, epoch, f"node-{n}"), epoch - 1) for n, store in enumerate(stores)]
        winners = [node for node in await asyncio.gather(*both) if node is not None]
        assert len(winners) == 1
        for store in stores:
            (stored,) = (await store.load()).values()
            assert (stored.epoch, stored.node) == (epoch, winners[0])


async def test_a_stale_authority_writes_nothing(pair: tuple[Database, Database]) -> None:
    first, second = (LeaseStore(database, "stale") for database in pair)
    await first.swap(row("stale", 0, 1, "a"), 0)
    await first.swap(row("stale", 0, 2, "b"), 1)
    with pytest.raises(EpochConflict, match="stale/chat/0"):
        await second.swap(row("stale", 0, 2, "c"), 1)
    assert [r.node for r in (await second.load()).values()] == ["b"]


async def test_desired_state_and_tokens(pair: tuple[Database, Database], tmp_path: Path) -> None:
    sign = SiteKey.load_or_create(tmp_path / "key.pem").sign
    stores = [WorkloadStore(database, "desired", sign) for database in pair]
    await stores[0].apply(Workload(name="chat", plugin="echo"), 1.0)
    both = (stores[n].apply(Workload(name="chat", plugin="echo", replicas=n + 2), 2.0) for n in range(2))
    generations = sorted(stored.desired.generation for stored in await asyncio.gather(*both))
    assert generations == [2, 3]
    token = await TokenStore(pair[0]).create("ci", Role.OPERATOR, 0.0)
    assert await TokenStore(pair[1]).role(token) is Role.OPERATOR


async def test_events_are_numbered_in_the_order_in_which_they_are_seen(pair: tuple[Database, Database]) -> None:
    logs = [EventLog(database) for database in pair]
    start = await logs[0].last_seq()
    seen: list[int] = []

    async def read() -> None:
        after = start
        while len(seen) < 60:
            for event in await logs[0].after(after):
                seen.append(event.seq)
                after = event.seq

    async def write(log: EventLog) -> None:
        for number in range(30):
            await log.append("kind", str(number), {}, 0.0)

    async with asyncio.timeout(patient(120)):
        await asyncio.gather(read(), *(write(log) for log in logs))
    assert seen == sorted(seen) and len(set(seen)) == 60
