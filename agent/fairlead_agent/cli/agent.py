"""``fairlead agent``."""

from __future__ import annotations

from pathlib import Path

import click

from fairlead_agent.cli.errors import CliError


@click.command()
@click.option(
    "--settings",
    "path",
    type=click.Path(path_type=Path),
    required=True,
    help="A JSON file of settings; see docs/agent.md.",
)
def agent(path: Path) -> None:
    """Run the agent of this device until it is told to stop."""
    from fairlead_agent.daemon.__main__ import main

    if main(["--settings", str(path)]) != 0:
        raise CliError("the agent did not start")
