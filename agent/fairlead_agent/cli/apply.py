"""``fairlead apply``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from fairlead_agent.cli.api_client import ApiClient, with_client
from fairlead_agent.cli.errors import CliError
from fairlead_agent.cli.get import workload_table
from fairlead_agent.cli.output import console, json_option, print_json
from fairlead_agent.config import ConfigError, load_workloads


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--wait", "wait_s", type=float, default=0.0, help="Wait up to this many seconds until all replicas serve."
)
@json_option
@with_client
def apply(files: tuple[Path, ...], wait_s: float, as_json: bool, client: ApiClient) -> None:
    """Apply the workloads in FILES. Nothing is sent unless all files fit."""
    try:
        workloads = [workload for path in files for workload in load_workloads(path)]
    except ConfigError as error:
        raise CliError(str(error)) from None
    answers = [
        client.call("PUT", f"/api/v1/workloads/{workload.name}", workload.model_dump(mode="json"))
        for workload in workloads
    ]
    views = wait_ready(client, [workload.name for workload in workloads], wait_s) if wait_s else []
    if as_json:
        print_json(views or answers)
        return
    for answer in answers:
        word = "applied" if answer["changed"] else "unchanged"
        click.echo(f"{answer['name']}: {word} (generation {answer['generation']})")
    if views:
        console().print(workload_table(views))


def wait_ready(client: ApiClient, names: list[str], wait_s: float) -> list[dict[str, Any]]:
    """Wait until all replicas of the workloads serve.

    Raises:
        CliError: they do not within ``wait_s`` seconds; the text says what each waits for.
    """
    deadline = time.monotonic() + wait_s
    while True:
        views: list[dict[str, Any]] = [client.get(f"/api/v1/workloads/{name}") for name in names]
        waiting = [view for view in views if view["ready"] < view["workload"]["replicas"]]
        if not waiting:
            return views
        if time.monotonic() > deadline:
            raise CliError("; ".join(_says(view) for view in waiting))
        time.sleep(0.1)


def _says(view: dict[str, Any]) -> str:
    waiting = {slot["reason"] for slot in view["slots"] if slot["state"] != "placed" and slot["reason"]}
    head = f"{view['name']}: {view['ready']} of {view['workload']['replicas']} replicas serve"
    return f"{head} ({'; '.join(sorted(waiting))})" if waiting else head
