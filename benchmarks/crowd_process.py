"""``python -m benchmarks.crowd_process SETTINGS...``: run several real agents in one process until told to stop."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

from fairlead_agent.daemon.daemon import Daemon
from fairlead_agent.daemon.settings import read_settings
from fairlead_agent.runtime.logging import configure


async def run(paths: list[Path]) -> None:
    """Start an agent for each settings file; each has its own identity, folder, login and MQTT session."""
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    daemons = [Daemon(read_settings(path)) for path in paths]
    for daemon in daemons:
        await daemon.start()
    await stopped.wait()
    await asyncio.gather(*(daemon.stop(drain=False) for daemon in daemons))


if __name__ == "__main__":
    configure("json")
    asyncio.run(run([Path(argument) for argument in sys.argv[1:]]))
