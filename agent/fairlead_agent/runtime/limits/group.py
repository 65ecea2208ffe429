"""What both versions of control groups have in common: a folder with members, counters and a limit."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from fairlead_agent.runtime.limits.confinement import Confinement, Limiter
from fairlead_agent.runtime.limits.group_files import (
    read_counts,
    read_members,
    remove_group,
    remove_if_empty,
    write_value,
)


class GroupConfinement(Confinement):
    """One group with the memory controller."""

    #: Counters of ``memory.stat`` that are memory held: anonymous, and shared.
    HELD: ClassVar[tuple[str, str]]
    #: The file that counts kills by the kernel.
    KILLS: ClassVar[str]

    def __init__(self, group: Path, limit_bytes: int | None) -> None:
        self._group = group
        self._limit_bytes: int | None = None
        self._kills_before = 0
        group.mkdir(parents=True, exist_ok=True)
        self._prepare()
        self.set_limit(limit_bytes)

    @property
    def limit_bytes(self) -> int | None:
        return self._limit_bytes

    def admit(self, pid: int) -> None:
        write_value(self._group / "cgroup.procs", pid)
        self._kills_before = self._kills()

    def usage_bytes(self) -> int:
        counts = read_counts(self._group / "memory.stat")
        return sum(counts.get(name, 0) for name in self.HELD)

    def exceeded(self) -> bool:
        return self._kills() > self._kills_before

    def members(self) -> list[int]:
        return read_members(self._group)

    def remove(self) -> None:
        remove_group(self._group)

    def _prepare(self) -> None:
        """What a fresh group is set to, beside its limit."""
        return

    def _kills(self) -> int:
        return read_counts(self._group / self.KILLS).get("oom_kill", 0)


class GroupLimiter(Limiter):
    """Makes groups below ``base``, a group that this process may write."""

    CONFINEMENT: ClassVar[type[GroupConfinement]]

    def __init__(self, base: Path, why: str = "") -> None:
        super().__init__(why)
        self._base = base

    def confine(self, name: str, limit_bytes: int | None) -> GroupConfinement:
        return self.CONFINEMENT(self._base / name, limit_bytes)

    def close(self) -> None:
        remove_if_empty(self._base)
