"""A memory limit around a process: a control group, version 1 or 2. What the kernel counts includes the page cache."""

from __future__ import annotations

import os
from pathlib import Path

from fairlead_agent.runtime.limits.group_files import read_counts, remove_group, write_value

_V1, _V2 = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")


class MemoryGroup:
    """A control group below the root, with a limit. A context manager that removes it."""

    def __init__(self, name: str, limit_bytes: int | None) -> None:
        """Make it.

        Raises:
            OSError: this user may not, or there is no memory controller.
        """
        self._v1 = (_V1 / "memory.limit_in_bytes").exists()
        if not self._v1 and not (_V2 / "cgroup.controllers").exists():
            raise FileNotFoundError("no memory controller of control groups is mounted")
        self._folder = (_V1 if self._v1 else _V2) / f"fairlead-benchmark-{os.getpid()}-{name}"
        self._folder.mkdir()
        if limit_bytes is not None:
            self.limit(limit_bytes)

    def __enter__(self) -> MemoryGroup:
        return self

    def __exit__(self, *_: object) -> None:
        remove_group(self._folder)

    def limit(self, limit_bytes: int) -> None:
        """Set another limit."""
        write_value(self._folder / ("memory.limit_in_bytes" if self._v1 else "memory.max"), limit_bytes)

    def enter(self) -> None:
        """Put the calling process into the group (in a child, before it runs its program)."""
        write_value(self._folder / "cgroup.procs", os.getpid())

    def kills(self) -> int:
        """Processes that the kernel killed for want of memory."""
        return read_counts(self._folder / ("memory.oom_control" if self._v1 else "memory.events")).get("oom_kill", 0)

    def highest_bytes(self) -> int:
        """The most that was ever counted."""
        name = "memory.max_usage_in_bytes" if self._v1 else "memory.peak"
        return int((self._folder / name).read_text())

    def anonymous_bytes(self) -> int:
        """Memory of the processes now, without the page cache."""
        counts = read_counts(self._folder / "memory.stat")
        return counts.get("total_rss", counts.get("anon", 0))
