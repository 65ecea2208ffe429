"""``fairlead apply``."""

from __future__ import annotations

import re
import time
from typing import Any

import click

from fairlead_agent.cli.api_client import ApiClient, with_client, workload_path
from fairlead_agent.cli.errors import CliError, UnreachableError
from fairlead_agent.cli.get import workload_table
from fairlead_agent.cli.names import shipped_names
from fairlead_agent.cli.output import console, json_option, print_json, progress
from fairlead_agent.config import ConfigError, config_line, load_workloads
from fairlead_agent.messages.workload import Workload

POLL_S = 0.2


@click.command()
@click.argument("files", nargs=-1, required=True, shell_complete=shipped_names("workloads"))
@click.option(
    "--wait",
    "wait_s",
    type=click.FloatRange(0),
    default=0.0,
    help="Wait up to this many seconds until all replicas serve.",
)
@json_option
@with_client
def apply(files: tuple[str, ...], wait_s: float, as_json: bool, client: ApiClient) -> None:
    """Apply the workloads in FILES: paths, names of shipped files, or - for standard input.

    Nothing is sent unless all files fit.
    """
    try:
        paths = ["/dev/stdin" if name == "-" else name for name in files]
        wanted = [(workload, path) for path in paths for workload in load_workloads(path)]
    except ConfigError as error:
        raise CliError(str(error)) from None
    answers: list[dict[str, Any]] = []
    for workload, file in wanted:
        answers.append(_put(client, workload, file))
        if not as_json:
            _say(answers[-1])
    names = list(dict.fromkeys(workload.name for workload, _ in wanted))
    views = wait_ready(client, names, wait_s) if wait_s else []
    if as_json:
        print_json(views or answers)
    elif views:
        console().print(workload_table(views, client.get("/api/v1/placements")))


def _put(client: ApiClient, workload: Workload, file: str) -> dict[str, Any]:
    try:
        return client.call("PUT", workload_path(workload.name), workload.model_dump(mode="json"))
    except UnreachableError:
        raise
    except CliError as error:
        refused = re.match(r"config: (?P<key>[\w.]+)", str(error))
        if refused is None or file == "/dev/stdin":
            raise
        raise CliError(f"{config_line(file, workload.name, refused['key'])}: {error}") from None


def _say(answer: dict[str, Any]) -> None:
    word = "applied" if answer["changed"] else "unchanged"
    click.echo(f"{answer['name']}: {word} (generation {answer['generation']})")


def wait_ready(client: ApiClient, names: list[str], wait_s: float) -> list[dict[str, Any]]:
    """Wait until all replicas of the workloads serve; a spinner says what is waited for.

    Raises:
        CliError: they do not within ``wait_s`` seconds; the text says what each waits for.
    """
    deadline = time.monotonic() + wait_s
    with progress(f"placing {', '.join(names)}") as spinner:
        while True:
            views: list[dict[str, Any]] = [client.get(workload_path(name)) for name in names]
            waiting = [view for view in views if view["ready"] < view["workload"]["replicas"]]
            if not waiting:
                return views
            said = "; ".join(_waits_for(view) for view in waiting)
            if time.monotonic() > deadline:
                raise CliError(f"not ready after {wait_s:g} s: {said}")
            spinner.update(f"waiting: {said}")
            time.sleep(POLL_S)


def _waits_for(view: dict[str, Any]) -> str:
    reasons = {slot["reason"] for slot in view["slots"] if slot["state"] != "placed" and slot["reason"]}
    unready = [report for report in view["instances"] if report["state"] != "ready"]
    reasons |= {f"{report['state']} {report['reason']}".strip() for report in unready}
    head = f"{view['name']}: {view['ready']} of {view['workload']['replicas']} replicas serve"
    return f"{head} ({'; '.join(sorted(reasons))})" if reasons else head
