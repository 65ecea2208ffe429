"""Who holds which lease: asked of the authority in this process, or of one elsewhere on the site."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Protocol

import structlog

from fairlead_agent.bus.bus import Bus, RequestTimeout
from fairlead_agent.bus.topics import AUTHORITY
from fairlead_agent.bus.transport import TransportError
from fairlead_agent.daemon.clocks import boottime, new_id
from fairlead_agent.messages import LeaseKey, LeaseQuery, LeaseState, LeaseStates
from fairlead_agent.placement.authority import LeaseRow

log = structlog.get_logger()


class LeaseBook(Protocol):
    """What gateway and API must know of leases."""

    @property
    def rows(self) -> Mapping[LeaseKey, LeaseRow]:
        """The rows as they stand."""
        ...

    def on_change(self, listener: Callable[[LeaseRow], None]) -> None:
        """Hear of grants and releases."""
        ...

    def holds(self, key: LeaseKey, epoch: int, node: str) -> bool:
        """Whether ``node`` holds the live lease of ``key`` at exactly ``epoch``."""
        ...

    def remaining_s(self, row: LeaseRow) -> float:
        """Seconds until the key may go to another node."""
        ...


class RemoteLeases:
    """The rows of a stand-alone authority, asked for again and again; what it said counts from when it was asked.

    Args:
        bus: where the authority is asked.
        interval_s: how often; between two answers a lease is believed for what the authority said remained of it.
    """

    def __init__(self, bus: Bus, interval_s: float) -> None:
        self._bus, self._interval_s = bus, interval_s
        self._rows: dict[LeaseKey, LeaseRow] = {}
        self._until: dict[LeaseKey, float] = {}
        self._listeners: list[Callable[[LeaseRow], None]] = []
        self._wanted = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def rows(self) -> Mapping[LeaseKey, LeaseRow]:
        """The rows as they were told last."""
        return self._rows

    def on_change(self, listener: Callable[[LeaseRow], None]) -> None:
        """Hear of grants and releases."""
        self._listeners.append(listener)

    def holds(self, key: LeaseKey, epoch: int, node: str) -> bool:
        """Whether ``node`` holds the live lease of ``key`` at exactly ``epoch``, as far as it was told."""
        row = self._rows.get(key)
        return row is not None and (row.epoch, row.node) == (epoch, node) and self.remaining_s(row) > 0

    def remaining_s(self, row: LeaseRow) -> float:
        """Seconds until the key may go to another node, at the least."""
        return max(0.0, self._until.get(row.key, 0.0) - boottime())

    def start(self) -> None:
        """Ask from now on."""
        self._task = asyncio.create_task(self._ask_on(), name="leases")

    async def stop(self) -> None:
        """Ask no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def ask_soon(self) -> None:
        """Something changed on the site: ask at once."""
        self._wanted.set()

    async def _ask_on(self) -> None:
        while True:
            self._wanted.clear()
            asked_at = boottime()
            try:
                query = LeaseQuery(request_id=new_id(), workloads=())
                reply = await self._bus.request(AUTHORITY, query, LeaseStates, self._interval_s, attempts=1)
                self._take(reply, asked_at)
            except (RequestTimeout, TransportError) as error:
                log.warning("leases.authority_silent", reason=str(error))
            try:
                async with asyncio.timeout(self._interval_s):
                    await self._wanted.wait()
            except TimeoutError:
                continue

    def _take(self, reply: LeaseStates, asked_at: float) -> None:
        for state in reply.leases:
            known = self._rows.get(state.key)
            row = _row(state, known)
            self._until[state.key] = asked_at + state.remaining_s
            self._rows[state.key] = row
            if known is None or (known.epoch, known.released) != (row.epoch, row.released):
                for listener in self._listeners:
                    listener(row)


def _row(state: LeaseState, known: LeaseRow | None) -> LeaseRow:
    holder = state.node or (known.node if known is not None else "")
    return LeaseRow(
        key=state.key,
        epoch=state.epoch,
        node=holder,
        incarnation=state.incarnation,
        negotiation="",
        generation=state.generation,
        ttl_s=0.0,
        renewed_at_s=0.0,
        released=state.node is None,
    )
