"""Instances on this node: carries out what the bidder decides, and reports what becomes of it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path

import structlog

from fairlead_agent.bus.bus import Bus
from fairlead_agent.daemon.outgoing import Outgoing
from fairlead_agent.daemon.sensor import Sensor
from fairlead_agent.messages import Estimate, InstanceReport, InstanceState, LeaseKey, NodeInstances, Refusal
from fairlead_agent.placement.effects import Activate, Extend, Prepare, Stop
from fairlead_agent.plugin.budget import Budget
from fairlead_agent.plugin.registry import PluginUnavailable, Registry
from fairlead_agent.runtime.instance import Instance, InstanceError
from fairlead_agent.runtime.protocol import ControlError, ControlLostError
from fairlead_agent.runtime.spec import InstanceSpec
from fairlead_agent.runtime.supervisor import Supervisor

log = structlog.get_logger()

Failed = Callable[[LeaseKey, str, str], None]
Stopped = Callable[[LeaseKey, str], None]

REMEMBERED_ESTIMATES = 1024

#: Memory and measurements are looked at this often, and told where they have changed by more than this share.
REFRESH_S = 2.0
SIGNIFICANT = 0.1

_TROUBLE = (InstanceError, ControlError, ControlLostError, OSError, TimeoutError)


class Crew:
    """Starts, activates and stops instances through the supervisor; one step after the other for each instance."""

    def __init__(
        self,
        bus: Bus,
        outgoing: Outgoing,
        supervisor: Supervisor,
        registry: Registry,
        sensor: Sensor,
        cache_dir: Path,
        *,
        tcp_host: str | None,
        default_ttl_s: float,
    ) -> None:
        self._bus, self._outgoing, self._supervisor = bus, outgoing, supervisor
        self._registry, self._sensor = registry, sensor
        self._cache_dir, self._tcp_host, self._default_ttl_s = cache_dir, tcp_host, default_ttl_s
        self._failed: Failed = lambda key, negotiation, why: None
        self._stopped: Stopped = lambda key, negotiation: None
        self._queues: dict[tuple[LeaseKey, str], asyncio.Queue[Callable[[], Awaitable[None]]]] = {}
        self._workers: dict[tuple[LeaseKey, str], asyncio.Task[None]] = {}
        self._seq = 0
        self._told: tuple[InstanceReport, ...] = ()
        self._raw: dict[tuple[str, str], Estimate] = {}
        self._dirty = asyncio.Event()
        self._publisher: asyncio.Task[None] | None = None
        supervisor.subscribe(self._changed)

    def on_failed(self, listener: Failed) -> None:
        """Hear of instances that could not be prepared."""
        self._failed = listener

    def on_stopped(self, listener: Stopped) -> None:
        """Hear of instances of which nothing runs any more."""
        self._stopped = listener

    def start(self) -> None:
        """Publish reports from now on."""
        self._publisher = asyncio.get_running_loop().create_task(self._publish(), name="instances")
        self._dirty.set()

    async def stop(self) -> None:
        """Carry out nothing more. Workers are left to the supervisor."""
        tasks = [*self._workers.values(), *([self._publisher] if self._publisher else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def carry_out(self, effect: Prepare | Activate | Extend | Stop) -> None:
        """Queue one effect behind the earlier ones of its instance."""
        match effect:
            case Prepare():
                self._enqueue(effect.key, effect.negotiation, lambda: self._prepare(effect))
            case Activate():
                self._enqueue(effect.key, effect.negotiation, lambda: self._activate(effect))
            case Extend():
                self._extend(effect)
            case Stop():
                self._enqueue(effect.key, effect.negotiation, lambda: self._stop(effect))

    def remember(self, negotiation: str, estimates: list[tuple[str, Estimate | Refusal]]) -> None:
        """Keep what the plugin estimated, before any correction: that is what measurements are compared with."""
        for variant, found in estimates:
            if isinstance(found, Estimate):
                self._raw[(negotiation, variant)] = found
        while len(self._raw) > REMEMBERED_ESTIMATES:
            del self._raw[next(iter(self._raw))]

    def reports(self) -> tuple[InstanceReport, ...]:
        """All instances of this node."""
        return tuple(report.model_copy(update={"relay": True}) for report in self._supervisor.reports())

    def republish(self) -> None:
        """Say again what runs here, for instance after a reconnect."""
        self._dirty.set()

    # --- steps of one instance ---------------------------------------------------------------------------------

    async def _prepare(self, effect: Prepare) -> None:
        try:
            instance = await self._supervisor.start(await self._spec(effect))
        except (*_TROUBLE, PluginUnavailable, ValueError) as error:
            self._failed(effect.key, effect.negotiation, str(error))
            return
        self._watch(instance)

    def _watch(self, instance: Instance) -> None:
        task = asyncio.get_running_loop().create_task(self._follow(instance))
        self._workers[(instance.key, f"{instance.spec.negotiation} end")] = task

    def adopt(self, instance: Instance) -> None:
        """Look after an instance that an earlier incarnation of this agent started."""
        self._watch(instance)

    async def _follow(self, instance: Instance) -> None:
        """Wait for the end of an instance and say so: it may end by itself."""
        while not instance.ended:
            with contextlib.suppress(TimeoutError):
                await instance.until(InstanceState.STOPPED, InstanceState.QUARANTINED, timeout_s=3600.0)
        key, negotiation = instance.key, instance.spec.negotiation
        self._workers.pop((key, f"{negotiation} end"), None)
        if instance.state is InstanceState.QUARANTINED and instance.epoch == 0:
            self._failed(key, negotiation, instance.reason)
        else:
            self._stopped(key, negotiation)
        if instance.state is InstanceState.STOPPED:
            with contextlib.suppress(*_TROUBLE):
                await self._supervisor.forget(key, negotiation)
        self._dirty.set()

    async def _activate(self, effect: Activate) -> None:
        try:
            await self._supervisor.activate(effect.key, effect.epoch, effect.expires_at, effect.negotiation)
        except _TROUBLE as error:
            log.warning("crew.not_activated", key=str(effect.key), epoch=effect.epoch, reason=str(error))

    def _extend(self, effect: Extend) -> None:
        # Renewals must not wait behind a slow step, so they have a lane of their own.
        self._enqueue(effect.key, f"epoch {effect.epoch}", lambda: self._do_extend(effect))

    async def _do_extend(self, effect: Extend) -> None:
        holder = self._supervisor.holder(effect.key, effect.epoch)
        if holder is None:
            return
        with contextlib.suppress(*_TROUBLE):
            await holder.extend(effect.epoch, effect.expires_at)

    async def _stop(self, effect: Stop) -> None:
        try:
            if effect.drain:
                await self._supervisor.drain(effect.key, effect.deadline_s, effect.negotiation)
            await self._supervisor.stop(effect.key, effect.reason, effect.negotiation)
        except InstanceError:
            # There is none: what was to be stopped never started, or is gone.
            self._stopped(effect.key, effect.negotiation)
        except _TROUBLE as error:
            log.warning("crew.not_stopped", key=str(effect.key), reason=str(error))

    async def _spec(self, effect: Prepare) -> InstanceSpec:
        plugin = self._registry.worker(effect.workload.plugin)
        config = await self._registry.validate(effect.workload)
        estimate = effect.estimate
        return InstanceSpec(
            key=effect.key,
            negotiation=effect.negotiation,
            variant=effect.variant,
            generation=effect.generation,
            node=self._bus.node,
            worker=plugin.target,
            python=plugin.python,
            sys_path=plugin.sys_path,
            config=config,
            budget=Budget(memory_bytes=dict(estimate.memory_bytes), cores=estimate.cores or None),
            cache_dir=self._cache_dir,
            facts=self._sensor.facts(None),
            tcp_host=self._tcp_host,
            simulated=False,
            estimate=estimate,
            raw_estimate=self._raw.get((effect.negotiation, effect.variant)),
            plugin=effect.workload.plugin,
            ttl_s=effect.workload.placement.ttl_s or self._default_ttl_s,
        )

    # --- reports -----------------------------------------------------------------------------------------------

    def _changed(self, report: InstanceReport) -> None:
        self._dirty.set()

    async def _publish(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(REFRESH_S):
                    await self._dirty.wait()
            reports = self.reports()
            if not self._dirty.is_set() and not news(self._told, reports):
                continue
            self._dirty.clear()
            self._seq += 1
            self._told = reports
            body = NodeInstances(
                node=self._bus.node, incarnation=self._bus.incarnation, seq=self._seq, instances=reports
            )
            self._outgoing.post_to(self._bus.topics.instances(self._bus.node), body, retain=True)
            self._sensor.instances(reports)
            # Several changes at once make one message.
            await asyncio.sleep(0.01)

    # --- queues ------------------------------------------------------------------------------------------------

    def _enqueue(self, key: LeaseKey, lane: str, step: Callable[[], Awaitable[None]]) -> None:
        name = (key, lane)
        queue = self._queues.setdefault(name, asyncio.Queue())
        queue.put_nowait(step)
        if name not in self._workers:
            self._workers[name] = asyncio.get_running_loop().create_task(self._work(name, queue))

    async def _work(self, name: tuple[LeaseKey, str], queue: asyncio.Queue[Callable[[], Awaitable[None]]]) -> None:
        while not queue.empty():
            step = queue.get_nowait()
            try:
                await step()
            except Exception:
                # One instance's trouble is its own.
                log.exception("crew.step_failed", key=str(name[0]))
        self._workers.pop(name, None)
        self._queues.pop(name, None)


def news(told: tuple[InstanceReport, ...], reports: tuple[InstanceReport, ...]) -> bool:
    """Whether what the instances use or measure has changed enough to be told again."""
    return len(told) != len(reports) or any(_differs(old, new) for old, new in zip(told, reports, strict=True))


def _differs(old: InstanceReport, new: InstanceReport) -> bool:
    pairs = (
        (old.memory_bytes, new.memory_bytes),
        (old.limit_bytes, new.limit_bytes),
        (old.throughput_per_s, new.throughput_per_s),
        (old.latency_p90_s, new.latency_p90_s),
    )
    return any(_moved(before, after) for before, after in pairs)


def _moved(before: float | None, after: float | None) -> bool:
    if before is None or after is None:
        return before is not after
    return abs(after - before) > SIGNIFICANT * max(abs(before), abs(after))
