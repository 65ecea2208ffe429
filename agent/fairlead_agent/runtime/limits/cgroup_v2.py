"""Memory limits by control groups, version 2."""

from __future__ import annotations

import os
from pathlib import Path
from typing import ClassVar

from fairlead_agent.runtime.limits.group import GroupConfinement, GroupLimiter
from fairlead_agent.runtime.limits.group_files import write_value

#: The leaf into which the agent itself moves: a group with processes cannot hand controllers to children.
AGENT_LEAF = "fairlead-agent"


class CgroupV2Confinement(GroupConfinement):
    """One group of the unified hierarchy."""

    KIND: ClassVar[str] = "cgroup-v2"
    HELD = ("anon", "shmem")
    KILLS = "memory.events"

    def _prepare(self) -> None:
        # An instance dies as a whole: half a worker serves nobody.
        self._write_if_there("memory.oom.group", 1)
        self._write_if_there("memory.swap.max", 0)

    def set_limit(self, limit_bytes: int | None) -> None:
        # Below what is in use the kernel first reclaims, then kills: exceeded() tells.
        write_value(self._group / "memory.max", "max" if limit_bytes is None else limit_bytes)
        self._limit_bytes = limit_bytes

    def _write_if_there(self, name: str, value: int) -> None:
        if (self._group / name).exists():
            write_value(self._group / name, value)


class CgroupV2Limiter(GroupLimiter):
    """Makes groups below ``name`` in a delegated group.

    Raises:
        OSError: the memory controller cannot be handed on; the text says why.
    """

    KIND: ClassVar[str] = "cgroup-v2"
    CONFINEMENT = CgroupV2Confinement

    def __init__(self, delegated: Path, name: str, *, must_move_self: bool, why: str = "") -> None:
        if delegated.name == AGENT_LEAF:  # an agent that moved there before
            delegated, must_move_self = delegated.parent, False
        if must_move_self:
            _move_self(delegated)
        super().__init__(delegated / name, why)
        for parent in (delegated, self._base):
            parent.mkdir(exist_ok=True)
            write_value(parent / "cgroup.subtree_control", "+memory")


def _move_self(delegated: Path) -> None:
    others = {int(pid) for pid in (delegated / "cgroup.procs").read_text().split()} - {os.getpid()}
    if others:
        raise OSError(f"{delegated} holds other processes than the agent ({len(others)}): run it in a group of its own")
    leaf = delegated / AGENT_LEAF
    leaf.mkdir(exist_ok=True)
    write_value(leaf / "cgroup.procs", os.getpid())
