"""`fairlead isac simulate`: a scenario without a fleet, with plots."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
import yaml

from fairlead_agent.cli.errors import CliError
from fairlead_agent.cli.output import console, json_option, print_json, table
from fairlead_agent.config.errors import ConfigError
from fairlead_agent.config.found import config_path
from fairlead_agent.graph.display import show

from ..errors import IsacError

if TYPE_CHECKING:
    from ..simulation.reading import ScenarioFile
    from ..simulation.scenario import MovingScenario
    from ..simulation.timeline import Timeline

Step = Callable[[str, float], None]
POLICIES = ("multi-granularity", "slot", "slot-paced", "coarse")
#: Of the region: users and their SNR, where the scenario's distances are not to matter.
REGION_USERS, REGION_SNR_DB, REGION_DROPS = 4, 20.0, 3


@dataclass(frozen=True)
class Loaded:
    """A scenario with its name."""

    name: str
    file: ScenarioFile
    scenario: MovingScenario


@click.command()
@click.argument("scenario")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Folder for pictures. Default: none are.")
@click.option("--seconds", type=click.FloatRange(0, 600, min_open=True), help="Of simulated time, not the file's.")
@click.option("--seed", type=click.IntRange(0), help="Instead of the file's.")
@click.option("--policy", "policies", multiple=True, type=click.Choice(POLICIES), help="Instead of the file's; many.")
@json_option
def simulate(
    scenario: str,
    out: Path | None,
    seconds: float | None,
    seed: int | None,
    policies: tuple[str, ...],
    as_json: bool,
) -> None:
    """Run SCENARIO (a shipped one's name, or a file), and draw what came of it.

    Pictures: decisions by granularity over time, the rate-sensing region of the four stages, a range-Doppler map.
    """
    changes = {name: value for name, value in (("seconds", seconds), ("seed", seed)) if value is not None}
    try:
        loaded = load(scenario, changes)
        with _bar() as step:
            timelines = {name: _run(loaded, name, step) for name in policies or (loaded.file.policy,)}
            pictures = [] if out is None else _draw(loaded, timelines, out, step)
    except (ConfigError, IsacError, OSError) as error:
        raise CliError(str(error)) from None
    if as_json:
        print_json({name: found.kpis() for name, found in timelines.items()})
    else:
        console().print(_figures(loaded.name, timelines))
    for path in pictures:
        click.echo(str(path), err=as_json)


def load(name: str, changes: dict[str, Any]) -> Loaded:
    """Read a scenario by the name of a shipped one or by its path, with some keys changed.

    Raises:
        IsacError: names file, key, value and what is accepted.
        ConfigError: there is no such shipped scenario.
    """
    from ..simulation.reading import read_scenario

    path = config_path("scenarios", name)
    try:
        content = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise IsacError(f"{path}: {' '.join(str(error).split())}; accepted: YAML") from None
    if not isinstance(content, dict):
        raise IsacError(f"{path}: {content!r}; accepted: keys with values")
    try:
        file, scenario = read_scenario({**content, **changes}, path.parent)
    except IsacError as error:
        raise IsacError(f"{path}: {error}") from None
    return Loaded(path.stem, file, scenario)


def _run(loaded: Loaded, name: str, step: Step) -> Timeline:
    from ..simulation.policies import Policy
    from ..simulation.run import simulate as run

    file = loaded.file
    policy = Policy(name, file.bits_per_refresh, file.most_sensing)
    rng = np.random.default_rng(file.seed)
    return run(loaded.scenario, policy, file.seconds, rng, lambda share: step(name, share))


def _draw(loaded: Loaded, timelines: dict[str, Timeline], out: Path, step: Step) -> list[Path]:
    from ..captures.detections import detections
    from ..captures.picture import draw
    from ..scenarios.looking import look
    from ..simulation.pictures import draw_layers

    out.mkdir(parents=True, exist_ok=True)
    pictures = [out / f"{loaded.name}-{policy}.png" for policy in timelines]
    for path, timeline in zip(pictures, timelines.values(), strict=True):
        draw_layers(timeline, path)
    if loaded.scenario.targets:
        pictures += [out / f"{loaded.name}-region.png", out / f"{loaded.name}-range-doppler.png"]
        _draw_region(loaded, pictures[-2], step)
        surface = look(loaded.scenario, loaded.name, np.random.default_rng(loaded.file.seed))
        draw(surface, detections(surface), pictures[-1])
    return pictures


def _draw_region(loaded: Loaded, path: Path, step: Step) -> None:
    from ..plots.region import draw_region
    from ..scenarios.region import region

    cell, target = loaded.scenario.cell, loaded.scenario.targets[0].tracked(0.0).target
    rng = np.random.default_rng(loaded.file.seed)
    told = lambda share: step("stages", share)
    curves = region(cell, REGION_USERS, REGION_SNR_DB, target, rng, drops=REGION_DROPS, progress=told)
    users = f"{REGION_USERS} users at {REGION_SNR_DB:g} dB"
    draw_region(curves, f"{cell.antennas} antennas, {users}, Rayleigh, mean of {REGION_DROPS} drops", path)


def _figures(name: str, timelines: dict[str, Timeline]) -> Any:
    columns = ("policy", "sum rate", "rate p5", "needs met", "sensing takes", "age", "fallbacks")
    return table(name, columns, [(policy, *_row(timeline.kpis())) for policy, timeline in timelines.items()])


def _row(found: dict[str, float]) -> tuple[str, ...]:
    return (
        show("x_bits_per_s", found["sum_rate_bits_per_s"]),
        show("x_bits_per_s", found["user_rate_p5_bits_per_s"]),
        f"{found['sensing_satisfaction']:.1%}",
        f"{found['sensing_overhead']:.1%}",
        show("x_s", found["age_of_sensing_s"]),
        f"{found['fallbacks']:.0f}",
    )


@contextmanager
def _bar() -> Iterator[Step]:
    """A progress bar on standard error."""
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
