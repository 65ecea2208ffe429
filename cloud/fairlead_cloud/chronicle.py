"""Writes down what happens on the site: the event log behind dashboard and ``fairlead events``."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any

import structlog

from fairlead_agent.daemon.site_view import SiteView
from fairlead_agent.messages import InstanceState, LeaseKey, NodeInstances, NodeStatus, PlacementRecord
from fairlead_agent.placement.authority import LeaseRow
from fairlead_cloud.store import DatabaseError, Event, EventLog

log = structlog.get_logger()

#: Events that wait to be written while the database does not take any; beyond that the newest are lost, and counted.
MAX_WAITING = 10_000

#: States of a replica in which nothing is under way.
SETTLED = ("placed", "lost", "unplaceable")


class Chronicle:
    """Turns changes into events, without making whoever causes them wait for the disk."""

    def __init__(self, events: EventLog, view: SiteView) -> None:
        self._events = events
        self._waiting: asyncio.Queue[Event] = asyncio.Queue(MAX_WAITING)
        self._states: dict[tuple[str, LeaseKey], tuple[InstanceState, int]] = {}
        self._statuses: dict[str, tuple[bool, int]] = {}
        self._records: dict[str, tuple[PlacementRecord | None, PlacementRecord]] = {}
        self._settled: dict[str, dict[int, tuple[str, str | None, int]]] = {}
        self._task: asyncio.Task[None] | None = None
        self.lost = 0
        view.on_status(self._status_changed)
        view.on_instances(self._instances_changed)
        view.on_record(self._recorded)

    def start(self) -> None:
        """Write from now on."""
        self._task = asyncio.create_task(self._write(), name="events")

    async def stop(self) -> None:
        """Write what waits, then no more."""
        if self._task is None:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2.0):
                await self._waiting.join()
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def note(self, kind: str, subject: str, data: dict[str, Any]) -> None:
        """Something happened."""
        try:
            self._waiting.put_nowait(Event(0, time.time(), kind, subject[:256], data))
        except asyncio.QueueFull:
            self.lost += 1

    def lease_changed(self, row: LeaseRow) -> None:
        """The authority has granted or released."""
        kind = "lease.released" if row.released else "lease.granted"
        self.note(kind, str(row.key), {"node": row.node, "epoch": row.epoch})

    def previous(self, workload: str) -> PlacementRecord | None:
        """The record before the latest one of a workload, as far as this process has seen it."""
        return self._records[workload][0] if workload in self._records else None

    def _status_changed(self, status: NodeStatus) -> None:
        seen = (status.online, status.incarnation)
        if self._statuses.get(status.node) == seen:
            return
        self._statuses[status.node] = seen
        kind = "node.online" if status.online else "node.offline"
        self.note(kind, status.node, {"incarnation": status.incarnation, "profile": status.profile})

    def _instances_changed(self, report: NodeInstances) -> None:
        for instance in report.instances:
            seen = (instance.state, instance.epoch)
            if self._states.get((report.node, instance.key)) == seen:
                continue
            self._states[(report.node, instance.key)] = seen
            data = {
                "node": report.node,
                "epoch": instance.epoch,
                "variant": instance.variant,
                "reason": instance.reason,
            }
            self.note(f"instance.{instance.state.value}", str(instance.key), data)
        reported = {str(instance.key) for instance in report.instances}
        for node, key in [known for known in self._states if known[0] == report.node and str(known[1]) not in reported]:
            del self._states[(node, key)]

    def _recorded(self, record: PlacementRecord) -> None:
        _, latest = self._records.get(record.workload, (None, None))
        before = self._settled.get(record.workload, {})
        settled = _settled(record, before)
        # Between two decisions a record is written at every step of a negotiation; only what came of it is told.
        if latest is not None and settled == before and latest.deleted == record.deleted:
            return
        self._settled[record.workload] = settled
        self._records[record.workload] = (latest, record)
        slots = {str(slot.key.replica): f"{slot.state}:{slot.node or '-'}" for slot in record.slots}
        data = {"steward": record.steward, "trigger": record.trigger, "slots": slots, "deleted": record.deleted}
        self.note("placement.recorded", record.workload, data)

    async def _write(self) -> None:
        while True:
            events = [await self._waiting.get()]
            while len(events) < 200 and not self._waiting.empty():
                events.append(self._waiting.get_nowait())
            try:
                await self._events.append_all(events)
            except DatabaseError as error:
                # A full disk must not stop placement; the events are lost, and said to be.
                self.lost += len(events)
                log.error("events.not_written", count=len(events), reason=str(error))
            finally:
                for _ in events:
                    self._waiting.task_done()


def _settled(
    record: PlacementRecord, before: dict[int, tuple[str, str | None, int]]
) -> dict[int, tuple[str, str | None, int]]:
    """Where each replica stands; one that is being negotiated stands where it stood before."""
    return {
        slot.key.replica: (slot.state, slot.node, slot.epoch) if slot.state in SETTLED else before[slot.key.replica]
        for slot in record.slots
        if slot.state in SETTLED or slot.key.replica in before
    }
