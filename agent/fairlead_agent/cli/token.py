"""``fairlead token``."""

from __future__ import annotations

from urllib.parse import quote

import click

from fairlead_agent.cli.api_client import ApiClient, with_client
from fairlead_agent.cli.output import console, json_option, print_json, styled, table


@click.group()
def token() -> None:
    """Make, list, show and revoke access tokens."""


@token.command()
@click.argument("name")
@click.option(
    "--role", type=click.Choice(["viewer", "client", "operator", "admin"]), default="client", show_default=True
)
@json_option
@with_client
def create(name: str, role: str, as_json: bool, client: ApiClient) -> None:
    """Make a token; its text is shown now and never again."""
    answer = client.call("POST", "/api/v1/tokens", {"name": name, "role": role})
    if as_json:
        print_json(answer)
    else:
        click.echo(answer["token"])


@token.command("list")
@json_option
@with_client
def list_tokens(as_json: bool, client: ApiClient) -> None:
    """List tokens by name."""
    answer = client.get("/api/v1/tokens")
    if as_json:
        print_json(answer)
    else:
        rows = [
            (item["name"], item["role"], styled("revoked", "red") if item["revoked"] else "valid") for item in answer
        ]
        console().print(table("Tokens", ("name", "role", "state"), rows))


@token.command()
@click.argument("name")
@json_option
@with_client
def revoke(name: str, as_json: bool, client: ApiClient) -> None:
    """Make a token void."""
    answer = client.call("DELETE", f"/api/v1/tokens/{quote(name, safe='')}")
    if as_json:
        print_json(answer)
    else:
        click.echo(f"{name}: revoked")


@token.command()
@json_option
@with_client
def show(as_json: bool, client: ApiClient) -> None:
    """Print the token that commands here use, e.g. for curl."""
    if as_json:
        print_json({"url": client.url, "token": client.token})
    else:
        click.echo(client.token)
