"""Epoch counters: one row a key, changed by compare-and-swap."""

from __future__ import annotations

from pydantic import TypeAdapter
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from fairlead_agent.messages import LeaseKey
from fairlead_agent.placement.authority import LeaseRow
from fairlead_cloud.store.database import Database
from fairlead_cloud.store.tables import LeaseTableRow

_ROW = TypeAdapter(LeaseRow)


class EpochConflict(RuntimeError):
    """Another authority on the same database has moved the counter."""


class LeaseStore:
    """Durable lease rows. Renewals are not written: after a restart every lease counts as renewed just then."""

    def __init__(self, database: Database, site: str) -> None:
        self._database, self._site = database, site

    async def load(self) -> dict[LeaseKey, LeaseRow]:
        """All rows of the site."""
        query = select(LeaseTableRow).where(LeaseTableRow.site == self._site)
        async with self._database.reading() as session:
            rows = [_ROW.validate_json(row.row) for row in await session.scalars(query)]
        return {row.key: row for row in rows}

    async def swap(self, row: LeaseRow, known_epoch: int) -> None:
        """Write ``row`` if the counter still stands at ``known_epoch`` (0: no row yet); durable on return.

        Raises:
            EpochConflict: it does not; nothing is written.
            DatabaseError: it could not be written.
        """
        try:
            await self._swap(row, known_epoch)
        except IntegrityError:
            # Two first grants of one key: no row was there to be locked, and the primary key let one of them in.
            raise EpochConflict(f"{row.key}: another authority has granted it first") from None

    async def _swap(self, row: LeaseRow, known_epoch: int) -> None:
        key = (self._site, row.key.workload, row.key.replica)
        async with self._database.transaction() as session:
            stored = await session.get(LeaseTableRow, key, with_for_update=True)
            if (stored.epoch if stored is not None else 0) != known_epoch:
                raise EpochConflict(f"{row.key}: the counter is not at {known_epoch} any more")
            if stored is None:
                stored = LeaseTableRow(site=key[0], workload=key[1], replica=key[2])
                session.add(stored)
            stored.epoch, stored.node = row.epoch, None if row.released else row.node
            stored.row = _ROW.dump_json(row).decode()
