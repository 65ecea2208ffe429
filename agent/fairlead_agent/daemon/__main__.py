"""``python -m fairlead_agent.daemon --settings FILE``: run an agent, without the command line's imports."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from fairlead_agent.config import ConfigError
from fairlead_agent.daemon.daemon import run
from fairlead_agent.daemon.identity import IdentityError
from fairlead_agent.daemon.settings import SettingsError, read_settings
from fairlead_agent.runtime.logging import configure
from fairlead_agent.runtime.supervisor import SupervisorBusyError


def main(arguments: list[str] | None = None) -> int:
    """Run until told to stop; 1 with one line on standard error where it cannot start."""
    parser = argparse.ArgumentParser("fairlead_agent.daemon", description="Run the agent of this device.")
    parser.add_argument("--settings", type=Path, required=True, help="a JSON file of settings")
    options = parser.parse_args(arguments)
    try:
        settings = read_settings(options.settings)
        configure("console" if settings.log_format == "console" else "json")
        asyncio.run(run(settings))
    except (SettingsError, ConfigError, IdentityError, SupervisorBusyError) as error:
        print(f"fairlead agent: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
