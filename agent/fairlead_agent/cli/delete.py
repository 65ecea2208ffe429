"""``fairlead delete``."""

from __future__ import annotations

import click

from fairlead_agent.cli.api_client import ApiClient, with_client, workload_path
from fairlead_agent.cli.names import workload_argument
from fairlead_agent.cli.output import json_option, print_json


@click.command()
@workload_argument
@json_option
@with_client
def delete(workload: str, as_json: bool, client: ApiClient) -> None:
    """Delete WORKLOAD: its instances drain, its leases are released."""
    answer = client.call("DELETE", workload_path(workload))
    if as_json:
        print_json(answer)
    else:
        click.echo(f"{workload}: deleted (generation {answer['generation']})")
