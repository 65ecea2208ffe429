"""Memory limits by the memory controller of control groups, version 1."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import ClassVar

from fairlead_agent.runtime.limits.confinement import Confinement, LimitBusyError, Limiter
from fairlead_agent.runtime.limits.group_files import (
    read_counts,
    read_members,
    remove_group,
    remove_if_empty,
    write_value,
)

_UNLIMITED = -1


class CgroupV1Confinement(Confinement):
    """One group of the memory hierarchy."""

    KIND: ClassVar[str] = "cgroup-v1"

    def __init__(self, group: Path, limit_bytes: int | None) -> None:
        self._group = group
        self._limit_bytes: int | None = None
        self._kills_before = 0
        group.mkdir(parents=True, exist_ok=True)
        self.set_limit(limit_bytes)

    @property
    def limit_bytes(self) -> int | None:
        return self._limit_bytes

    def admit(self, pid: int) -> None:
        write_value(self._group / "cgroup.procs", pid)
        self._kills_before = self._kills()

    def set_limit(self, limit_bytes: int | None) -> None:
        # Memory plus swap may never be below memory, so it gets out of the way first and follows after.
        self._write_limit("memory.memsw.limit_in_bytes", None)
        try:
            self._write_limit("memory.limit_in_bytes", limit_bytes)
            self._limit_bytes = limit_bytes
        finally:
            self._write_limit("memory.memsw.limit_in_bytes", self._limit_bytes)

    def usage_bytes(self) -> int:
        counts = read_counts(self._group / "memory.stat")
        return counts.get("total_rss", 0) + counts.get("total_shmem", 0)

    def exceeded(self) -> bool:
        return self._kills() > self._kills_before

    def members(self) -> list[int]:
        return read_members(self._group)

    def remove(self) -> None:
        remove_group(self._group)

    def _kills(self) -> int:
        return read_counts(self._group / "memory.oom_control").get("oom_kill", 0)

    def _write_limit(self, name: str, limit_bytes: int | None) -> None:
        path = self._group / name
        if not path.exists():  # without swap accounting there is no memsw
            return
        try:
            write_value(path, _UNLIMITED if limit_bytes is None else limit_bytes)
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            raise LimitBusyError(f"{self.usage_bytes()} bytes are in use, the limit would be {limit_bytes}") from None


class CgroupV1Limiter(Limiter):
    """Makes groups below ``base``, a group that this process may write."""

    KIND: ClassVar[str] = "cgroup-v1"

    def __init__(self, base: Path, why: str = "") -> None:
        super().__init__(why)
        self._base = base

    def confine(self, name: str, limit_bytes: int | None) -> CgroupV1Confinement:
        return CgroupV1Confinement(self._base / name, limit_bytes)

    def close(self) -> None:
        remove_if_empty(self._base)
