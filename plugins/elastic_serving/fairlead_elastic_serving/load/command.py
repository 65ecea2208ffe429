"""`fairlead serving-load`: a burst, and what its clients see."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.progress import Progress

from fairlead_agent.cli.api_client import find_client
from fairlead_agent.cli.names import workload_argument
from fairlead_agent.cli.output import Column, console, json_option, table

from .client import Outcome, Server, replay
from .scaling import Scale, scaled
from .summary import Goal, Summary, summarize
from .traces import BURST_S, WINDOW_START_S, Arrival, generated, read_azure, window

POSITIVE = click.FloatRange(0, min_open=True)


@click.command("serving-load")
@workload_argument
@click.option("--url", help="Of the gateway, or of any OpenAI-compatible server [env: FAIRLEAD_URL].")
@click.option("--token", help="An access token [env: FAIRLEAD_TOKEN].")
@click.option("--direct", is_flag=True, help="--url is a server and no gateway: no token is looked for.")
@click.option(
    "--trace",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="CSV with TIMESTAMP, "
    "ContextTokens, GeneratedTokens. Default: generated in the shape of a burst of the Azure code trace.",
)
@click.option(
    "--start",
    type=click.FloatRange(0),
    help="Second of the trace at which the replay begins. Default: just before the burst.",
)
@click.option("--seconds", type=POSITIVE, default=30.0, show_default=True, help="Of the trace.")
@click.option("--prompts", type=POSITIVE, default=0.05, show_default=True, help="Factor of the prompts' length.")
@click.option("--answers", type=POSITIVE, default=2.0, show_default=True, help="Factor of the answers' length.")
@click.option(
    "--keep", type=click.FloatRange(0, 1, min_open=True), default=0.2, show_default=True, help="Share of the requests."
)
@click.option(
    "--most-tokens", type=click.IntRange(1), default=200, show_default=True, help="Of a prompt, and of an answer."
)
@click.option(
    "--vocabulary",
    type=click.IntRange(9),
    default=1000,
    show_default=True,
    help="Prompts are drawn from token ids below it.",
)
@click.option(
    "--ttft", type=POSITIVE, default=2.0, show_default=True, help="Seconds to the first token of a good request."
)
@click.option("--tpot", type=POSITIVE, default=0.2, show_default=True, help="Seconds of each further token of one.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--out", type=click.File("w", encoding="utf-8"), help="JSON lines, one a request.")
@json_option
def serving_load(workload: str, url: str | None, token: str | None, direct: bool, out: Any, **given: Any) -> None:
    """Send a burst to WORKLOAD, whatever comes of the requests before (open loop), and measure its answers.

    As it stands the trace has long prompts and short answers; the factors make it fit a small server.
    """
    server = _server(workload, url, token, direct, given["vocabulary"])
    try:
        arrivals = _arrivals(**{name: given[name] for name in _OF_ARRIVALS})
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    outcomes = _replay(server, arrivals, given["seed"])
    for outcome in outcomes if out is not None else ():
        out.write(json.dumps(asdict(outcome)) + "\n")
    summary = summarize(outcomes, Goal(given["ttft"], given["tpot"]))
    if given["as_json"]:
        click.echo(json.dumps(summary.as_json(), indent=2))
    else:
        _show(summary)
    if summary.failed == summary.requests:
        raise click.ClickException(f"no request was answered whole: {next(iter(summary.errors))}")


_OF_ARRIVALS = ("trace", "start", "seconds", "prompts", "answers", "keep", "most_tokens", "seed")


def _server(workload: str, url: str | None, token: str | None, direct: bool, vocabulary: int) -> Server:
    if direct:
        if not url:
            raise click.UsageError("--direct needs --url")
        return Server(url, workload, token or "", vocabulary)
    client = find_client(url, token)
    return Server(client.url, workload, client.token, vocabulary)


def _arrivals(
    trace: Path | None,
    start: float | None,
    seconds: float,
    prompts: float,
    answers: float,
    keep: float,
    most_tokens: int,
    seed: int,
) -> list[Arrival]:
    """The requests of a window; raises ValueError where it holds none, or the trace cannot be read."""
    whole = generated(seed) if trace is None else read_azure(trace)
    begin = start if start is not None else BURST_S[0] if trace is None else WINDOW_START_S + BURST_S[0]
    found = scaled(window(whole, begin, seconds), Scale(prompts, answers, keep, most_tokens), seed)
    if not found:
        raise ValueError(f"--keep {keep:g} leaves no request of {seconds:g} s")
    return found


def _replay(server: Server, arrivals: Sequence[Arrival], seed: int) -> list[Outcome]:
    with Progress(console=console(stderr=True), transient=True) as bar:
        task = bar.add_task(f"{len(arrivals)} requests", total=len(arrivals))
        return asyncio.run(replay(server, arrivals, seed, lambda outcome: bar.update(task, advance=1)))


def _show(summary: Summary) -> None:
    names = {"time to first token": summary.ttft_s, "time per further token": summary.tpot_s, "whole": summary.e2e_s}
    rows = [(name, *(f"{value * 1000:.1f} ms" for value in found.values())) for name, found in names.items() if found]
    console().print(table("Answers", ("", *(Column(share) for share in ("P50", "P90", "P99"))), rows))
    click.echo(
        f"{summary.requests} requests in {summary.seconds:.1f} s, {summary.failed} not answered whole; goodput "
        f"{summary.goodput_per_s:.2f} requests/s, {summary.tokens_per_s:.0f} tokens/s"
    )
    for node, count in sorted(summary.nodes.items()):
        click.echo(f"  {node}: {count}")
    for error, count in summary.errors.items():
        click.secho(f"  {count} x {error}", fg="red")
