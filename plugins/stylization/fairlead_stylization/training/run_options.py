"""What the commands that train have in common: options of a run, and its progress on the terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from ..errors import MissingExtra, StylizationError
from ..pictures.folders import TRAINED, list_folder, passed_over

FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


def run_options(*, steps: int, rate: float, every: int) -> Callable[[Any], Any]:
    """Add the options of every run to a command, with defaults of its own."""
    given = (
        click.option("--contents", type=FOLDER, required=True, help="Folder of photographs."),
        click.option("--styles", type=FOLDER, required=True, help="Folder of paintings."),
        click.option("--vgg", type=FILE, required=True, help="VGG-19 (vgg_normalised), to relu3_1 at least."),
        click.option(
            "--out", "-o", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder of the run."
        ),
        click.option("--variant", type=click.Choice(["edge", "quality"]), default="edge", show_default=True),
        click.option("--steps", default=steps, show_default=True, help="In all; a run in the same folder goes on."),
        click.option("--batch", default=4, show_default=True),
        click.option("--size", default=128, show_default=True, help="Side of the pictures, in pixels."),
        click.option("--rate", default=rate, show_default=True, help="Adam's highest rate."),
        click.option("--threads", default=0, help="Of torch, for each worker."),
        click.option(
            "--average", default=0.99, show_default=True, help="Decay of the weights' average, which is kept."
        ),
        click.option("--every", default=every, show_default=True, help="Steps between two records."),
        click.option("--seed", default=0, show_default=True),
    )

    def add(command: Any) -> Any:
        for option in reversed(given):
            command = option(command)
        return command

    return add


def tell_passed_over(*folders: Path) -> None:
    """Say what training does not read of folders, a line for each."""
    listings = [list_folder(folder, TRAINED, within=True) for folder in dict.fromkeys(folders)]
    for line in passed_over(listings, ", ".join(TRAINED)):
        click.echo(line, err=True)


@contextmanager
def needing_torch() -> Iterator[None]:
    """Around imports: says what to install where they fail."""
    try:
        yield
    except ImportError as problem:
        raise click.ClickException(str(MissingExtra("training", "torch"))) from problem


@contextmanager
def told_plainly() -> Iterator[None]:
    """Around a run: what is wrong with what it was given is one line."""
    try:
        yield
    except (StylizationError, OSError) as problem:
        raise click.ClickException(str(problem)) from problem


@contextmanager
def shown_progress(steps: object) -> Iterator[Callable[[int, dict[str, float]], None]]:
    """Show a bar; give what tells it the step and the losses there."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}"), TimeRemainingColumn())
    with Progress(*columns) as bar:
        task = bar.add_task("training", total=float(str(steps)))

        def tell(step: int, terms: dict[str, float]) -> None:
            names = [name for name in ("content", "style") if name in terms] or list(terms)
            bar.update(task, completed=step, description=" ".join(f"{name} {terms[name]:.2f}" for name in names))

        yield tell
