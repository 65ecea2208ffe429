"""The event log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fairlead_cloud.store import Database, Event, EventLog, events
from tests.patience import patient


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    made = Database(f"sqlite+aiosqlite:///{tmp_path / 'test.db'}")
    await made.open()
    yield made
    await made.close()


async def take(log: EventLog, after: int, count: int) -> list[int]:
    found: list[int] = []
    async with asyncio.timeout(patient(60)):
        async for event in log.follow(after, idle_s=patient(3600)):
            if event is not None:
                found.append(event.seq)
            if len(found) == count:
                break
    return found


async def test_follow_gives_the_past_then_the_new(database: Database) -> None:
    log = EventLog(database)
    for number in range(3):
        await log.append("kind", str(number), {"n": number}, float(number))
    reader = asyncio.create_task(take(log, 1, 4))
    await asyncio.gather(*(log.append("kind", str(n), {}, 0.0) for n in range(2)))
    assert await reader == [2, 3, 4, 5]


async def test_a_long_past_is_followed_without_waiting(database: Database) -> None:
    await EventLog(database).append_all([Event(0, 0.0, "kind", "s", {"n": n}) for n in range(1203)])
    # A fresh log has appended nothing itself: nobody will wake the reader between the pages.
    assert await take(EventLog(database), 0, 1203) == list(range(1, 1204))


async def test_silence_is_said(database: Database) -> None:
    log = EventLog(database)
    async for event in log.follow(0, idle_s=0.01):
        assert event is None
        break


async def test_the_log_is_bounded(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "KEPT_EVENTS", 100)
    log = EventLog(database)
    await log.append_all([Event(0, 0.0, "kind", "s", {}) for _ in range(1500)])
    await log.append_all([Event(0, 0.0, "kind", "s", {}) for _ in range(500)])
    kept = await log.after(0, limit=5000)
    assert kept[-1].seq == 2000 and len(kept) <= 1100
    assert await log.last_seq() == 2000
