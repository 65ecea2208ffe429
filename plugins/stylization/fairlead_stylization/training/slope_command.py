"""`fairlead style-train-slope`: a slope of one's own that scenes' views go down."""

from __future__ import annotations

from pathlib import Path

import click

from .run_options import FOLDER, needing_torch, run_options, shown_progress, tell_passed_over, told_plainly


@click.command("style-train-slope")
@run_options(steps=2000, rate=2e-3, every=50)
@click.option("--base", type=FOLDER, help="Folder with the weights of the network that draws. Default: those shipped.")
def slope_command(base: Path | None, **options: object) -> None:
    """Train what sees pictures as VGG-19 does, for scenes; stop it at any time, the same command goes on."""
    with needing_torch():
        from ..networks.running import WEIGHTS, shipped_stylizer
        from .refining import train_refiner
        from .seeing import SlopeRun
        from .settings import TrainingSettings
    tell_passed_over(*(Path(str(options[name])) for name in ("contents", "styles")))
    with told_plainly(), shown_progress(options["steps"]) as tell:
        drawing = shipped_stylizer(str(options["variant"]), folder=base or WEIGHTS)
        click.echo(train_refiner(TrainingSettings(**options), drawing, tell, SlopeRun))  # type: ignore[arg-type]
