"""A worker's log: the worker appends, the agent rotates."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from fairlead_agent.runtime.files import tail_lines


class WorkerLog:
    """Copies and truncates, because the writers (the worker and its children) keep the file open in append mode."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        self.path = path
        self._max_bytes = max_bytes

    @property
    def old_path(self) -> Path:
        return self.path.with_name(self.path.name + ".1")

    def rotate(self) -> bool:
        """Rotate if it is too large; lines that are written during the copy may be lost."""
        try:
            if self.path.stat().st_size <= self._max_bytes:
                return False
            shutil.copyfile(self.path, self.old_path)
            os.chmod(self.old_path, 0o600)
            os.truncate(self.path, 0)
        except FileNotFoundError:
            return False
        return True

    def tail(self, count: int) -> list[str]:
        """The last lines, across the rotation."""
        lines = tail_lines(self.path, count)
        if len(lines) < count:
            lines = tail_lines(self.old_path, count - len(lines)) + lines
        return lines
