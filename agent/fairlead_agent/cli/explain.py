"""``fairlead explain``."""

from __future__ import annotations

from typing import Any

import click

from fairlead_agent.cli.api_client import ApiClient, with_client
from fairlead_agent.cli.output import console, json_option, print_json, styled, table


@click.command()
@click.argument("workload")
@json_option
@with_client
def explain(workload: str, as_json: bool, client: ApiClient) -> None:
    """Say why WORKLOAD runs where it runs, and why each other bid lost."""
    answer = client.get(f"/api/v1/workloads/{workload}/explain")
    if as_json:
        print_json(answer)
        return
    for line in answer["lines"]:
        click.echo(line)
    if answer["record"] and answer["record"]["bids"]:
        console().print(bid_table(answer["record"]["bids"]))


def bid_table(bids: list[dict[str, Any]]) -> Any:
    """All offers of a negotiation, the best first."""
    ordered = sorted(bids, key=lambda bid: (bid["outcome"] != "won", bid["score"] is None, bid["score"] or 0.0))
    rows = [
        (
            bid["node"],
            bid["variant"] + (" (simulated)" if bid["simulated"] else ""),
            styled(bid["outcome"]),
            None if bid["score"] is None else f"{bid['score']:.3f}",
            bid["reason"],
        )
        for bid in ordered
    ]
    return table("Bids (lower scores are better)", ("node", "variant", "outcome", "score", "reason"), rows)
