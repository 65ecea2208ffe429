"""`fairlead style-train` and `fairlead style-export`: weights of one's own."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

import click

from ..errors import BadSetting, MissingExtra, StylizationError
from ..pictures import write_file
from .run_options import FILE, needing_torch, run_options, shown_progress, tell_passed_over, told_plainly

#: Weights of the losses in the run whose weights ship. Those of the deep layers and of patches cost most of a step.
SHIPPED = {
    "content": 1.0, "style": 30.0, "itself": 10.0, "distilled": 0.2, "deep_content": 0.0, "deep_style": 0.0,
    "patches": 0.0, "attention": 0.0, "identity": 0.0,
}  # fmt: skip
_LOSSES = (
    "A term of the loss and its weight; may be given several times. Defaults, those of the weights that ship: "
    + ", ".join(f"{name}={weight:g}" for name, weight in SHIPPED.items())
    + "."
)


@click.command("style-train")
@run_options(steps=20000, rate=1e-3, every=100)
@click.option("--slim", type=FILE, help="Slim VGG-19, where the full one ends before relu5_1.")
@click.option("--workers", default=1, show_default=True, help="Batches that are computed at once.")
@click.option("--loss", "losses", multiple=True, metavar="TERM=WEIGHT", help=_LOSSES)
def train_command(losses: tuple[str, ...], **options: object) -> None:
    """Train a student on your own pictures; stop it at any time, the same command goes on."""
    with needing_torch():
        from .loop import train
        from .objective import LossWeights
        from .settings import TrainingSettings
    tell_passed_over(*(Path(str(options[name])) for name in ("contents", "styles")))
    with told_plainly(), shown_progress(options["steps"]) as tell:
        weights = LossWeights(**(SHIPPED | read_losses(losses)))
        click.echo(train(TrainingSettings(**options, losses=weights), tell))  # type: ignore[arg-type]


def read_losses(words: Iterable[str]) -> dict[str, float]:
    """Weights by term, of words such as "style=30".

    Raises:
        BadSetting: no such term, or not a number of 0 and above.
    """
    found = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or name not in SHIPPED:
            raise BadSetting(f"--loss {word!r}; accepted: TERM=WEIGHT, of the terms {', '.join(SHIPPED)}")
        try:
            found[name] = float(text)
        except ValueError:
            found[name] = math.nan
        if not 0 <= found[name] < math.inf:
            raise BadSetting(f"--loss {word!r}; accepted: a weight of 0 and above")
    return found


@click.command("style-export")
@click.argument("weights", type=FILE, required=False)
@click.option("--variant", type=click.Choice(["edge", "quality"]), default="edge", show_default=True)
@click.option(
    "--refiner", type=FILE, help="Weights of what refines; VARIANT-refiner.safetensors beside WEIGHTS if there."
)
@click.option(
    "--out", "-o", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder of the graphs."
)
def export_command(weights: Path | None, variant: str, refiner: Path | None, out: Path) -> None:
    """Write a run's weights, or those that ship, as ONNX graphs: what draws with 8 bits a weight, and what refines.

    A run's own weights go along: the folder is what a workload's `weights` takes.
    """
    try:
        from ..networks.export import export
        from ..networks.refiner_export import export_refiner
        from ..networks.running import drawn_by, read_refiner, read_student, student_file
    except ImportError as problem:
        raise click.ClickException(str(MissingExtra("export", "export"))) from problem
    own = weights is not None
    drawing = drawn_by(variant) if weights is None else variant
    weights = student_file(variant) if weights is None else weights
    beside = weights.with_name(f"{variant}-refiner.safetensors")
    refiner = refiner or (beside if beside.is_file() else None)
    try:
        out.mkdir(parents=True, exist_ok=True)
        files = export(read_student(weights, drawing), out, drawing)
        refining = () if refiner is None else export_refiner(read_refiner(refiner, variant), out, variant)
        if own:
            files = (*files, *_beside(out, variant, weights, refiner))
    except (StylizationError, OSError) as problem:
        raise click.ClickException(str(problem)) from problem
    for file in (*files, *refining):
        click.echo(f"{file} ({file.stat().st_size / 1e6:.2f} MB)")


def _beside(out: Path, variant: str, weights: Path, refiner: Path | None) -> Iterable[Path]:
    """What kernels and searches of a service read besides graphs: the weights themselves, by the variant's name."""
    for name, source in ((variant, weights), (f"{variant}-refiner", refiner)):
        target = out / f"{name}.safetensors"
        if source is not None and source.suffix == ".safetensors":
            yield target if target.exists() and target.samefile(source) else write_file(target, source.read_bytes())
