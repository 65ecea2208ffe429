"""Room on the disk."""

from __future__ import annotations

import shutil
from pathlib import Path

from fairlead_agent.cli.doctor.check import Check, Finding
from fairlead_agent.cli.output import bytes_text

#: State, logs and a converted model need about this much.
WANTED_BYTES = 1 << 30


class DiskRoom(Check):
    """Logs, databases and model files need room."""

    name = "disk"
    question = "Is there room for state and models?"

    def run(self) -> Finding:
        """Look."""
        free = shutil.disk_usage(Path.cwd()).free
        if free < WANTED_BYTES // 8:
            return Finding("problem", f"{bytes_text(free)} free here", "make room: at least 128 MiB are needed")
        if free < WANTED_BYTES:
            return Finding("warning", f"{bytes_text(free)} free here", "1 GiB is comfortable")
        return Finding("ok", f"{bytes_text(free)} free here")
