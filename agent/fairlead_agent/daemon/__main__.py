"""``python -m fairlead_agent.daemon --settings FILE``: run an agent, without the command line's imports."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from fairlead_agent.config import ConfigError
from fairlead_agent.daemon.daemon import run
from fairlead_agent.daemon.identity import IdentityError
from fairlead_agent.daemon.settings import SettingsError, read_settings
from fairlead_agent.runtime.logging import configure
from fairlead_agent.runtime.supervisor import SupervisorBusyError

USAGE = "usage: python -m fairlead_agent.daemon --settings FILE"


def main(arguments: list[str] | None = None) -> int:
    """Run until told to stop; 1 with one line on standard error where it cannot start."""
    words = sys.argv[1:] if arguments is None else arguments
    # One option: argparse with its gettext and locale would cost half a MiB of the agent's 48.
    if len(words) != 2 or words[0] != "--settings":
        print(USAGE, file=sys.stderr)
        return 2
    try:
        settings = read_settings(Path(words[1]))
        configure("console" if settings.log_format == "console" else "json")
        asyncio.run(run(settings))
    except (SettingsError, ConfigError, IdentityError, SupervisorBusyError) as error:
        print(f"fairlead agent: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
