"""The I/O around a bidder: hears stewards and the authority, asks plugins, and has instances started and stopped."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import structlog

from fairlead_agent.bus.bus import Bus
from fairlead_agent.bus.transport import Received
from fairlead_agent.daemon.access_link import over_access_link
from fairlead_agent.daemon.clocks import boottime
from fairlead_agent.daemon.crew import Crew
from fairlead_agent.daemon.desired_book import DesiredBook
from fairlead_agent.daemon.outgoing import Outgoing
from fairlead_agent.daemon.sensor import Sensor
from fairlead_agent.daemon.ticker import Ticker
from fairlead_agent.messages import (
    Award,
    Body,
    Call,
    Cancel,
    Envelope,
    Estimate,
    Offer,
    Refusal,
    Refuse,
    ReleaseAck,
    RenewalReply,
    ReplyAck,
)
from fairlead_agent.placement.bidder import Bidder
from fairlead_agent.placement.effects import Activate, Effect, Evaluate, Extend, Prepare, Send, Stop
from fairlead_agent.plugin.facts import NodeFacts
from fairlead_agent.plugin.registry import ANY_VARIANT, Registry

log = structlog.get_logger()

HEARD: tuple[type[Body], ...] = (Award, ReplyAck, Cancel, RenewalReply, ReleaseAck)

#: A call may overtake the desired state that it is about by this much.
DESIRED_WAIT_S = 0.3


class Participation:
    """Runs a :class:`Bidder` on a bus. ``crew`` carries out what concerns instances."""

    def __init__(
        self,
        bus: Bus,
        outgoing: Outgoing,
        bidder: Bidder,
        crew: Crew,
        registry: Registry,
        sensor: Sensor,
        book: DesiredBook,
    ) -> None:
        self._bus, self._outgoing, self._bidder = bus, outgoing, bidder
        self._crew, self._registry, self._sensor, self._book = crew, registry, sensor, book
        self._ticker = Ticker(self._tick)
        self._tasks: set[asyncio.Task[None]] = set()
        crew.on_failed(lambda key, negotiation, why: self._run(bidder.failed(key, negotiation, why, boottime())))
        crew.on_stopped(lambda key, negotiation: self._run(bidder.stopped(key, negotiation, boottime())))

    def start(self) -> None:
        """Take part in negotiations from now on; adopted instances are with the bidder already."""
        self._bus.watch(self._bus.topics.all_nodes("call"), Call, self._called)
        for body_type in HEARD:
            self._bus.on(body_type, self._heard)
        self._ticker.start()

    async def stop(self) -> None:
        """Take part no more."""
        await self._ticker.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def drain(self, reason: str) -> None:
        """Finish what runs here and take nothing new."""
        self._run(self._bidder.drain_all(reason, boottime()))

    async def _called(self, envelope: Envelope, _: Received) -> None:
        if isinstance(envelope.data, Call):
            self._run(self._bidder.message(envelope.source, envelope.data, boottime()))

    async def _heard(self, envelope: Envelope) -> None:
        body = envelope.data
        if isinstance(body, Award) and (objection := self._book.objection(body.workload, body.generation)):
            refuse = Refuse(negotiation=body.negotiation, key=body.key, node=self._bus.node, reason=objection)
            self._outgoing.post(envelope.source, refuse)
            return
        self._run(self._bidder.message(envelope.source, body, boottime()))

    def _tick(self) -> float | None:
        self._run(self._bidder.tick(boottime()), wake=False)
        return self._bidder.next_wakeup()

    def _run(self, effects: list[Effect], *, wake: bool = True) -> None:
        for effect in effects:
            self._carry_out(effect)
        if wake:
            self._ticker.wake()

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case Send():
                self._outgoing.post(effect.to, effect.body)
            case Evaluate():
                self._spawn(self._evaluate(effect))
            case Prepare() | Activate() | Extend() | Stop():
                self._crew.carry_out(effect)
            case _:
                log.error("participation.unknown_effect", effect=type(effect).__name__)

    # --- evaluation --------------------------------------------------------------------------------------------

    async def _evaluate(self, effect: Evaluate) -> None:
        call = effect.call
        await self._await_desired(call)
        self._sensor.refresh()
        objection = self._book.objection(call.workload, call.generation) or self._sensor.device.refusal()
        claimed = self._bidder.ledger.claimed(boottime())
        capacity = self._sensor.capacity(claimed)
        facts = self._sensor.facts(self._bidder.ledger.free(capacity, boottime()).plus(effect.reusable))
        if objection:
            offers = [Offer(variant=ANY_VARIANT, refusal=Refusal(reason=objection))]
        else:
            estimates = await self._registry.estimate(call.workload, facts)
            self._crew.remember(call.negotiation, estimates)
            offers = [self._offer(call.workload.plugin, variant, found, facts) for variant, found in estimates]
        self._run(self._bidder.evaluated(call.negotiation, offers, capacity, boottime()))

    def _offer(self, plugin: str, variant: str, found: Estimate | Refusal, facts: NodeFacts) -> Offer:
        if isinstance(found, Refusal):
            return Offer(variant=variant, refusal=found)
        # What was learnt here corrects what happens on the node; the link comes on top of that.
        learnt = self._bidder.calibration
        estimate = over_access_link(learnt.apply(plugin, variant, found), facts)
        simulated = rests_on_simulation(estimate, facts)
        return Offer(
            variant=variant, estimate=estimate, simulated=simulated, calibration=learnt.factor(plugin, variant)
        )

    async def _await_desired(self, call: Call) -> None:
        deadline = boottime() + min(DESIRED_WAIT_S, call.deadline_s / 2)
        while not self._book.knows(call.workload.name, call.generation) and boottime() < deadline:
            await asyncio.sleep(0.02)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("participation.task_failed", exc_info=task.exception())


def rests_on_simulation(estimate: Estimate, facts: NodeFacts) -> bool:
    """Whether an estimate uses a memory tier or needs a kind of hardware that the node only pretends to have."""
    tiers = [facts.tier(name) for name, size in estimate.memory_bytes.items() if size > 0]
    if any(tier is not None and tier.simulated for tier in tiers):
        return True
    return "gpu" in estimate.needs_real and not any(not gpu.simulated for gpu in facts.gpus)
