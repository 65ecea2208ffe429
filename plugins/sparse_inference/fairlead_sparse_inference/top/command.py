"""The commands `fairlead sparse top` and `fairlead sparse telemetry`."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import click
from rich.console import RenderableType

from fairlead_agent.cli.api_client import ApiClient, with_client
from fairlead_agent.cli.names import workload_argument
from fairlead_agent.cli.output import console

from ..sparsity.reporting import Report, clear_errors, format_option, plots_option
from .rates import by_layer, energy_note, rates
from .reading import Reading
from .source import read, spans
from .view import view

every_option = click.option(
    "--every", default=1.0, show_default=True, type=click.FloatRange(0.1, 3600), help="Seconds between readings."
)


@click.command("top")
@workload_argument
@every_option
@click.option("--once", is_flag=True, help="Show what happened since the instance's start, and end.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a reading.")
@with_client
def top(workload: str, every: float, once: bool, as_json: bool, client: ApiClient) -> None:
    """Show what WORKLOAD's engine does: speed, neurons, cache, reads, guesses, pages. Ctrl-C ends it.

    What an instance does not do (no predictor, nothing on storage) is not shown.
    """
    readings = spans(lambda: read(client, workload), every)
    readings = itertools.islice(readings, 1) if once else readings
    show = _print if as_json else _show if once else _live
    try:
        show(workload, readings)
    except KeyboardInterrupt:
        return


@click.command("telemetry")
@workload_argument
@every_option
@click.option("--seconds", default=60.0, show_default=True, type=click.FloatRange(0.1), help="How long to record.")
@click.option("--out", type=click.File("w", encoding="utf-8"), default="-", help="Write the readings here.")
@plots_option
@format_option
@with_client
@clear_errors
def telemetry(
    workload: str, every: float, seconds: float, out: TextIO, plots: Path | None, plot_format: str, client: ApiClient
) -> None:
    """Record what WORKLOAD's engine does, one JSON object a reading, and plot it."""
    report, ends_s = Report(as_json=False), time.monotonic() + seconds
    recorded: list[dict[str, Any]] = []
    for reading, span_s in spans(lambda: read(client, workload), every):
        recorded.append(_described(workload, reading, span_s))
        print(json.dumps(recorded[-1], ensure_ascii=False), file=out, flush=True)
        if time.monotonic() + every > ends_s:
            break
    drawn = report.plot(plots, lambda directory: _draw(recorded, directory, plot_format))
    for path in drawn:
        report.say(path)


def _draw(recorded: list[dict[str, Any]], directory: Path, form: str) -> list[Path]:
    from .plot import draw

    return draw(recorded, directory, form)


def _described(workload: str, reading: Reading, span_s: float | None) -> dict[str, Any]:
    described: dict[str, Any] = {"workload": workload, "at_s": reading.at_s, "span_s": span_s}
    if reading.node:
        described["node"] = reading.node
    if span_s is None and (note := energy_note(reading)):
        described["energy"] = note
    return {**described, "values": rates(reading, span_s), "layers": by_layer(reading)}


def _print(workload: str, readings: Iterator[tuple[Reading, float | None]]) -> None:
    for reading, span_s in readings:
        click.echo(json.dumps(_described(workload, reading, span_s), ensure_ascii=False))


def _show(workload: str, readings: Iterator[tuple[Reading, float | None]]) -> None:
    for reading, span_s in readings:
        console().print(_view(workload, reading, span_s))


def _live(workload: str, readings: Iterator[tuple[Reading, float | None]]) -> None:
    from rich.live import Live

    with Live(console=console(), auto_refresh=False) as live:
        for reading, span_s in readings:
            live.update(_view(workload, reading, span_s), refresh=True)


def _view(workload: str, reading: Reading, span_s: float | None) -> RenderableType:
    where = f" on {reading.node}" if reading.node else ""
    title = f"{workload}{where}, " + ("since its start" if span_s is None else f"last {span_s:.1f} s")
    return view(title, rates(reading, span_s), by_layer(reading), energy_note(reading))
