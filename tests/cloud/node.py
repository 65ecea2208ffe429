"""A node for tests of the control plane: the real bidder on a real bus, its instances small servers in this process.

What is left out of a real agent: plugins, workers in processes of their own, and the host's fence.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

from fairlead_agent.bus.bus import Bus
from fairlead_agent.bus.stream_server import Answer, StreamServer
from fairlead_agent.bus.transport import Transport
from fairlead_agent.daemon.clocks import boottime, new_id, unix_time
from fairlead_agent.daemon.outgoing import Outgoing
from fairlead_agent.daemon.presence import Presence
from fairlead_agent.daemon.sensor import message
from fairlead_agent.daemon.ticker import Ticker
from fairlead_agent.graph import Edge, EdgeKind, Measured, Vertex, VertexKind
from fairlead_agent.graph.writer import ShardWriter
from fairlead_agent.messages import (
    Award,
    Call,
    Cancel,
    Envelope,
    Estimate,
    InstanceReport,
    InstanceState,
    LeaseKey,
    NodeInstances,
    NodeStatus,
    Offer,
    Quantiles,
    Refusal,
    ReleaseAck,
    RenewalReply,
    ReplyAck,
    StreamRequest,
)
from fairlead_agent.placement.bidder import Bidder
from fairlead_agent.placement.effects import Activate, Effect, Evaluate, Extend, Prepare, Send, Stop
from fairlead_agent.placement.resources import Resources
from fairlead_agent.placement.settings import PlacementSettings
from tests.cloud.backends import serving

GIB = 1 << 30
CAPACITY = Resources({"dram": 4 * GIB}, 4.0)
MakeApp = Callable[[str, LeaseKey, Callable[[], int]], Any]


def estimate(latency_s: float = 0.1, memory_bytes: int = GIB, throughput: float = 20.0) -> Estimate:
    return Estimate(
        latency_s=Quantiles.around(latency_s, 0.2),
        throughput_per_s=Quantiles.around(throughput, 0.2),
        throughput_unit="token",
        memory_bytes={"dram": memory_bytes},
        startup_s=Quantiles.around(1.0, 0.2),
        energy_j=Quantiles.around(latency_s * 3, 0.2),
        transfer_bytes=memory_bytes // 4,
        reason=f"{throughput:g} token/s from the memory bandwidth",
    )


class BenchNode:
    """One node. ``make_app(node, key, epoch)`` gives the ASGI application of an instance."""

    def __init__(
        self,
        name: str,
        transport: Transport,
        make_app: MakeApp,
        *,
        site: str = "test",
        ttl_s: float = 120.0,
        offers: tuple[Offer, ...] | None = None,
        openai: tuple[str, ...] = ("echo",),
        relay: bool = False,
        incarnation: int = 1,
    ) -> None:
        self.name, self.transport, self.relay = name, transport, relay
        self.offers = offers or (Offer(variant="cpu", estimate=estimate()),)
        self.bus = Bus(transport, site, name, incarnation, clock=unix_time, new_id=new_id)
        self.outgoing = Outgoing(self.bus)
        self.bidder = Bidder(name, incarnation, PlacementSettings(ttl_s=ttl_s), new_id)
        status = NodeStatus(
            node=name,
            incarnation=incarnation,
            online=True,
            profile="edge-box",
            plugins={"echo": "1.0"},
            openai_plugins=openai,
        )
        self.presence = Presence(transport, self.bus, self.bus.topics, status)
        self._make_app = make_app
        self._ticker = Ticker(self._tick)
        self._reports: dict[LeaseKey, InstanceReport] = {}
        self._servers: dict[tuple[LeaseKey, str], tuple[asyncio.Task[None], asyncio.Event]] = {}
        self._seq = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._streams = StreamServer(self.bus, self._answer)
        self.shard = ShardWriter(name, incarnation)

    async def start(self) -> None:
        self.outgoing.start()
        self.bus.watch(self.bus.topics.all_nodes("call"), Call, self._called)
        self.bus.on((Award, ReplyAck, Cancel, RenewalReply, ReleaseAck), self._heard)
        await self.presence.prepare()
        self.transport.on_connected(self._tell)
        self._ticker.start()
        await self.transport.start()

    async def stop(self) -> None:
        """Leave as a node that is switched off properly."""
        await self._end()
        await self.transport.close()

    async def vanish(self) -> None:
        """Leave without a word, as far as this process can: instances end, nothing is released."""
        await self._end()

    async def _end(self) -> None:
        self.presence.leaving = True
        await self._ticker.stop()
        await self._streams.close()
        for _, end in self._servers.values():
            end.set()
        await asyncio.gather(*(task for task, _ in self._servers.values()), return_exceptions=True)
        for task in self._tasks:
            task.cancel()
        await self.outgoing.stop()
        self.bus.close()

    def put(self, *parts: Vertex | Edge) -> None:
        """Say something about the resource graph."""
        self.shard.put(*parts)
        self.shard.flush()
        update = message(self.shard.snapshot())
        self.outgoing.post_to(self.bus.topics.graph(self.name), update, retain=True)

    def put_device(self, *, simulated: bool = False, gpu_bytes: int = 0, links: tuple[str, ...] = ()) -> None:
        """A device as a sensor describes it."""
        at = unix_time()

        def measured(**values: float) -> dict[str, Measured]:
            return {name: Measured(value, at) for name, value in values.items()}

        name = self.name
        parts: list[Vertex] = [
            Vertex(
                f"{name}/cpu0",
                VertexKind.PROCESSOR,
                measured(cores=4, cores_free=2.5, load=0.3),
                {"architecture": "aarch64", "model": "Cortex"},
                simulated=simulated,
            ),
            Vertex(
                f"{name}/dram", VertexKind.MEMORY, measured(total_bytes=4 * GIB, free_bytes=1.4 * GIB), {"tier": "dram"}
            ),
            Vertex(
                f"{name}/storage",
                VertexKind.STORAGE,
                measured(total_bytes=64 * GIB, free_bytes=40 * GIB, read_bytes_per_s=1.2e9),
                {"tier": "storage"},
            ),
        ]
        if gpu_bytes:
            model = {"architecture": "gpu", "model": "GPU"}
            parts.append(Vertex(f"{name}/gpu0", VertexKind.PROCESSOR, {}, model, simulated=simulated))
            room = measured(total_bytes=gpu_bytes, free_bytes=gpu_bytes * 0.75)
            parts.append(Vertex(f"{name}/gpu0-vram", VertexKind.MEMORY, room, {"tier": "vram"}, simulated=simulated))
        edges = [Edge(name, EdgeKind.CONTAINS, part.id) for part in parts]
        paths = [
            Edge(name, EdgeKind.LINK, peer, measured(bandwidth_bits_per_s=5e7, latency_s=0.02), simulated=True)
            for peer in links
        ]
        self.put(Vertex(name, VertexKind.NODE, {}, {"profile": "edge-box"}), *parts, *edges, *paths)

    # --- negotiation -----------------------------------------------------------------------------------------------

    async def _called(self, envelope: Envelope, _: object) -> None:
        self._run(self.bidder.message(envelope.source, envelope.data, boottime()))

    async def _heard(self, envelope: Envelope) -> None:
        self._run(self.bidder.message(envelope.source, envelope.data, boottime()))

    def _tick(self) -> float | None:
        self._run(self.bidder.tick(boottime()), wake=False)
        return self.bidder.next_wakeup()

    def _run(self, effects: list[Effect], *, wake: bool = True) -> None:
        for effect in effects:
            self._carry_out(effect)
        if wake:
            self._ticker.wake()

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case Send():
                self.outgoing.post(effect.to, effect.body)
            case Evaluate():
                self._run(self.bidder.evaluated(effect.call.negotiation, self.offers, CAPACITY, boottime()))
            case Prepare():
                self._spawn(self._prepare(effect))
            case Activate():
                self._change(effect.key, state=InstanceState.READY, epoch=effect.epoch)
            case Stop():
                self._spawn(self._stop(effect))
            case Extend():
                pass
            case _:
                raise TypeError(type(effect).__name__)

    async def _prepare(self, effect: Prepare) -> None:
        ready, end = asyncio.Event(), asyncio.Event()
        address: list[str] = []

        async def serve() -> None:
            app = self._make_app(self.name, effect.key, lambda: self._reports[effect.key].epoch)
            async with serving(app) as url:
                address.append(url)
                ready.set()
                await end.wait()

        self._servers[(effect.key, effect.negotiation)] = asyncio.create_task(serve()), end
        await ready.wait()
        self._reports[effect.key] = InstanceReport(
            key=effect.key,
            epoch=0,
            variant=effect.variant,
            state=InstanceState.STANDBY,
            generation=effect.generation,
            address=None if self.relay else address[0],
            relay=self.relay,
            memory_bytes=GIB // 2,
            limit_bytes=GIB,
            limiter="watchdog",
            throughput_per_s=18.5,
        )
        self._publish()

    async def _stop(self, effect: Stop) -> None:
        task, end = self._servers.pop((effect.key, effect.negotiation), (None, None))
        if task is not None and end is not None:
            end.set()
            with contextlib.suppress(Exception):
                await task
        self._reports.pop(effect.key, None)
        self._publish()
        self._run(self.bidder.stopped(effect.key, effect.negotiation, boottime()))

    def _change(self, key: LeaseKey, **changes: object) -> None:
        if key in self._reports:
            self._reports[key] = self._reports[key].model_copy(update=changes)
            self._publish()

    def _publish(self) -> None:
        self._seq += 1
        report = NodeInstances(
            node=self.name, incarnation=self.bus.incarnation, seq=self._seq, instances=tuple(self._reports.values())
        )
        self.outgoing.post_to(self.bus.topics.instances(self.name), report, retain=True)

    async def _tell(self) -> None:
        self._publish()

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, request: StreamRequest) -> Answer:
        async def body() -> Any:
            yield f"{self.name} {request.path}".encode()

        if request.target == "node" and self.name == "silent":
            raise ConnectionResetError("no log")
        return 200, (("content-type", "text/plain"), ("fairlead-epoch", str(request.epoch))), body()


def refusing(variant: str, reason: str) -> Offer:
    return Offer(variant=variant, refusal=Refusal(reason=reason))
