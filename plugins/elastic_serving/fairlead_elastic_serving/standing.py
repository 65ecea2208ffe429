"""How an instance stands: what its metrics, its facts and its answers to the agent have in common."""

from __future__ import annotations

from dataclasses import dataclass

from .engine.engine import Engine


@dataclass(frozen=True, slots=True)
class Standing:
    """One instance at one time.

    Attributes:
        running, waiting: requests.
        used_pages, capacity_pages: for keys and values.
        kv_capacity_bytes: of the pages for keys and values now, borrowed ones included.
        kv_own_bytes: the same if no layer were given away.
        dropped_layers: layers that were given away.
        group: instances that hold one copy of the layers together.
        plan_epoch: of the plan in force; 0: none yet.
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


def standing(engine: Engine) -> Standing:
    """Look at an engine, from any thread."""
    arena, page_bytes = engine.model.loaded.arena, engine.model.plan.page_bytes
    (running, waiting), (used, capacity) = engine.load, engine.pages
    return Standing(
        running=running,
        waiting=waiting,
        used_pages=used,
        capacity_pages=capacity,
        kv_capacity_bytes=capacity * page_bytes,
        kv_own_bytes=arena.own_capacity * page_bytes,
        dropped_layers=len(arena.dropped),
        group=1,
        plan_epoch=0,
        preemptions=engine.loop.scheduler.preemptions,
        memory_bytes=engine.memory_in_use(),
    )
