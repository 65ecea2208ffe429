"""`fairlead isac simulate`: a scenario without a fleet, with plots."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import numpy as np

from fairlead_agent.cli.errors import CliError
from fairlead_agent.cli.output import console, json_option, print_json, table
from fairlead_agent.config.errors import ConfigError
from fairlead_agent.graph.display import show

from ..errors import IsacError

#: Of the region: users and their SNR, where the scenario's distances are not to matter.
REGION_USERS, REGION_SNR_DB, REGION_DROPS = 4, 20.0, 3


@click.command()
@click.argument("scenario")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Folder for pictures. Default: none are.")
@click.option(
    "--seconds", type=click.FloatRange(0, 600, min_open=True), help="Of simulated time, instead of the file's."
)
@click.option("--seed", type=click.IntRange(0), help="Instead of the file's.")
@json_option
def simulate(scenario: str, out: Path | None, seconds: float | None, seed: int | None, as_json: bool) -> None:
    """Run SCENARIO (a shipped one's name, or a file) under its policies, and draw what came of it.

    Pictures: a timeline of decisions for each policy, the rate-sensing region of the stages, a range-Doppler map.
    """
    from ..scenarios.file import load_scenario

    try:
        file = load_scenario(scenario)
        changes = {name: value for name, value in (("seconds", seconds), ("seed", seed)) if value is not None}
        file = file.model_copy(update=changes)
        with _bar() as step:
            timelines = {name: _run(file, name, step) for name in file.policies}
            pictures = [] if out is None else _draw(file, timelines, out, step)
    except (ConfigError, IsacError, OSError) as error:
        raise CliError(str(error)) from None
    if as_json:
        print_json({name: found.kpis() for name, found in timelines.items()})
    else:
        console().print(_figures(file.name, timelines))
    for path in pictures:
        click.echo(str(path), err=as_json)


def _run(file: Any, policy: str, step: Callable[[str, float], None]) -> Any:
    from ..simulation.run import simulate as run

    rng = np.random.default_rng(file.seed)
    return run(file.scenario(), file.policy(policy), file.seconds, rng, lambda share: step(policy, share))


def _draw(file: Any, timelines: dict[str, Any], out: Path, step: Callable[[str, float], None]) -> list[Path]:
    from ..plots.timeline import draw_timeline

    pictures = []
    for policy, timeline in timelines.items():
        path = out / f"{file.name}-{policy}.png"
        draw_timeline(timeline, f"{file.name}: {policy}, {file.seconds:g} s", path)
        pictures.append(path)
    if file.targets:
        pictures += [_draw_region(file, out, step), _draw_map(file, out)]
    return pictures


def _draw_region(file: Any, out: Path, step: Callable[[str, float], None]) -> Path:
    from ..plots.region import draw_region
    from ..scenarios.region import region

    target = file.targets[0].target(file.seconds, np.random.default_rng(file.seed)).tracked(0.0).target
    rng = np.random.default_rng(file.seed)
    curves = region(
        file.cell_of(),
        REGION_USERS,
        REGION_SNR_DB,
        target,
        rng,
        drops=REGION_DROPS,
        progress=lambda share: step("stages", share),
    )
    antennas = file.cell.antennas
    title = f"{antennas} antennas, {REGION_USERS} users at {REGION_SNR_DB:g} dB, Rayleigh, {REGION_DROPS} drops"
    path = out / f"{file.name}-region.png"
    draw_region(curves, title, path)
    return path


def _draw_map(file: Any, out: Path) -> Path:
    from ..captures.detections import detections
    from ..captures.picture import draw
    from ..scenarios.looking import look

    surface = look(file)
    path = out / f"{file.name}-range-doppler.png"
    draw(surface, detections(surface), path)
    return path


def _figures(name: str, timelines: dict[str, Any]) -> Any:
    columns = ("policy", "sum rate", "rate p5", "needs met", "sensing takes", "age", "fallbacks")
    rows = []
    for policy, timeline in timelines.items():
        found = timeline.kpis()
        rows.append(
            (
                policy,
                show("x_bits_per_s", found["sum_rate_bits_per_s"]),
                show("x_bits_per_s", found["user_rate_p5_bits_per_s"]),
                f"{found['sensing_satisfaction']:.1%}",
                f"{found['sensing_overhead']:.1%}",
                show("x_s", found["age_of_sensing_s"]),
                f"{found['fallbacks']:.0f}",
            )
        )
    return table(name, columns, rows)


@contextmanager
def _bar() -> Any:
    """A progress bar on standard error; where that is no terminal, a line now and then."""
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=console(stderr=True), transient=True)
    tasks: dict[str, Any] = {}
    began = time.monotonic()

    def step(what: str, share: float) -> None:
        if what not in tasks:
            tasks[what] = bar.add_task(what, total=1.0)
        bar.update(tasks[what], completed=share)

    with bar:
        yield step
    click.echo(f"simulated in {time.monotonic() - began:.1f} s", err=True)
