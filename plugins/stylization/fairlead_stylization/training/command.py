"""`fairlead style-train` and `fairlead style-export`: weights of one's own."""

from __future__ import annotations

from pathlib import Path

import click
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from ..errors import MissingExtra, StylizationError

_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command("style-train")
@click.option("--contents", type=_FOLDER, required=True, help="Folder of photographs.")
@click.option("--styles", type=_FOLDER, required=True, help="Folder of paintings.")
@click.option("--vgg", type=_FILE, required=True, help="VGG-19 (vgg_normalised), to relu3_1 at least.")
@click.option("--slim", type=_FILE, help="Slim VGG-19, where the full one ends before relu5_1.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder of the run.")
@click.option("--variant", type=click.Choice(["edge", "quality"]), default="edge", show_default=True)
@click.option("--steps", default=20000, show_default=True, help="In all; a run in the same folder goes on.")
@click.option("--batch", default=4, show_default=True)
@click.option("--size", default=128, show_default=True, help="Side of the pictures, in pixels.")
@click.option("--rate", default=1e-3, show_default=True, help="Adam's highest rate.")
@click.option("--workers", default=1, show_default=True, help="Batches that are computed at once.")
@click.option("--threads", default=0, help="Of torch, for each worker.")
@click.option("--seed", default=0, show_default=True)
def train_command(**options: object) -> None:
    """Train a student on your own pictures; stop it at any time, the same command goes on."""
    try:
        from .loop import train
        from .settings import TrainingSettings
    except ImportError as problem:
        raise click.ClickException(str(MissingExtra("training", "torch"))) from problem
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}"), TimeRemainingColumn())
    with Progress(*columns) as bar:
        task = bar.add_task("training", total=float(str(options["steps"])))

        def tell(step: int, terms: dict[str, float]) -> None:
            bar.update(task, completed=step, description=f"content {terms['content']:.2f} style {terms['style']:.2f}")

        try:
            click.echo(train(TrainingSettings(**options), tell))  # type: ignore[arg-type]
        except StylizationError as problem:
            raise click.ClickException(str(problem)) from problem


@click.command("style-export")
@click.argument("weights", type=_FILE)
@click.option("--variant", type=click.Choice(["edge", "quality"]), default="edge", show_default=True)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder of the graphs.")
def export_command(weights: Path, variant: str, out: Path) -> None:
    """Write a run's weights as ONNX graphs, with 8 bits a weight."""
    try:
        from ..networks.export import export
        from ..networks.running import read_student
    except ImportError as problem:
        raise click.ClickException(str(MissingExtra("export", "export"))) from problem
    out.mkdir(parents=True, exist_ok=True)
    try:
        for file in export(read_student(weights, variant), out, variant):
            click.echo(f"{file} ({file.stat().st_size / 1e6:.2f} MB)")
    except StylizationError as problem:
        raise click.ClickException(str(problem)) from problem
