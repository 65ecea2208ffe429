"""``fairlead logs``."""

from __future__ import annotations

import click

from fairlead_agent.cli.api_client import ApiClient, with_client, workload_path
from fairlead_agent.cli.names import workload_argument
from fairlead_agent.cli.output import json_option, print_json, progress


@click.command()
@workload_argument
@click.option("--lines", "-n", default=50, show_default=True, type=click.IntRange(1, 2000))
@json_option
@with_client
def logs(workload: str, lines: int, as_json: bool, client: ApiClient) -> None:
    """Show the last lines that WORKLOAD's instances wrote, wherever they run."""
    with progress("asking the nodes"):
        answer = client.get(workload_path(workload, f"/logs?lines={lines}"))
    if as_json:
        print_json(answer)
        return
    if not answer:
        click.echo(f"{workload}: no instance runs now; see `fairlead explain {workload}`")
    for part in answer:
        click.secho(f"--- {workload} replica {part['replica']} on {part['node']}", bold=True)
        click.echo(f"(no log: {part['error']})" if part["error"] else part["text"].rstrip() or "(nothing was written)")
