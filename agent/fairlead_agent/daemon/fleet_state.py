"""What a local fleet leaves in its folder: who uses it now, and which processes belong to it."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from fairlead_agent.runtime.files import write_private
from fairlead_agent.runtime.process import ProcessMark
from fairlead_agent.runtime.process_facts import boot_id, command_line, start_ticks

#: How long leftovers may take to end by themselves before they are killed.
GRACE_S = 10.0

_MARKS = TypeAdapter(dict[str, ProcessMark])


class FleetBusyError(RuntimeError):
    """Another fleet runs in the folder; the text says which process, and where it answers."""


class FleetState:
    """The folder of a fleet. Holds its lock until :meth:`close`, or until this process ends in whatever way."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._marks: dict[str, ProcessMark] = {}
        self._lock: int | None = None

    def open(self) -> None:
        """Take the folder.

        Raises:
            FleetBusyError: a fleet runs there.
            OSError: the folder cannot be made or written.
        """
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise FleetBusyError(self._busy()) from None
        os.ftruncate(lock, 0)
        os.write(lock, str(os.getpid()).encode())
        self._lock = lock

    def close(self) -> None:
        """Give the folder back."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def note(self, name: str, pid: int) -> None:
        """Remember a process as this fleet's, for the case that this process is killed."""
        ticks = start_ticks(pid)
        if ticks is None:
            return
        self._marks[name] = ProcessMark(pid=pid, start_ticks=ticks, boot_id=boot_id())
        write_private(self._path, _MARKS.dump_json(self._marks).decode())

    async def end_leftovers(self) -> list[str]:
        """End what an earlier fleet left running here; returns the names of what still ran.

        A process is ended only where pid, start time and boot are those that were noted, and its command line names
        this folder. Workers need none of this: the next agent adopts them, or they end with their leases.
        """
        left = {name: mark.pid for name, mark in self._read().items() if self._is_ours(mark)}
        await _end(left.values(), signal.SIGTERM)
        return sorted(left)

    @property
    def _path(self) -> Path:
        return self.folder / "processes.json"

    def _read(self) -> dict[str, ProcessMark]:
        try:
            return _MARKS.validate_json(self._path.read_bytes())
        except (OSError, ValidationError):
            return {}

    def _is_ours(self, mark: ProcessMark) -> bool:
        if mark.boot_id != boot_id() or start_ticks(mark.pid) != mark.start_ticks:
            return False
        return any(str(self.folder) in argument for argument in command_line(mark.pid))

    def _busy(self) -> str:
        pid = _text(self.folder / "lock").strip() or "?"
        try:
            known: Any = json.loads(_text(self.folder / "client.json"))
            where = f", at {known['url']}"
        except (ValueError, KeyError, TypeError):
            where = ""
        return f"a fleet runs in {self.folder} already (process {pid}{where}); stop it, or give another --state-dir"


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


async def _end(pids: Iterable[int], first: signal.Signals) -> None:
    waiting = {pid: start_ticks(pid) for pid in pids}
    for number in (first, signal.SIGKILL):
        for pid, ticks in waiting.items():
            if ticks is not None and start_ticks(pid) == ticks:
                os.kill(pid, number)
        deadline = time.monotonic() + GRACE_S
        while any(ticks is not None and start_ticks(pid) == ticks for pid, ticks in waiting.items()):
            if time.monotonic() > deadline:
                break
            await asyncio.sleep(0.05)
        else:
            return
