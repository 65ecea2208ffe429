"""The I/O around the budget keeper: pressure shrinks instances instead of killing them."""

from __future__ import annotations

import asyncio

import structlog

from fairlead_agent.daemon.sensor import Sensor
from fairlead_agent.messages import InstanceState
from fairlead_agent.placement.resources import Resources
from fairlead_agent.plugin.budget import Budget, BudgetReply
from fairlead_agent.runtime.budget_keeper import Share, targets
from fairlead_agent.runtime.instance import Instance, InstanceError
from fairlead_agent.runtime.spec import InstanceName
from fairlead_agent.runtime.supervisor import Supervisor

log = structlog.get_logger()

INTERVAL_S = 2.0
#: How long a plugin may take to fit into a smaller budget before the limit falls anyway.
DEADLINE_S = 5.0
TIER = "dram"


class Keeping:
    """Compares what instances may use with what the device has, and moves their limits."""

    def __init__(self, supervisor: Supervisor, sensor: Sensor, interval_s: float = INTERVAL_S) -> None:
        self._supervisor, self._sensor, self._interval_s = supervisor, sensor, interval_s
        self._replies: dict[InstanceName, BudgetReply] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Keep budgets from now on."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="budgets")

    async def stop(self) -> None:
        """Move no limit any more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def keep(self) -> dict[InstanceName, BudgetReply]:
        """Look once; returns what the instances answered whose limits were moved."""
        instances = {each.spec.name: each for each in self._supervisor.instances() if not each.ended}
        shares = [share for each in instances.values() if (share := self._share(each)) is not None]
        if not shares:
            return {}
        # What the workers use is theirs: it counts as capacity, though the kernel does not call it available.
        used = sum(each.report().memory_bytes or 0 for each in instances.values())
        capacity = self._sensor.capacity(Resources({TIER: used})).tier(TIER)
        moved = {name: await self._move(instances[name], size) for name, size in targets(shares, capacity).items()}
        return {name: reply for name, reply in moved.items() if reply is not None}

    def _share(self, instance: Instance) -> Share[InstanceName] | None:
        estimate, limit = instance.spec.estimate, instance.spec.budget.memory_bytes.get(TIER)
        if estimate is None or limit is None or instance.state is not InstanceState.READY:
            return None
        promised = estimate.memory_bytes.get(TIER, limit)
        known = self._replies.get(instance.spec.name)
        minimum = known.minimum.get(TIER) if known is not None else None
        return Share(
            name=instance.spec.name,
            limit_bytes=limit,
            minimum_bytes=minimum or estimate.memory_minimum_bytes.get(TIER, promised),
            promised_bytes=promised,
            marginal_cost=known.marginal_cost.get(TIER, 0.0) if known is not None else 0.0,
        )

    async def _move(self, instance: Instance, size: int) -> BudgetReply | None:
        memory = {**instance.spec.budget.memory_bytes, TIER: size}
        budget: Budget = instance.spec.budget.model_copy(update={"memory_bytes": memory})
        try:
            reply = await instance.reconfigure(budget, DEADLINE_S)
        except InstanceError as error:
            log.warning("budget.not_moved", instance=str(instance.key), reason=str(error))
            return None
        self._replies[instance.spec.name] = reply
        log.info("budget.moved", instance=str(instance.key), bytes=size, accepted=reply.accepted, reason=reply.reason)
        return reply

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._interval_s)
            if not self._supervisor.instances():
                continue
            try:
                self._sensor.refresh()
                await self.keep()
            except Exception:
                # A budget that cannot be moved now is looked at again; the enforced limits stand meanwhile.
                log.exception("budget.step_failed")
