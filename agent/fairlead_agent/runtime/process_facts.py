"""What /proc says of processes: who they are, and what memory they hold."""

from __future__ import annotations

import os
import re
from pathlib import Path

_HELD = re.compile(r"^(?:RssAnon|RssShmem):\s+(\d+) kB$", re.MULTILINE)
_SHARED_OUT = re.compile(r"^(?:Pss_Anon|Pss_Shmem):\s+(\d+) kB$", re.MULTILINE)


def start_ticks(pid: int) -> int | None:
    """When a process began, in clock ticks since boot; with the pid and the boot id it names one process for ever."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The command may hold spaces and brackets; the fields after it cannot. starttime is field 22, state is field 3.
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])


def started_boottime_s(pid: int) -> float:
    """When a running process began, on CLOCK_BOOTTIME; 0 for one that has gone."""
    return (start_ticks(pid) or 0) / os.sysconf("SC_CLK_TCK")


def command_line(pid: int) -> list[str]:
    """The arguments of a process; [] for one that has gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
    except OSError:
        return []


def boot_id() -> str:
    """This boot's id."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def memory_bytes(pid: int) -> int:
    """Anonymous and shared memory that a process holds (RssAnon + RssShmem); 0 for one that has gone.

    Pages of mapped files are left out: the kernel can drop them, so mapped weights do not count as held.
    """
    return _kibibytes(f"/proc/{pid}/status", _HELD)


def proportional_memory_bytes(pid: int) -> int:
    """As :func:`memory_bytes`, with pages shared by forks divided among them. Slow for large processes."""
    return _kibibytes(f"/proc/{pid}/smaps_rollup", _SHARED_OUT)


def process_tree(pid: int) -> list[int]:
    """A process and all its descendants, in no order."""
    found, fresh = [pid], [pid]
    while fresh:
        fresh = [child for parent in fresh for child in _children(parent)]
        found += fresh
    return found


def _children(pid: int) -> list[int]:
    children: list[int] = []
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            children += map(int, Path(f"/proc/{pid}/task/{task}/children").read_text().split())
    except OSError:
        pass
    return children


def _kibibytes(path: str, pattern: re.Pattern[str]) -> int:
    try:
        text = Path(path).read_text()
    except OSError:
        return 0
    return 1024 * sum(map(int, pattern.findall(text)))
