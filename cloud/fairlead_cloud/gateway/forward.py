"""One client request: find a holder, ask it, and ask another where it fails before anything was passed on."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

from fairlead_agent.messages import LeaseKey, NodeInstances
from fairlead_cloud.gateway.answer import EPOCH_HEADER, Answer, Ask, InstanceFailed
from fairlead_cloud.gateway.target import Target, pick, ready_targets

#: How long a request waits for a holder while a workload is being placed again.
DEFAULT_WAIT_S = 20.0

#: Answers larger than this are passed on while they are read.
BUFFER_BYTES = 8 << 20


class NobodyServes(RuntimeError):
    """No instance of the workload answered within the time; the text says what was tried."""


class Site(Protocol):
    """What the gateway must know of the site."""

    def node_instances(self) -> list[NodeInstances]:
        """What every online node runs."""
        ...

    def holds(self, key: LeaseKey, epoch: int, node: str) -> bool:
        """Whether ``node`` holds the live lease of ``key`` at exactly ``epoch``."""
        ...

    async def changed(self, timeout_s: float) -> bool:
        """Wait until instances or leases change; False at the time-out."""
        ...


@dataclass(slots=True)
class Forwarded:
    """An answer that was accepted from ``target``: what was read already, and the rest."""

    target: Target
    answer: Answer
    first: bytes
    rest: AsyncIterator[bytes] | None
    attempts: int
    failures: list[str] = field(default_factory=list[str])


class Forwarder:
    """Forwards requests to the holders of a workload's leases.

    An answer is accepted only from the node that holds the key's live lease at the epoch it answers with, checked
    again before every piece that is passed on: a holder that was fenced meanwhile is never heard.
    """

    def __init__(
        self, site: Site, send: Callable[[Target, Ask], Awaitable[Answer]], wait_s: float = DEFAULT_WAIT_S
    ) -> None:
        self._site, self._send, self._wait_s = site, send, wait_s
        self._in_flight: Counter[Target] = Counter()

    async def forward(self, workload: str, ask: Ask) -> Forwarded:
        """Ask holders of ``workload`` in turn until one answers.

        Raises:
            NobodyServes: none did within the waiting time.
        """
        deadline = time.monotonic() + self._wait_s
        tried: set[Target] = set()
        failures: list[str] = []
        while True:
            targets = ready_targets(workload, self._site.node_instances(), self._site.holds)
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

    async def _wait(self, deadline: float, workload: str, failures: list[str]) -> None:
        left = deadline - time.monotonic()
        if left <= 0:
            said = "; ".join(failures[-3:]) or "no replica is ready"
            raise NobodyServes(f"workload {workload!r}: nobody answered within {self._wait_s:g} s ({said})")
        # A holder that failed may come back without any change that is seen here, so look again now and then.
        await self._site.changed(min(left, 0.25))

    async def _ask(self, target: Target, ask: Ask, failures: list[str]) -> Forwarded:
        self._in_flight[target] += 1
        kept = False
        try:
            answer = await self._send(target, ask)
            try:
                self._check(target, answer)
                first, more = await self._first(target, answer)
            except BaseException:
                await asyncio.shield(answer.close())
                raise
            kept = more
            rest = self._rest(target, answer) if more else None
            return Forwarded(target, answer, first, rest, len(failures) + 1, list(failures))
        finally:
            if not kept:
                self._done(target)

    def _check(self, target: Target, answer: Answer) -> None:
        said = answer.header(EPOCH_HEADER)
        if said != str(target.epoch):
            raise InstanceFailed(f"answered for epoch {said}")
        if answer.header("fairlead-refused"):
            raise InstanceFailed(f"refused with {answer.status}: {answer.header('fairlead-refused')}")

    async def _first(self, target: Target, answer: Answer) -> tuple[bytes, bool]:
        """Read the first piece of a stream, or the whole of anything else up to a bound."""
        read = bytearray()
        async for chunk in answer.chunks:
            read += chunk
            if (read and answer.streams) or len(read) > BUFFER_BYTES:
                self._fence(target)
                return bytes(read), True
        self._fence(target)
        return bytes(read), False

    async def _rest(self, target: Target, answer: Answer) -> AsyncIterator[bytes]:
        try:
            async for chunk in answer.chunks:
                self._fence(target)
                yield chunk
        finally:
            self._done(target)
            await asyncio.shield(answer.close())

    def _fence(self, target: Target) -> None:
        if not self._site.holds(target.key, target.epoch, target.node):
            raise InstanceFailed(f"lost its lease at epoch {target.epoch} while it answered")

    def _done(self, target: Target) -> None:
        self._in_flight[target] -= 1
        if self._in_flight[target] <= 0:
            del self._in_flight[target]
