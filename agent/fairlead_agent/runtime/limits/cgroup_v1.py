"""Memory limits by the memory controller of control groups, version 1."""

from __future__ import annotations

import errno
from typing import ClassVar

from fairlead_agent.runtime.limits.confinement import LimitBusyError
from fairlead_agent.runtime.limits.group import GroupConfinement, GroupLimiter
from fairlead_agent.runtime.limits.group_files import write_value

_UNLIMITED = -1


class CgroupV1Confinement(GroupConfinement):
    """One group of the memory hierarchy."""

    KIND: ClassVar[str] = "cgroup-v1"
    HELD = ("total_rss", "total_shmem")
    KILLS = "memory.oom_control"

    def set_limit(self, limit_bytes: int | None) -> None:
        # Memory plus swap may never be below memory, so it gets out of the way first and follows after.
        self._write_limit("memory.memsw.limit_in_bytes", None)
        try:
            self._write_limit("memory.limit_in_bytes", limit_bytes)
            self._limit_bytes = limit_bytes
        finally:
            self._write_limit("memory.memsw.limit_in_bytes", self._limit_bytes)

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


class CgroupV1Limiter(GroupLimiter):
    """Makes groups of the memory hierarchy."""

    KIND: ClassVar[str] = "cgroup-v1"
    CONFINEMENT = CgroupV1Confinement
