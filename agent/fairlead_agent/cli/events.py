"""``fairlead events``."""

from __future__ import annotations

import json
import sys
import time
from collections import deque
from typing import Any, cast

import click

from fairlead_agent.cli.api_client import ApiClient, with_client
from fairlead_agent.cli.output import json_option, print_json

#: As many as the API gives at once.
PAGE = 5000


@click.command()
@click.option("--follow", "-f", is_flag=True, help="Go on as new events come, until Ctrl-C.")
@click.option("--last", default=50, show_default=True, type=click.IntRange(0), help="How many past events to show.")
@json_option
@with_client
def events(follow: bool, last: int, as_json: bool, client: ApiClient) -> None:
    """Show what happened."""
    past, after = _past(client, last)
    if as_json and not follow:
        print_json(past)
        return
    for event in past:
        _show(event, as_json)
    if follow:
        _follow(client, after, as_json)
    elif not past:
        click.echo("Nothing has happened yet.")


def _past(client: ApiClient, count: int) -> tuple[list[dict[str, Any]], int]:
    kept: deque[dict[str, Any]] = deque(maxlen=count)
    after = 0
    while True:
        page: list[dict[str, Any]] = client.get(f"/api/v1/events/log?after={after}&limit={PAGE}")
        kept.extend(page)
        after = page[-1]["seq"] if page else after
        if len(page) < PAGE:
            return list(kept), after


def _follow(client: ApiClient, after: int, as_json: bool) -> None:
    kind = ""
    with client.open("GET", f"/api/v1/events?after={after}") as answer:
        for line in answer.lines():
            if line.startswith("event: "):
                kind = line[7:]
            elif line.startswith("data: "):
                data = json.loads(line[6:])
                _show({"type": kind, "time": data.pop("time"), "subject": data.pop("subject"), "data": data}, as_json)


def _show(event: dict[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(event))
    else:
        clock = time.strftime("%H:%M:%S", time.localtime(event["time"]))
        said = ", ".join(f"{key} {_text(value)}" for key, value in event["data"].items() if _tells(value))
        click.echo(f"{clock}  {event['type']:<20} {event['subject']}{f': {said}' if said else ''}")
    sys.stdout.flush()


def _tells(value: Any) -> bool:
    return value not in (None, "", [], {}, False)


def _text(value: Any) -> str:
    """``{"0": "placed:edge", "1": "negotiating:-"}`` is ``(0 placed on edge, 1 negotiating)``."""
    if isinstance(value, dict):
        items = cast(dict[str, Any], value)
        return f"({', '.join(f'{key} {_text(item)}' for key, item in items.items())})"
    state, colon, node = str(value).partition(":")
    if colon and node and " " not in str(value):
        return state if node == "-" else f"{state} on {node}"
    return str(value)
