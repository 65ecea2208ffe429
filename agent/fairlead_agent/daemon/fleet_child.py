"""One process of a local fleet."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
from dataclasses import dataclass, field
from pathlib import Path

_PR_SET_PDEATHSIG = 1
# Loaded here, because nothing may be loaded between fork and exec.
_LIBC = ctypes.CDLL(None, use_errno=True)


@dataclass(slots=True)
class Child:
    """One process of the fleet."""

    name: str
    arguments: list[str]
    log_path: Path
    environment: dict[str, str] = field(default_factory=dict[str, str])
    process: asyncio.subprocess.Process | None = None
    wanted: bool = True
    restarts: int = 0

    async def start(self) -> None:
        """Start it; it writes its log itself."""
        with self.log_path.open("ab") as file:
            self.process = await asyncio.create_subprocess_exec(
                *self.arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                env={**os.environ, **self.environment},
                start_new_session=True,
                # Whoever kills this process with SIGKILL leaves nothing running.
                preexec_fn=_die_with_parent,
            )

    def tail(self, lines: int = 6) -> str:
        """The last lines that it wrote."""
        try:
            return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines:])
        except OSError:
            return ""


def _die_with_parent() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
