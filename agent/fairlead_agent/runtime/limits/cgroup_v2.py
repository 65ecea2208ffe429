"""Memory limits by control groups, version 2."""

from __future__ import annotations

import os
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

#: The leaf into which the agent itself moves: a group with processes cannot hand controllers to children.
AGENT_LEAF = "fairlead-agent"


class CgroupV2Confinement(Confinement):
    """One group with the memory controller."""

    KIND: ClassVar[str] = "cgroup-v2"

    def __init__(self, group: Path, limit_bytes: int | None) -> None:
        self._group = group
        self._limit_bytes: int | None = None
        self._kills_before = 0
        group.mkdir(parents=True, exist_ok=True)
        # An instance dies as a whole: half a worker serves nobody.
        self._write_if_there("memory.oom.group", 1)
        self._write_if_there("memory.swap.max", 0)
        self.set_limit(limit_bytes)

    @property
    def limit_bytes(self) -> int | None:
        return self._limit_bytes

    def admit(self, pid: int) -> None:
        write_value(self._group / "cgroup.procs", pid)
        self._kills_before = self._kills()

    def set_limit(self, limit_bytes: int | None) -> None:
        # Below what is in use the kernel first reclaims, then kills: exceeded() tells.
        write_value(self._group / "memory.max", "max" if limit_bytes is None else limit_bytes)
        self._limit_bytes = limit_bytes

    def usage_bytes(self) -> int:
        counts = read_counts(self._group / "memory.stat")
        return counts.get("anon", 0) + counts.get("shmem", 0)

    def exceeded(self) -> bool:
        return self._kills() > self._kills_before

    def members(self) -> list[int]:
        return read_members(self._group)

    def remove(self) -> None:
        remove_group(self._group)

    def _kills(self) -> int:
        return read_counts(self._group / "memory.events").get("oom_kill", 0)

    def _write_if_there(self, name: str, value: int) -> None:
        if (self._group / name).exists():
            write_value(self._group / name, value)


class CgroupV2Limiter(Limiter):
    """Makes groups below ``base`` in a delegated group.

    Raises:
        OSError: the memory controller cannot be handed on; the text says why.
    """

    KIND: ClassVar[str] = "cgroup-v2"

    def __init__(self, delegated: Path, name: str, *, must_move_self: bool, why: str = "") -> None:
        super().__init__(why)
        if delegated.name == AGENT_LEAF:  # an agent that moved there before
            delegated, must_move_self = delegated.parent, False
        if must_move_self:
            _move_self(delegated)
        self._base = delegated / name
        for parent in (delegated, self._base):
            parent.mkdir(exist_ok=True)
            write_value(parent / "cgroup.subtree_control", "+memory")

    def confine(self, name: str, limit_bytes: int | None) -> CgroupV2Confinement:
        return CgroupV2Confinement(self._base / name, limit_bytes)

    def close(self) -> None:
        remove_if_empty(self._base)


def _move_self(delegated: Path) -> None:
    others = {int(pid) for pid in (delegated / "cgroup.procs").read_text().split()} - {os.getpid()}
    if others:
        raise OSError(f"{delegated} holds other processes than the agent ({len(others)}): run it in a group of its own")
    leaf = delegated / AGENT_LEAF
    leaf.mkdir(exist_ok=True)
    write_value(leaf / "cgroup.procs", os.getpid())
