"""One client request: find a holder, ask it, and ask another where it fails before anything was passed on."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from fairlead_agent.messages import InstanceReport, LeaseKey
from fairlead_cloud.gateway.answer import Ask, InstanceFailed
from fairlead_cloud.gateway.exchange import Exchange, Send
from fairlead_cloud.gateway.target import Target, pick, ready_targets

#: How long a request waits for a holder while a workload is being placed again.
DEFAULT_WAIT_S = 20.0

#: A lease that runs out makes no event; holders with requests in flight are looked at this often.
LOOK_S = 0.25


class NobodyServes(RuntimeError):
    """No instance of the workload answered within the time; the text says what was tried."""


class LostMidway(RuntimeError):
    """The only instance that was asked failed, and asking another could do twice what was wanted once."""


class Site(Protocol):
    """What the gateway must know of the site."""

    def instances_of(self, workload: str) -> Iterable[tuple[str, InstanceReport]]:
        """The workload's instances by the online nodes' own word, each with its node."""
        ...

    def holds(self, key: LeaseKey, epoch: int, node: str) -> bool:
        """Whether ``node`` holds the live lease of ``key`` at exactly ``epoch``."""
        ...

    async def changed(self, timeout_s: float) -> bool:
        """Wait until instances or leases change; False at the time-out."""
        ...


@dataclass(slots=True)
class Forwarded:
    """An answer that was accepted: what was read already; ``more`` through ``exchange``, which wants to be closed."""

    exchange: Exchange
    first: bytes
    more: bool
    failures: list[str] = field(default_factory=list[str])

    @property
    def attempts(self) -> int:
        """How many instances were asked."""
        return len(self.failures) + 1


class Forwarder:
    """Forwards requests to the holders of a workload's leases.

    An answer is accepted only from the node that holds the key's live lease at the epoch it answers with, checked
    again before every piece that is passed on: a holder that was fenced meanwhile is never heard.

    Args:
        site: who serves, and who holds which lease.
        send: carries a request to an instance.
        wait_s: how long a request waits for a holder.
        on_failure: hears the workload of every attempt that failed.
    """

    def __init__(
        self,
        site: Site,
        send: Send,
        wait_s: float = DEFAULT_WAIT_S,
        on_failure: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._site, self._send, self._wait_s, self._on_failure = site, send, wait_s, on_failure
        self._in_flight: Counter[Target] = Counter()
        self._exchanges: set[Exchange] = set()
        self._guard: asyncio.Task[None] | None = None

    @property
    def in_flight(self) -> int:
        """Requests at holders now."""
        return len(self._exchanges)

    async def forward(self, workload: str, ask: Ask) -> Forwarded:
        """Ask holders of ``workload`` in turn until one answers. Close the exchange of what this returns.

        Raises:
            NobodyServes: none did within the waiting time.
            LostMidway: one failed that may have done what was asked, and the request is not repeatable.
        """
        deadline = time.monotonic() + self._wait_s
        tried: set[Target] = set()
        failures: list[str] = []
        while True:
            targets = ready_targets(self._site.instances_of(workload), self._site.holds)
            target = pick(targets, self._in_flight, tried)
            if target is None:
                await self._wait(deadline, workload, failures)
                tried.clear()
                continue
            try:
                return await self._ask(target, ask, failures)
            except InstanceFailed as error:
                failures.append(f"{target.key} on {target.node} (epoch {target.epoch}): {error}")
                tried.add(target)
                self._on_failure(workload)
                if not (ask.repeatable or error.untouched):
                    raise LostMidway(f"workload {workload!r}: {failures[-1]}") from None

    async def _wait(self, deadline: float, workload: str, failures: list[str]) -> None:
        left = deadline - time.monotonic()
        if left <= 0:
            said = "; ".join(failures[-3:]) or "no replica is ready"
            raise NobodyServes(f"workload {workload!r}: nobody answered within {self._wait_s:g} s ({said})")
        # A holder that failed may come back without any change that is seen here, so look again now and then.
        await self._site.changed(min(left, LOOK_S))

    async def _ask(self, target: Target, ask: Ask, failures: list[str]) -> Forwarded:
        exchange = self._open(target)
        try:
            await exchange.ask(self._send, ask)
            first, more = await exchange.first()
        except BaseException:
            await exchange.close()
            raise
        if not more:
            await exchange.close()
        return Forwarded(exchange, first, more, failures)

    # --- what is in flight -----------------------------------------------------------------------------------------

    def _open(self, target: Target) -> Exchange:
        exchange = Exchange(target, self._held, self._done)
        self._in_flight[target] += 1
        self._exchanges.add(exchange)
        if self._guard is None or self._guard.done():
            self._guard = asyncio.create_task(self._watch(), name="gateway guard")
        return exchange

    def _held(self, target: Target) -> bool:
        return self._site.holds(target.key, target.epoch, target.node)

    def _done(self, exchange: Exchange) -> None:
        self._exchanges.discard(exchange)
        self._in_flight[exchange.target] -= 1
        if self._in_flight[exchange.target] <= 0:
            del self._in_flight[exchange.target]

    async def _watch(self) -> None:
        while self._exchanges:
            await self._site.changed(LOOK_S)
            for exchange in list(self._exchanges):
                exchange.cut_if_lost()

    async def close(self) -> None:
        """Watch no more."""
        if self._guard is not None:
            self._guard.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._guard
