"""The authority on the bus: loads rows, applies the pure rules, stores what changed, answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import structlog

from fairlead_agent.bus.bus import Bus
from fairlead_agent.daemon.clocks import boottime
from fairlead_agent.messages import (
    Body,
    Envelope,
    GrantRequest,
    LeaseKey,
    LeaseQuery,
    Release,
    Renewal,
)
from fairlead_agent.placement.authority import AuthorityRules, LeaseRow
from fairlead_cloud.store import DatabaseError, EpochConflict, LeaseStore

log = structlog.get_logger()

ANSWERED: tuple[type[Body], ...] = (GrantRequest, Renewal, Release, LeaseQuery)


class AuthorityService:
    """Issues epochs for one site. Nothing is answered before it is durable.

    Args:
        bus: a bus whose inbox is the authority's.
        store: the rows.
        rules: what may be granted, renewed and released.
        clock: CLOCK_BOOTTIME, seconds.
    """

    def __init__(
        self, bus: Bus, store: LeaseStore, rules: AuthorityRules, clock: Callable[[], float] = boottime
    ) -> None:
        self._bus, self._store, self._rules, self._clock = bus, store, rules, clock
        self._rows: dict[LeaseKey, LeaseRow] = {}
        # One message after the other: a decision is made on rows that no other decision changes meanwhile.
        self._deciding = asyncio.Lock()
        self._listeners: list[Callable[[LeaseRow], None]] = []

    @property
    def rows(self) -> dict[LeaseKey, LeaseRow]:
        """The rows as they stand."""
        return self._rows

    def on_change(self, listener: Callable[[LeaseRow], None]) -> None:
        """Hear of grants and releases."""
        self._listeners.append(listener)

    def holds(self, key: LeaseKey, epoch: int, node: str) -> bool:
        """Whether ``node`` holds the live lease of ``key`` at exactly ``epoch``."""
        row = self._rows.get(key)
        return row is not None and (row.epoch, row.node) == (epoch, node) and self.remaining_s(row) > 0

    def remaining_s(self, row: LeaseRow) -> float:
        """Seconds until the key may go to another node."""
        return self._rules.remaining_s(row, self._clock())

    async def start(self) -> None:
        """Load the rows and answer from now on.

        Raises:
            DatabaseError: they cannot be read.
        """
        await self._reload()
        self._bus.on(ANSWERED, self._answer)

    async def _reload(self) -> None:
        now = self._clock()
        self._rows = {key: self._rules.after_restart(row, now) for key, row in (await self._store.load()).items()}

    async def _answer(self, envelope: Envelope) -> Body | None:
        body = envelope.data
        if isinstance(body, Renewal | Release) and body.node != envelope.source:
            log.warning("authority.foreign_word", source=envelope.source, node=body.node)
            return None
        async with self._deciding:
            try:
                if self._is_ahead(body):
                    await self._reload()
                return await self._decide(body)
            except EpochConflict as error:
                log.warning("authority.conflict", reason=str(error))
                return await self._decide_afresh(body)
            except DatabaseError as error:
                # No answer: the asker repeats its request, and holders stop by themselves if it goes on.
                log.error("authority.not_stored", message=type(body).__name__, reason=str(error))
                return None

    def _is_ahead(self, body: Body) -> bool:
        """Whether the sender knows a newer epoch than these rows: another authority has issued it."""
        if isinstance(body, GrantRequest):
            return body.expected_epoch > self._epoch(body.key)
        leases = body.leases if isinstance(body, Renewal) else ()
        return any(lease.epoch > self._epoch(lease.key) for lease in leases)

    def _epoch(self, key: LeaseKey) -> int:
        row = self._rows.get(key)
        return row.epoch if row is not None else 0

    async def _decide_afresh(self, body: Body) -> Body | None:
        """Decide once more, on the rows as another authority on the same database has left them."""
        try:
            await self._reload()
            return await self._decide(body)
        except (EpochConflict, DatabaseError) as error:
            log.warning("authority.no_decision", message=type(body).__name__, reason=str(error))
            return None

    async def _decide(self, body: Body) -> Body | None:
        changed, reply = self._rules.answer(self._rows, body, self._clock())
        for row in changed:
            await self._keep(row)
        return reply

    async def _keep(self, row: LeaseRow) -> None:
        known = self._rows.get(row.key)
        durable = known is None or replace(known, renewed_at_s=row.renewed_at_s) != row
        if durable:
            await self._store.swap(row, known.epoch if known is not None else 0)
        self._rows[row.key] = row
        if durable:
            for listener in self._listeners:
                listener(row)
