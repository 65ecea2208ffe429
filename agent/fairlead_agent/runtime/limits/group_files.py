"""Reading and writing the files of a control group."""

from __future__ import annotations

import os
import time
from pathlib import Path

_REMOVE_ATTEMPTS = 20


def read_counts(path: Path) -> dict[str, int]:
    """A file of 'name number' lines; {} where there is none."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return {}
    pairs = (line.split() for line in lines)
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdecimal()}


def write_value(path: Path, value: int | str) -> None:
    """Write one value.

    Raises:
        OSError: the kernel refuses it.
    """
    # No O_TRUNC and one write: the kernel takes the value from a single write call.
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.write(descriptor, str(value).encode())
    finally:
        os.close(descriptor)


def read_members(group: Path) -> list[int]:
    """The pids in a group and the groups below it."""
    members: list[int] = []
    for file in group.rglob("cgroup.procs"):
        try:
            members += map(int, file.read_text().split())
        except OSError:
            continue
    return members


def remove_group(group: Path) -> None:
    """Remove a group and those below it. The kernel lets go of dead members a moment after they died."""
    if not group.is_dir():
        return
    for child in group.iterdir():
        if child.is_dir():
            remove_group(child)
    for _ in range(_REMOVE_ATTEMPTS):
        try:
            group.rmdir()
            return
        except FileNotFoundError:
            return
        except OSError:
            time.sleep(0.005)


def remove_if_empty(group: Path) -> None:
    """Remove a group that has neither members nor children."""
    try:
        group.rmdir()
    except OSError:
        pass
