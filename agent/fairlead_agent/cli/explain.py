"""``fairlead explain``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import click

from fairlead_agent.cli.api_client import ApiClient, with_client, workload_path
from fairlead_agent.cli.names import workload_argument
from fairlead_agent.cli.output import Column, console, json_option, print_json, styled, table

OUTCOMES = ("won", "lost", "refused", "declined", "no-answer")


@click.command()
@workload_argument
@json_option
@with_client
def explain(workload: str, as_json: bool, client: ApiClient) -> None:
    """Say why WORKLOAD runs where it runs, and why each other bid lost."""
    answer = client.get(workload_path(workload, "/explain"))
    if as_json:
        print_json(answer)
        return
    record = answer["record"]
    # The lines say headline, replicas, bids, changes; the bids are shown as a table instead.
    bids: list[dict[str, Any]] = record["bids"] if record else []
    head = 1 + len(record["slots"]) if record else len(answer["lines"])
    _print_lines(answer["lines"][:head])
    if bids:
        click.echo()
        console().print(bid_table(bids))
    if changes := answer["lines"][head + len(bids) :]:
        click.echo("\nWhat has changed since the decision before:")
        _print_lines(changes)


def _print_lines(lines: Iterable[str]) -> None:
    for line in lines:
        click.echo(line)


def bid_table(bids: Iterable[dict[str, Any]]) -> Any:
    """All offers of a negotiation, the best first."""
    ordered = sorted(bids, key=lambda bid: (OUTCOMES.index(bid["outcome"]), bid["score"] or 0.0, bid["node"]))
    rows = [
        (
            bid["node"],
            bid["variant"] + (" (simulated)" if bid["simulated"] else ""),
            styled(bid["outcome"]) if bid["outcome"] != "lost" else bid["outcome"],
            None if bid["score"] is None else f"{bid['score']:.2f}",
            bid["reason"],
        )
        for bid in ordered
    ]
    columns = ("node", "variant", "outcome", Column("score", 1), Column("reason", wraps=True))
    return table("Bids (the lowest score wins)", columns, rows)
