"""`fairlead style-train-refiner`: a refiner of one's own, for a network that is there."""

from __future__ import annotations

from pathlib import Path

import click
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from ..errors import MissingExtra, StylizationError

_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command("style-train-refiner")
@click.option("--contents", type=_FOLDER, required=True, help="Folder of photographs.")
@click.option("--styles", type=_FOLDER, required=True, help="Folder of paintings.")
@click.option("--vgg", type=_FILE, required=True, help="VGG-19 (vgg_normalised), to relu3_1 at least.")
@click.option("--base", type=_FOLDER, help="Folder with the weights of the network that draws. Default: those shipped.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder of the run.")
@click.option("--variant", type=click.Choice(["edge", "quality"]), default="edge", show_default=True)
@click.option("--steps", default=2500, show_default=True, help="In all; a run in the same folder goes on.")
@click.option("--batch", default=4, show_default=True)
@click.option("--size", default=128, show_default=True, help="Side of the pictures, in pixels.")
@click.option("--rate", default=4e-3, show_default=True, help="Adam's highest rate.")
@click.option("--content", default=0.3, show_default=True, help="Weight of the content beside the style.")
@click.option("--distilled", default=0.3, show_default=True, help="Weight of seeing what VGG-19 sees.")
@click.option("--threads", default=0, help="Of torch.")
@click.option("--average", default=0.99, show_default=True, help="Decay of the weights' average, which is kept.")
@click.option("--every", default=25, show_default=True, help="Steps between two records.")
@click.option("--seed", default=0, show_default=True)
def refiner_command(base: Path | None, content: float, distilled: float, **options: object) -> None:
    """Train what refines a network's pictures; stop it at any time, the same command goes on."""
    try:
        from ..networks.running import WEIGHTS, drawing_stylizer
        from .objective import LossWeights
        from .refining import train_refiner
        from .settings import TrainingSettings
    except ImportError as problem:
        raise click.ClickException(str(MissingExtra("training", "torch"))) from problem
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}"), TimeRemainingColumn())
    with Progress(*columns) as bar:
        task = bar.add_task("training", total=float(str(options["steps"])))

        def tell(step: int, terms: dict[str, float]) -> None:
            bar.update(task, completed=step, description=f"content {terms['content']:.2f} style {terms['style']:.2f}")

        try:
            losses = LossWeights(content=content, style=1.0, distilled=distilled)
            drawing = drawing_stylizer(str(options["variant"]), folder=base or WEIGHTS)
            click.echo(train_refiner(TrainingSettings(**options, losses=losses), drawing, tell))  # type: ignore[arg-type]
        except StylizationError as problem:
            raise click.ClickException(str(problem)) from problem
