"""``fairlead agent``."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.option(
    "--settings",
    "path",
    type=click.Path(path_type=Path),
    required=True,
    help="A JSON file of settings.",
)
def agent(path: Path) -> None:
    """Run the agent of this device until it is told to stop."""
    from fairlead_agent.daemon.launch import replace_process

    replace_process(path)
