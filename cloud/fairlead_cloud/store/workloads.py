"""Desired state with generations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import select

from fairlead_agent.messages import SignedWorkload, Workload
from fairlead_agent.messages.signing import DesiredWorkload
from fairlead_cloud.store.database import Database
from fairlead_cloud.store.tables import WorkloadRow

Sign = Callable[[DesiredWorkload], SignedWorkload]


@dataclass(frozen=True, slots=True)
class StoredWorkload:
    """A workload as it stands in the database."""

    desired: DesiredWorkload
    signed: SignedWorkload
    updated_at: float
    changed: bool = True


class WorkloadStore:
    """Applies and deletes workloads. What it returns is durable."""

    def __init__(self, database: Database, site: str, sign: Sign) -> None:
        self._database, self._site, self._sign = database, site, sign

    async def apply(self, workload: Workload, now: float) -> StoredWorkload:
        """Store ``workload`` under its name; the generation grows only when something changed."""
        async with self._database.transaction() as session:
            row = await session.get(WorkloadRow, (self._site, workload.name), with_for_update=True)
            spec = workload.model_dump_json()
            if row is not None and not row.deleted and row.spec == spec:
                return _stored(row, changed=False)
            desired = DesiredWorkload(
                site=self._site, name=workload.name, generation=_next_generation(row), workload=workload
            )
            row = self._write(row, desired, spec, now)
            session.add(row)
            return _stored(row)

    async def delete(self, name: str, now: float) -> StoredWorkload | None:
        """Mark a workload as deleted; None where there is no such workload."""
        async with self._database.transaction() as session:
            row = await session.get(WorkloadRow, (self._site, name), with_for_update=True)
            if row is None or row.deleted:
                return None
            desired = DesiredWorkload(site=self._site, name=name, generation=_next_generation(row), deleted=True)
            return _stored(self._write(row, desired, row.spec, now))

    async def get(self, name: str) -> StoredWorkload | None:
        """One workload, also a deleted one."""
        async with self._database.reading() as session:
            row = await session.get(WorkloadRow, (self._site, name))
            return _stored(row, changed=False) if row is not None else None

    async def all(self, *, deleted: bool = False) -> list[StoredWorkload]:
        """All workloads of the site by name; with ``deleted`` also those that are gone."""
        query = select(WorkloadRow).where(WorkloadRow.site == self._site).order_by(WorkloadRow.name)
        if not deleted:
            query = query.where(WorkloadRow.deleted.is_(False))
        async with self._database.reading() as session:
            return [_stored(row, changed=False) for row in await session.scalars(query)]

    def _write(self, row: WorkloadRow | None, desired: DesiredWorkload, spec: str, now: float) -> WorkloadRow:
        row = row if row is not None else WorkloadRow(site=self._site, name=desired.name)
        row.generation, row.deleted, row.spec, row.updated_at = desired.generation, desired.deleted, spec, now
        row.signed = self._sign(desired).model_dump_json()
        return row


def _next_generation(row: WorkloadRow | None) -> int:
    return 1 if row is None else row.generation + 1


def _stored(row: WorkloadRow, *, changed: bool = True) -> StoredWorkload:
    signed = SignedWorkload.model_validate_json(row.signed)
    desired = DesiredWorkload.model_validate_json(signed.payload)
    return StoredWorkload(desired, signed, row.updated_at, changed)
