"""``fairlead logs``."""

from __future__ import annotations

import click

from fairlead_agent.cli.api_client import ApiClient, with_client
from fairlead_agent.cli.output import json_option, print_json


@click.command()
@click.argument("workload")
@click.option("--lines", "-n", default=50, show_default=True, type=click.IntRange(1, 2000))
@json_option
@with_client
def logs(workload: str, lines: int, as_json: bool, client: ApiClient) -> None:
    """Show the last lines that WORKLOAD's instances wrote, wherever they run."""
    answer = client.get(f"/api/v1/workloads/{workload}/logs?lines={lines}")
    if as_json:
        print_json(answer)
        return
    for part in answer:
        click.echo(f"--- {workload} replica {part['replica']} on {part['node']}")
        click.echo(part["error"] or part["text"])
