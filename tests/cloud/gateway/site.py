"""A site in a few lines: instances, leases, and a way to change them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from fairlead_agent.bus.bus import Bus
from fairlead_agent.bus.memory import MemoryBroker
from fairlead_agent.bus.streams import StreamClient
from fairlead_agent.messages import InstanceReport, InstanceState, LeaseKey
from fairlead_cloud.gateway.answer import Answer, Ask
from fairlead_cloud.gateway.forward import Forwarded, Forwarder
from fairlead_cloud.gateway.sender import Sender
from fairlead_cloud.gateway.target import Target
from fairlead_cloud.pulse import Pulse
from tests.patience import patient


class TestSite:
    """What :class:`Forwarder` knows of a site."""

    __test__ = False

    def __init__(self) -> None:
        self.instances: dict[tuple[str, int], tuple[str, InstanceReport]] = {}
        self.holders: dict[tuple[str, int], tuple[int, str]] = {}
        self._pulse = Pulse()

    def put(self, node: str, address: str | None, *, epoch: int = 1, replica: int = 0, held: bool = True) -> LeaseKey:
        key = LeaseKey(site="test", workload="chat", replica=replica)
        report = InstanceReport(
            key=key, epoch=epoch, variant="v", state=InstanceState.READY, address=address, relay=address is None
        )
        self.instances[(node, replica)] = (node, report)
        if held:
            self.grant(key, epoch, node)
        self._pulse.fire()
        return key

    def grant(self, key: LeaseKey, epoch: int, node: str) -> None:
        self.holders[(key.workload, key.replica)] = (epoch, node)
        self._pulse.fire()

    def instances_of(self, workload: str) -> Iterable[tuple[str, InstanceReport]]:
        return [(node, report) for node, report in self.instances.values() if report.key.workload == workload]

    def holds(self, key: LeaseKey, epoch: int, node: str) -> bool:
        return self.holders.get((key.workload, key.replica)) == (epoch, node)

    async def changed(self, timeout_s: float) -> bool:
        return await self._pulse.wait(timeout_s)


class Gateway:
    """A forwarder over real connections; with ``broker`` also over MQTT's stand-in in memory.

    Where a test does not wait for a request to be given up, ``wait_s`` is longer than a machine stands still.
    """

    def __init__(self, site: TestSite, wait_s: float | None = None, broker: MemoryBroker | None = None) -> None:
        self._transport = (broker or MemoryBroker()).transport("gateway")
        self._bus = Bus(self._transport, "test", "gateway", 1, clock=lambda: 0.0, new_id=_ids())
        self.sender = Sender(StreamClient(self._bus, _ids()))
        self.failed: list[str] = []
        limit = patient(60) if wait_s is None else wait_s
        self.forwarder = Forwarder(site, self.sender.open, limit, self.failed.append)

    async def __aenter__(self) -> Gateway:
        await self._transport.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.forwarder.close()
        await self.sender.close()
        self._bus.close()
        await self._transport.close()

    async def ask(self, method: str = "POST", *, repeatable: bool = True, body: bytes = b"question") -> Forwarded:
        async with asyncio.timeout(patient(120)):
            return await self.forwarder.forward("chat", Ask(method, "/path?q=1", (), body, repeatable))

    async def text(self, **how: object) -> bytes:
        """The whole answer."""
        forwarded = await self.ask(**how)  # type: ignore[arg-type]
        return forwarded.first + await rest(forwarded)


async def rest(forwarded: Forwarded) -> bytes:
    """What follows the first piece."""
    read = b""
    try:
        async with asyncio.timeout(patient(120)):
            while forwarded.more and (chunk := await forwarded.exchange.next()) is not None:
                read += chunk
    finally:
        await forwarded.exchange.close()
    return read


def _ids() -> Callable[[], str]:
    numbers = iter(range(1_000_000))
    return lambda: f"id-{next(numbers)}"


Opener = Callable[[Target, Ask], Awaitable[Answer]]
