"""``fairlead up``: a whole local fleet with one command."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path
from typing import Any

import click

from fairlead_agent.bus.broker.base import BrokerError
from fairlead_agent.cli.api_client import ApiClient
from fairlead_agent.cli.apply import wait_ready
from fairlead_agent.cli.chat import pieces
from fairlead_agent.cli.errors import CliError
from fairlead_agent.cli.explain import bid_table
from fairlead_agent.cli.get import node_table, workload_table
from fairlead_agent.cli.output import console
from fairlead_agent.config import ConfigError, FleetConfig, load_fleet, load_workloads
from fairlead_agent.daemon.fleet import FleetError, LocalFleet

READY_S = 90.0
PROMPT = "It was a dark and stormy night, and"


@click.command()
@click.argument("prompt", default=PROMPT)
@click.option("--once", is_flag=True, help="Answer the prompt, then stop everything and exit 0.")
@click.option(
    "--fleet", "fleet_name", default="local", show_default=True, help="A fleet's name, or the path of its file."
)
@click.option("--state-dir", type=click.Path(path_type=Path), default=Path(".fairlead"), show_default=True)
@click.option("--port", type=click.IntRange(0, 65535), help="The control plane's port; 0: any free one.")
@click.option("--max-tokens", default=60, show_default=True, type=click.IntRange(1))
def up(prompt: str, once: bool, fleet_name: str, state_dir: Path, port: int | None, max_tokens: int) -> None:
    """Start a local fleet, place its workloads, and answer PROMPT.

    Broker, control plane and the agents of three unlike devices run on this machine, each device held to its profile's
    budget. Without --once the fleet stays up until Ctrl-C.
    """
    try:
        config = load_fleet(fleet_name)
        if port is not None:
            config = config.model_copy(update={"control_plane_port": port})
        asyncio.run(_up(config, state_dir, prompt, once, max_tokens))
    except (ConfigError, FleetError, BrokerError) as error:
        raise CliError(str(error)) from None


async def _up(config: FleetConfig, state_dir: Path, prompt: str, once: bool, max_tokens: int) -> None:
    started = time.monotonic()
    fleet = LocalFleet(config, state_dir, say=_say)
    stopped = _stop_event()
    work = asyncio.ensure_future(_bring_up(fleet, prompt, once, max_tokens, started))
    waiting = asyncio.ensure_future(stopped.wait())
    try:
        await asyncio.wait({work, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            await work
            if not once:
                await waiting
    finally:
        work.cancel()
        waiting.cancel()
        await asyncio.gather(work, waiting, return_exceptions=True)
        console().print("[dim]stopping[/]")
        await fleet.stop()


def _stop_event() -> asyncio.Event:
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    return stopped


def _say(what: str) -> None:
    console().print(f"[dim]starting[/] {what}")


async def _bring_up(fleet: LocalFleet, prompt: str, once: bool, max_tokens: int, started: float) -> None:
    await fleet.start()
    client = ApiClient(fleet.url, fleet.admin_token())
    names = await asyncio.to_thread(_place, client, fleet.config)
    console().print(f"[green]ready[/] after {time.monotonic() - started:.1f} s\n")
    await asyncio.to_thread(_show, client, names, prompt, max_tokens)
    if not once:
        _say_how(fleet, names)


def _place(client: ApiClient, config: FleetConfig) -> list[str]:
    workloads = [workload for name in config.workloads for workload in load_workloads(name)]
    _wait_for_agents(client, {agent.name for agent in config.agents})
    for workload in workloads:
        client.call("PUT", f"/api/v1/workloads/{workload.name}", workload.model_dump(mode="json"))
    names = [workload.name for workload in workloads]
    with console().status(f"placing {', '.join(names)}"):
        wait_ready(client, names, READY_S)
    return names


def _wait_for_agents(client: ApiClient, wanted: set[str], timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    with console().status("waiting for the agents"):
        while True:
            online = {node["status"]["node"] for node in client.get("/api/v1/nodes") if node["status"]["online"]}
            if wanted <= online:
                return
            if time.monotonic() > deadline:
                raise FleetError(f"these agents did not come up: {', '.join(sorted(wanted - online))}; see their logs")
            time.sleep(0.05)


def _show(client: ApiClient, names: list[str], prompt: str, max_tokens: int) -> None:
    screen = console()
    screen.print(node_table(client.get("/api/v1/nodes")))
    screen.print(workload_table([client.get(f"/api/v1/workloads/{name}") for name in names]))
    for name in names:
        answer = client.get(f"/api/v1/workloads/{name}/explain")
        if answer["record"]:
            screen.print(f"Why {name} runs where it runs", style="bold")
            screen.print(bid_table(answer["record"]["bids"]))
    speakers = [model["id"] for model in client.get("/v1/models")["data"] if model["id"] in names]
    for name in speakers[:1]:
        _complete(client, name, prompt, max_tokens)


def _complete(client: ApiClient, name: str, prompt: str, max_tokens: int) -> None:
    body: dict[str, Any] = {"model": name, "prompt": prompt, "max_tokens": max_tokens, "temperature": 0.7, "seed": 7}
    click.secho(f"{name}: ", bold=True, nl=False)
    click.secho(prompt, fg="cyan", nl=False)
    started, count = time.monotonic(), 0
    for piece in pieces(client, "/v1/completions", body):
        click.echo(piece, nl=False)
        count += 1
    seconds = time.monotonic() - started
    click.echo(f"\n\n{count} pieces in {seconds:.2f} s through the gateway\n")


def _say_how(fleet: LocalFleet, names: list[str]) -> None:
    name = names[0] if names else "WORKLOAD"
    key = f'$(python3 -c \'import json; print(json.load(open("{fleet.state_dir / "client.json"}"))["token"])\')'
    body = f'{{"model": "{name}", "prompt": "Once upon a time", "max_tokens": 40, "stream": true}}'
    click.echo("The fleet is up; Ctrl-C stops it. In another terminal, in this folder:\n")
    click.echo(f"  fairlead chat {name}\n  fairlead explain {name}\n  fairlead get nodes\n")
    click.echo(f'  curl -N {fleet.url}/v1/completions -H "Authorization: Bearer {key}" \\')
    click.echo(f"    -H 'Content-Type: application/json' -d '{body}'\n")
    click.echo(f"  dashboard: {fleet.url}/dashboard/ (the token is in {fleet.state_dir / 'client.json'})")
