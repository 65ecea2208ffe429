"""How an instance stands: what its metrics, its facts and its answers to the agent have in common."""

from __future__ import annotations

from dataclasses import dataclass

from .engine.engine import Engine
from .group.membership import Membership


@dataclass(frozen=True, slots=True)
class Standing:
    """One instance at one time.

    Attributes:
        running, waiting: requests.
        used_pages, capacity_pages: of this instance, for keys and values of requests of anyone in its group.
        kv_capacity_bytes: of the pages for keys and values now, borrowed ones included.
        kv_own_bytes: the same if no layer were given away.
        dropped_layers: layers that were given away.
        group: instances that hold one copy of the layers together.
        plan_epoch: of the plan in force; 0: none yet.
        drops, restores: how often layers were given away, and came back.
        preemptions: since the start.
        memory_bytes: of the budget, that the engine holds.
    """

    running: int
    waiting: int
    used_pages: int
    capacity_pages: int
    kv_capacity_bytes: int
    kv_own_bytes: int
    dropped_layers: int
    group: int
    plan_epoch: int
    drops: int
    restores: int
    preemptions: int
    memory_bytes: int

    @property
    def usage(self) -> float:
        """Share of the pages for keys and values in use, 0 to 1."""
        return self.used_pages / self.capacity_pages if self.capacity_pages else 0.0

    @property
    def marginal_cost(self) -> float:
        """Share of the throughput that the next MiB is worth now: nothing while as much is free."""
        page_bytes = self.kv_capacity_bytes / max(1, self.capacity_pages)
        used = self.used_pages * page_bytes
        free = self.kv_capacity_bytes - used
        return min(1.0, 2**20 / used) if used and (free < 2**20 or self.waiting) else 0.0


def standing(engine: Engine, membership: Membership | None = None) -> Standing:
    """Look at an engine and its part in a group, from any thread."""
    arena, page_bytes, tree = engine.model.loaded.arena, engine.model.plan.page_bytes, engine.model.space.tree
    running, waiting = engine.load
    capacity = arena.capacity
    used = max(0, capacity - arena.free - (tree.evictable if tree else 0))
    node = membership.node if membership is not None else None
    return Standing(
        running=running,
        waiting=waiting,
        used_pages=used,
        capacity_pages=capacity,
        kv_capacity_bytes=capacity * page_bytes,
        kv_own_bytes=arena.own_capacity * page_bytes,
        dropped_layers=len(arena.dropped),
        group=len(node.member.group) if node else 1,
        plan_epoch=node.member.epoch if node else 0,
        drops=node.telemetry.drops if node else 0,
        restores=node.telemetry.restores if node else 0,
        preemptions=engine.loop.scheduler.preemptions,
        memory_bytes=engine.memory_in_use(),
    )
