"""How the agent's process is started where memory is short."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NoReturn

#: glibc gives every thread an arena of its own by default, and keeps 128 KiB and more of what is freed at the top of
#: each; an agent's threads are few and allocate little.
LIGHT_ENVIRONMENT = {"MALLOC_ARENA_MAX": "1", "MALLOC_TOP_PAD_": "0", "MALLOC_TRIM_THRESHOLD_": "65536"}


def replace_process(settings: Path) -> NoReturn:
    """Become the agent: what the command line has imported is gone, and signals reach the agent itself."""
    arguments = [sys.executable, "-m", "fairlead_agent.daemon", "--settings", str(settings)]
    os.execve(sys.executable, arguments, {**os.environ, **LIGHT_ENVIRONMENT})
