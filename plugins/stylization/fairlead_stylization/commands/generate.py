"""`fairlead style-generate`: holes filled and grey pictures coloured, once or in several ways, in this process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress

from fairlead_agent.cli.errors import CliError

from ..diversity.request import FINISHES, TEXTURED
from ..errors import BadPicture, BadSetting, MissingExtra, StylizationError
from ..pictures import Picture, read_picture, write_file, write_picture
from .bars import progress_bars
from .leftovers import remove_leftovers, surplus_results
from .naming import Item, named

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
HELP = """Fill holes in pictures (inpainting) or colour grey ones (colorization), once or in several ways.

\b
fairlead style-generate inpainting photo.jpg --mask hole.png -o out/
fairlead style-generate inpainting photo.jpg --mask hole.png --diverse 4 -o out/
fairlead style-generate inpainting photo.jpg --mask hole.png --finish smooth -o out/    no texture
fairlead style-generate colorization old.jpg --diverse 4 -o out/
fairlead style-generate colorization dabbed.png --hints -o out/       with the colours that are dabbed on it

Small networks that ship do it, in this process; holes are filled with pieces of the same picture then. What is known of
a picture, or its luminance, stays as it is.
"""


@click.command("style-generate", help=HELP)
@click.argument("kind", type=click.Choice(["inpainting", "colorization"]))
@click.argument("inputs", nargs=-1, required=True, type=FILE)
@click.option("--mask", type=FILE, help="White where nothing is known: a picture of the same size; for inpainting.")
@click.option("--hints", is_flag=True, help="Colours of the picture say what it shall have; for colorization.")
@click.option(
    "--finish",
    type=click.Choice(FINISHES),
    help="Of holes: textured (pieces of the picture; the default) or smooth.",
)
@click.option("--diverse", default=1, show_default=True, type=click.IntRange(1, 64), help="Different results of each.")
@click.option(
    "--seed",
    default=0,
    show_default=True,
    type=click.IntRange(0),
    help="Of results and of texture.",
)
@click.option("--weights", type=FILE, help="Of a network that `fairlead style-train-generator` trained.")
@click.option(
    "--out", "-o", default=Path("generated"), show_default=True, type=click.Path(file_okay=False, path_type=Path)
)
def style_generate(kind: str, inputs: tuple[Path, ...], **given: Any) -> None:
    """Run the command."""
    try:
        _require(kind, given)
        items = named((("picture", path) for path in inputs), given["out"], [given["mask"]] if given["mask"] else [])
        completer = _completer(kind, given["weights"])
        given["read"] = {path.resolve() for path in (*inputs, *([given["mask"]] if given["mask"] else ()))}
        console = Console()
        with progress_bars(console) as bar:
            for item in items:
                for written in _completed(completer, item, given, bar):
                    console.print(str(written), soft_wrap=True, markup=False, highlight=False)
    except (StylizationError, OSError) as error:
        raise CliError(str(error)) from None


def _require(kind: str, given: dict[str, Any]) -> None:
    if kind == "inpainting" and given["mask"] is None:
        raise BadSetting("--mask: missing; accepted: a picture that is white where nothing is known, for inpainting")
    for option, wanted in (("mask", "inpainting"), ("finish", "inpainting"), ("hints", "colorization")):
        if given[option] and kind != wanted:
            raise BadSetting(f"--{option}: with {kind}; accepted: with {wanted}")


def _completer(kind: Any, weights: Path | None) -> Any:
    try:
        from ..diversity.generators.completing import Completer
    except ImportError as error:
        raise MissingExtra(kind, "torch") from error
    return Completer(kind, weights)


def _completed(completer: Any, item: Item, given: dict[str, Any], bar: Progress) -> Iterator[Path]:
    from ..diversity.generators.completing import BOUND, CELLS, STRETCH
    from ..diversity.request import Search

    picture = read_picture(item.path)
    for text in picture.conversions:
        click.echo(f"{item.path}: {text}", err=True)
    hole = None if given["mask"] is None else read_hole(given["mask"], picture)
    _tell(completer.kind, picture, item.path, given["hints"])
    finish = given["finish"] or TEXTURED
    if given["diverse"] == 1:
        made = completer.one(picture.pixels, hole, given["hints"], finish, given["seed"])
        yield write_picture(picture.with_pixels(made), given["out"] / f"{item.name}.png")
        return
    wanted = Search(given["diverse"], BOUND, cell=CELLS[completer.kind], seed=given["seed"], stretch=STRETCH)
    task = bar.add_task(f"looking for {wanted.count} of {item.path.name}", total=wanted.steps)
    several, report = completer.several(
        picture.pixels,
        hole,
        given["hints"],
        wanted,
        finish=finish,
        progress=lambda step: bar.update(task, completed=step),
    )
    bar.remove_task(task)
    written = []
    for place, made in enumerate(several, 1):
        written.append(f"{item.name}-{place:02d}.png")
        yield write_picture(picture.with_pixels(made), given["out"] / written[-1])
    told = given["out"] / f"{item.name}-diversity.json"
    before = surplus_results(told, item.name, written)
    yield write_file(told, (json.dumps(report | {"results": written}, indent=2) + "\n").encode())
    remove_leftovers(before, given["read"])


def _tell(kind: str, picture: Picture, path: Path, hints: bool) -> None:
    """What a user may not expect."""
    from ..diversity.generators.completing import is_grey

    if kind == "colorization" and is_grey(picture.pixels) and hints:
        raise BadPicture(f"{path}: grey, with --hints; accepted: a picture with colours, or no --hints")
    if kind == "colorization" and not is_grey(picture.pixels) and not hints:
        click.echo(f"{path}: its colours are not looked at (--hints: they are)", err=True)
    if kind == "inpainting" and is_grey(picture.pixels):
        click.echo(f"{path}: grey, and so is what fills its hole", err=True)


def read_hole(path: Path, picture: Picture) -> NDArray[np.float32]:
    """A hole [height, width], 1 where a mask is lighter than the middle.

    Raises:
        BadPicture: a mask that cannot be read or has another size than the picture.
        BadSetting: one that is all dark or all light.
    """
    mask = read_picture(path, colours=False)
    if (mask.width, mask.height) != (picture.width, picture.height):
        raise BadPicture(
            f"--mask {path}: {mask.width}x{mask.height} pixels; accepted: {picture.width}x{picture.height}, "
            f"as {picture.source} has"
        )
    hole = (mask.pixels.mean(axis=2) > 0.5).astype(np.float32)
    if hole.min() == hole.max():
        told = "nothing is white, so that nothing is missing" if not hole.max() else "all is white: nothing is known"
        raise BadSetting(f"--mask {path}: {told}; accepted: white where nothing is known, dark elsewhere")
    return hole
