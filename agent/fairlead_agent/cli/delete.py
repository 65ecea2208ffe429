"""``fairlead delete``."""

from __future__ import annotations

import click

from fairlead_agent.cli.api_client import ApiClient, with_client
from fairlead_agent.cli.output import json_option, print_json


@click.command()
@click.argument("name")
@json_option
@with_client
def delete(name: str, as_json: bool, client: ApiClient) -> None:
    """Delete workload NAME: its instances drain, its leases are released."""
    answer = client.call("DELETE", f"/api/v1/workloads/{name}")
    if as_json:
        print_json(answer)
    else:
        click.echo(f"{name}: deleted (generation {answer['generation']})")
