"""Memory limits without control groups: the supervisor looks at /proc, and kills what holds too much."""

from __future__ import annotations

from typing import ClassVar

from fairlead_agent.runtime.limits.confinement import Confinement, Limiter
from fairlead_agent.runtime.process_facts import memory_bytes, process_tree, proportional_memory_bytes, start_ticks


class WatchdogConfinement(Confinement):
    """The process tree of a worker. A limit holds only as often as somebody asks ``exceeded()``."""

    KIND: ClassVar[str] = "watchdog"

    def __init__(self, limit_bytes: int | None) -> None:
        self._limit_bytes = limit_bytes
        self._pid = 0
        self._start_ticks: int | None = None

    @property
    def limit_bytes(self) -> int | None:
        return self._limit_bytes

    def admit(self, pid: int) -> None:
        self._pid, self._start_ticks = pid, start_ticks(pid)

    def set_limit(self, limit_bytes: int | None) -> None:
        self._limit_bytes = limit_bytes

    def usage_bytes(self) -> int:
        return sum(map(memory_bytes, self.members()))

    def exceeded(self) -> bool:
        if self._limit_bytes is None or self.usage_bytes() <= self._limit_bytes:
            return False
        # The cheap figure counts pages shared by forks more than once: look closely before the verdict.
        return sum(map(proportional_memory_bytes, self.members())) > self._limit_bytes

    def members(self) -> list[int]:
        # The number of a worker that has gone may be a stranger's by now.
        alive = self._pid and start_ticks(self._pid) == self._start_ticks
        return process_tree(self._pid) if alive else []

    def remove(self) -> None:
        self._pid = 0


class WatchdogLimiter(Limiter):
    """Needs nothing of the system but /proc."""

    KIND: ClassVar[str] = "watchdog"

    def confine(self, name: str, limit_bytes: int | None) -> WatchdogConfinement:
        return WatchdogConfinement(limit_bytes)
