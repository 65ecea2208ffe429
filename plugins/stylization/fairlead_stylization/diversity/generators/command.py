"""`fairlead style-train-generator`: small inpainting and colorization networks of one's own, to search with."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ...errors import BadSetting, MissingExtra, StylizationError
from ...training.run_options import tell_passed_over


@click.command("style-train-generator")
@click.argument("kind", type=click.Choice(["inpainting", "colorization"]))
@click.option("--contents", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True,
              help="Folder of photographs, also in folders of it.")  # fmt: skip
@click.option("--out", "-o", type=click.Path(dir_okay=False, path_type=Path), required=True, help="The weights' file.")
@click.option("--steps", default=4000, show_default=True)
@click.option("--batch", default=8, show_default=True, help="Pictures of a step.")
@click.option("--crop", default=128, show_default=True, help="Side of the squares that are cut out, in pixels.")
@click.option("--rate", "learning_rate", default=2e-3, show_default=True, help="Adam's rate at first.")
@click.option("--seed", default=0, show_default=True)
def train_generator_command(contents: Path, out: Path, **options: Any) -> None:
    """Train a small network that fills holes (inpainting) or colours grey pictures (colorization)."""
    try:
        from ...quality.split import is_test
        from .shipped import save_generator
        from .training import GeneratorTraining, train_generator
    except ImportError as problem:
        raise click.ClickException(str(MissingExtra("training", "torch"))) from problem
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    try:
        _require_place(out)
        wanted = GeneratorTraining(**options)
        tell_passed_over(contents)
        with Progress(*columns) as bar:
            task = bar.add_task(f"reading {contents}", total=wanted.steps)

            def tell(step: int, loss: float) -> None:
                bar.update(task, completed=step, description=f"loss {loss:.3f}")

            save_generator(train_generator(contents, wanted, tell, is_test), out)
    except (StylizationError, OSError) as problem:
        raise click.ClickException(str(problem)) from problem
    click.echo(f"{out} ({out.stat().st_size / 1e6:.2f} MB)")


def _require_place(out: Path) -> None:
    """Refuse before training what could not be written after it."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=out.parent):
            pass
    except OSError as error:
        raise BadSetting(f"--out {out}: {error.strerror or error}; accepted: a path that can be written") from error
