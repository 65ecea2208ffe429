"""What `fairlead up` shows once a fleet serves."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import time
from pathlib import Path

import click

from fairlead_agent.cli.api_client import ApiClient, workload_path
from fairlead_agent.cli.explain import bid_table
from fairlead_agent.cli.get import node_table, workload_table
from fairlead_agent.cli.output import console
from fairlead_agent.cli.streamed import completion
from fairlead_agent.messages import Workload

PROMPT = "It was a dark and stormy night, and"


def show_fleet(client: ApiClient, workloads: list[Workload], prompt: str, max_tokens: int) -> None:
    """Nodes, placements with reasons, bids and why each lost, then a completion by the first that can speak."""
    screen, names = console(), [workload.name for workload in workloads]
    screen.print(node_table(client.get("/api/v1/nodes")), "")
    if not names:
        click.echo("This fleet places no workload; see `fairlead apply --help`.\n")
        return
    views = [client.get(workload_path(name)) for name in names]
    records = {record["workload"]: record for record in client.get("/api/v1/placements")}
    screen.print(workload_table(views, records.values()), "")
    for name in names:
        if records.get(name, {}).get("bids"):
            click.secho(f"Why {name} runs where it runs", bold=True)
            screen.print(bid_table(records[name]["bids"]), "")
    speakers = [model["id"] for model in client.get("/v1/models")["data"] if model["id"] in names]
    for name in speakers[:1]:
        _complete(client, name, prompt, max_tokens)


def _complete(client: ApiClient, name: str, prompt: str, max_tokens: int) -> None:
    body = {"model": name, "prompt": prompt, "max_tokens": max_tokens, "temperature": 0.7, "seed": 7}
    click.secho(f"{name}: ", bold=True, nl=False)
    click.secho(prompt, fg="cyan", nl=False)
    started, first, count = time.monotonic(), 0.0, 0
    with completion(client, "/v1/completions", body) as found:
        for piece in found.pieces():
            first = first or time.monotonic()
            count += 1
            click.echo(piece, nl=False)
            sys.stdout.flush()
    ended = time.monotonic()
    rate = f", then {(count - 1) / (ended - first):.0f} pieces/s" if count > 1 and ended > first else ""
    where = f" from {found.node}" if found.node else ""
    click.echo("\n")
    click.secho(f"first piece after {(first or ended) - started:.2f} s{rate}, through the gateway{where}\n", dim=True)


def how_to_talk(url: str, state_dir: Path, workloads: list[Workload]) -> str:
    """What to type in another terminal."""
    name, command = workloads[0].name if workloads else "WORKLOAD", own_command()
    body = f'{{"model": "{name}", "prompt": "Once upon a time", "max_tokens": 40, "stream": true}}'
    lines = ["The fleet is up; Ctrl-C stops it. In another terminal, in this folder:", ""]
    if state_dir != Path(".fairlead").absolute():
        lines.append(f"  export FAIRLEAD_STATE_DIR={shlex.quote(str(state_dir))}")
    lines += [f"  {command} {what}" for what in (f"chat {name}", f"explain {name}", "get nodes", "graph", "events -f")]
    return "\n".join(
        (
            *lines,
            "",
            f'  curl -N {url}/v1/completions -H "Authorization: Bearer $({command} token show)" \\',
            f"    -H 'Content-Type: application/json' -d '{body}'",
            "",
            f"Any OpenAI client works too: base_url {url}/v1, the token as its key.",
            f"Dashboard: {url}/dashboard/ (`{command} token show` prints the token)",
        )
    )


def own_command() -> str:
    """What a user types to run this program: its name where that is found, else its path."""
    running = Path(sys.argv[0])
    found = shutil.which("fairlead")
    if found is not None and running.exists() and Path(found).resolve() == running.resolve():
        return "fairlead"
    return shlex.quote(os.path.relpath(running)) if running.name == "fairlead" else "fairlead"
