"""``fairlead events``."""

from __future__ import annotations

import json
import time
from typing import Any

import click

from fairlead_agent.cli.api_client import ApiClient, with_client
from fairlead_agent.cli.output import json_option, print_json


@click.command()
@click.option("--follow", "-f", is_flag=True, help="Go on as new events come.")
@click.option("--last", default=50, show_default=True, help="How many past events to show.")
@json_option
@with_client
def events(follow: bool, last: int, as_json: bool, client: ApiClient) -> None:
    """Show what happened."""
    past = client.get("/api/v1/events/log?limit=5000")[-last:]
    if as_json and not follow:
        print_json(past)
        return
    for event in past:
        _show(event, as_json)
    if not follow:
        return
    kind, after = "", past[-1]["seq"] if past else 0
    for line in client.lines("GET", f"/api/v1/events?after={after}", timeout_s=3600.0):
        if line.startswith("event: "):
            kind = line[7:]
        elif line.startswith("data: "):
            data = json.loads(line[6:])
            _show({"type": kind, "time": data.pop("time"), "subject": data.pop("subject"), "data": data}, as_json)


def _show(event: dict[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(event))
        return
    data: dict[str, Any] = event["data"]
    said = " ".join(f"{key}={value}" for key, value in data.items() if value not in (None, "", [], {}))
    clock = time.strftime("%H:%M:%S", time.localtime(event["time"]))
    click.echo(f"{clock} {event['type']:<20} {event['subject']} {said[:200]}")
