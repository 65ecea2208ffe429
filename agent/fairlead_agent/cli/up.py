"""``fairlead up``: a whole local fleet with one command."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import click

from fairlead_agent.bus.broker.base import BrokerError
from fairlead_agent.cli.api_client import ApiClient
from fairlead_agent.cli.apply import wait_ready
from fairlead_agent.cli.errors import CliError
from fairlead_agent.cli.names import shipped_names
from fairlead_agent.cli.output import progress
from fairlead_agent.cli.tour import PROMPT, how_to_talk, show_fleet
from fairlead_agent.config import ConfigError, FleetConfig, load_fleet, load_workloads
from fairlead_agent.daemon.fleet import FleetError, LocalFleet
from fairlead_agent.messages import Workload

READY_S = 90.0
ONLINE_S = 45.0
INTERRUPTED = 130


@click.command()
@click.argument("prompt", default=PROMPT)
@click.option("--once", is_flag=True, help="Answer the prompt, then stop everything and exit 0.")
@click.option(
    "--fleet",
    "fleet_name",
    default="local",
    show_default=True,
    shell_complete=shipped_names("fleets"),
    help="A fleet's name, or the path of its file.",
)
@click.option(
    "--state-dir",
    type=click.Path(path_type=Path),
    default=Path(".fairlead"),
    show_default=True,
    envvar="FAIRLEAD_STATE_DIR",
    show_envvar=True,
    help="Where keys, databases and logs of the fleet lie.",
)
@click.option("--port", type=click.IntRange(0, 65535), help="The control plane's port; 0: any free one.")
@click.option("--max-tokens", default=60, show_default=True, type=click.IntRange(1), help="Length of the answer.")
def up(prompt: str, once: bool, fleet_name: str, state_dir: Path, port: int | None, max_tokens: int) -> None:
    """Start a local fleet, place its workloads, and answer PROMPT.

    Broker, control plane and the agents of three unlike devices run on this machine, each device held to its profile's
    budget. Without --once the fleet stays up until Ctrl-C.
    """
    try:
        config = load_fleet(fleet_name)
        if port is not None:
            config = config.model_copy(update={"control_plane_port": port})
        workloads = [workload for name in config.workloads for workload in load_workloads(name)]
        tour = partial(show_fleet, workloads=workloads, prompt=prompt, max_tokens=max_tokens)
        done = asyncio.run(_up(config, state_dir, workloads, tour, once))
    except (ConfigError, FleetError, BrokerError) as error:
        raise CliError(str(error)) from None
    if not done:
        raise SystemExit(INTERRUPTED)


async def _up(
    config: FleetConfig, state_dir: Path, workloads: list[Workload], tour: Callable[[ApiClient], None], once: bool
) -> bool:
    """Run a fleet; False where it was interrupted before it had answered."""
    stopped = _stop_event()
    fleet = LocalFleet(config, state_dir, say=_say)
    work = asyncio.ensure_future(_bring_up(fleet, workloads, tour))
    waiting = asyncio.ensure_future(stopped.wait())
    try:
        await asyncio.wait({work, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            await work
            if not once:
                click.echo(how_to_talk(fleet.url, fleet.state_dir, workloads))
                await waiting
        return work.done()
    finally:
        work.cancel()
        waiting.cancel()
        await asyncio.gather(work, waiting, return_exceptions=True)
        try:
            if fleet.broker is not None:
                _say("stopping")
        finally:
            await fleet.stop()


def _stop_event() -> asyncio.Event:
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    return stopped


def _say(what: str) -> None:
    click.secho(what, dim=True)


async def _bring_up(fleet: LocalFleet, workloads: list[Workload], tour: Callable[[ApiClient], None]) -> None:
    started = time.monotonic()
    await fleet.start()
    client = ApiClient(fleet.url, fleet.admin_token())
    # On a thread that may outlive a Ctrl-C: its next request fails, because the control plane is gone.
    await asyncio.to_thread(_place, client, workloads, {agent.name for agent in fleet.config.agents})
    click.secho(f"ready after {time.monotonic() - started:.1f} s\n", fg="green")
    await asyncio.to_thread(tour, client)


def _place(client: ApiClient, workloads: list[Workload], agents: set[str]) -> None:
    _wait_for_agents(client, agents)
    for workload in workloads:
        client.call("PUT", f"/api/v1/workloads/{workload.name}", workload.model_dump(mode="json"))
    if workloads:
        wait_ready(client, [workload.name for workload in workloads], READY_S)


def _wait_for_agents(client: ApiClient, wanted: set[str]) -> None:
    deadline = time.monotonic() + ONLINE_S
    with progress("waiting for the agents"):
        while True:
            online = {node["status"]["node"] for node in client.get("/api/v1/nodes") if node["status"]["online"]}
            if wanted <= online:
                return
            if time.monotonic() > deadline:
                raise FleetError(f"these agents did not come up: {', '.join(sorted(wanted - online))}; see their logs")
            time.sleep(0.1)
