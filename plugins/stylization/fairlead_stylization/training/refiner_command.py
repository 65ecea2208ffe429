"""`fairlead style-train-refiner`: a refiner of one's own, for a network that is there."""

from __future__ import annotations

from pathlib import Path

import click

from .run_options import FOLDER, needing_torch, run_options, shown_progress, tell_passed_over, told_plainly


@click.command("style-train-refiner")
@run_options(steps=2500, rate=4e-3, every=25)
@click.option("--base", type=FOLDER, help="Folder with the weights of the network that draws. Default: those shipped.")
@click.option("--content", default=0.3, show_default=True, help="Weight of the content beside the style.")
@click.option("--distilled", default=0.3, show_default=True, help="Weight of seeing what VGG-19 sees.")
def refiner_command(base: Path | None, content: float, distilled: float, **options: object) -> None:
    """Train what refines a network's pictures; stop it at any time, the same command goes on."""
    with needing_torch():
        from ..networks.running import WEIGHTS, drawing_stylizer
        from .objective import LossWeights
        from .refining import train_refiner
        from .settings import TrainingSettings
    tell_passed_over(*(Path(str(options[name])) for name in ("contents", "styles")))
    with told_plainly(), shown_progress(options["steps"]) as tell:
        losses = LossWeights(content=content, style=1.0, distilled=distilled)
        drawing = drawing_stylizer(str(options["variant"]), folder=base or WEIGHTS)
        click.echo(train_refiner(TrainingSettings(**options, losses=losses), drawing, tell))  # type: ignore[arg-type]
