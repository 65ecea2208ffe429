"""The event log: what happened, in order, and who listens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import delete, select, text

from fairlead_cloud.store.database import Database
from fairlead_cloud.store.tables import EventRow

#: Events kept at most; older ones are dropped in batches.
KEPT_EVENTS = 50_000

#: Postgres's advisory lock around an append; any number that nobody else uses.
EVENT_LOCK = 0x6661_6972


@dataclass(frozen=True, slots=True)
class Event:
    """One entry of the log. ``time`` is Unix seconds."""

    seq: int
    time: float
    type: str
    subject: str
    data: dict[str, Any]


class EventLog:
    """Appends to the log and follows it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._appended = asyncio.Condition()
        # One writer at a time: a reader that has seen number n must never meet a smaller one later.
        self._writing = asyncio.Lock()
        self._last = 0

    async def append(self, type: str, subject: str, data: dict[str, Any], now: float) -> Event:
        """Write one event; it is durable when this returns."""
        return (await self.append_all([Event(0, now, type, subject, data)]))[0]

    async def append_all(self, events: Sequence[Event]) -> list[Event]:
        """Write events in one transaction; their numbers are given here. Durable on return."""
        async with self._writing, self._database.transaction() as session:
            if not self._database.sqlite:
                # The same among the processes that share a Postgres: numbers become visible in their order.
                await session.execute(text(f"SELECT pg_advisory_xact_lock({EVENT_LOCK})"))
            rows = [EventRow(time=e.time, type=e.type, subject=e.subject, data=e.data) for e in events]
            session.add_all(rows)
            await session.flush()
            written = [replace(event, seq=row.seq) for event, row in zip(events, rows, strict=True)]
            if any(event.seq % 1000 == 0 for event in written):
                await session.execute(delete(EventRow).where(EventRow.seq <= written[-1].seq - KEPT_EVENTS))
        async with self._appended:
            self._last = max(self._last, written[-1].seq)
            self._appended.notify_all()
        return written

    async def after(self, seq: int, limit: int = 500) -> list[Event]:
        """Events after ``seq``, oldest first."""
        query = select(EventRow).where(EventRow.seq > seq).order_by(EventRow.seq).limit(limit)
        async with self._database.reading() as session:
            return [Event(row.seq, row.time, row.type, row.subject, row.data) for row in await session.scalars(query)]

    async def latest(self, limit: int) -> list[Event]:
        """The newest events, oldest first."""
        query = select(EventRow).order_by(EventRow.seq.desc()).limit(limit)
        async with self._database.reading() as session:
            rows = list(await session.scalars(query))
        return [Event(row.seq, row.time, row.type, row.subject, row.data) for row in reversed(rows)]

    async def last_seq(self) -> int:
        """The newest event's number; 0 where there is none."""
        query = select(EventRow.seq).order_by(EventRow.seq.desc()).limit(1)
        async with self._database.reading() as session:
            return (await session.scalar(query)) or 0

    async def follow(self, seq: int, idle_s: float = 15.0) -> AsyncIterator[Event | None]:
        """All events after ``seq``, then new ones as they come; None after ``idle_s`` seconds without any."""
        while True:
            page = await self.after(seq)
            for event in page:
                seq = event.seq
                yield event
            if not page and not await self._wait_beyond(seq, idle_s):
                yield None

    async def _wait_beyond(self, seq: int, idle_s: float) -> bool:
        try:
            async with asyncio.timeout(idle_s), self._appended:
                await self._appended.wait_for(lambda: self._last > seq)
        except TimeoutError:
            return False
        return True
