"""`fairlead style-sheet`: a contact sheet of contents in styles."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fairlead_agent.cli.errors import CliError
from fairlead_agent.cli.names import workload_names

from ..errors import BadSetting, StylizationError
from ..pictures import Picture, read_picture, write_picture
from ..pictures.writing import ENDINGS
from .looks import Look, find_stylist, style_bytes
from .naming import require_writable

F32 = NDArray[np.float32]
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_GAP = 4


@click.command("style-sheet")
@click.argument("contents", nargs=-1, required=True, type=FILE)
@click.option("--style", "styles", multiple=True, required=True, type=FILE, help="A picture; a column for each.")
@click.option("--strength", default=1.0, show_default=True, type=click.FloatRange(0, 1), help="0: the picture itself.")
@click.option("--size", default=256, show_default=True, type=click.IntRange(32, 1024), help="Of a picture, in pixels.")
@click.option("--out", "-o", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The sheet's file.")
@click.option("--local", is_flag=True, help="In this process, without a fleet.")
@click.option(
    "--variant", default="edge", show_default=True, type=click.Choice(["edge", "quality"]), help="With --local."
)
@click.option("--workload", "-w", shell_complete=workload_names, help="Default: the only one of this plugin.")
@click.option("--service", help="Address of a service without a gateway.")
@click.option("--url", help="The control plane's address [env: FAIRLEAD_URL].")
@click.option("--token", help="An access token [env: FAIRLEAD_TOKEN].")
def style_sheet(
    contents: tuple[Path, ...], styles: tuple[Path, ...], out: Path, size: int, strength: float, **given: Any
) -> None:
    """Stylize each content in each style: a column for each style, a row for each content, as pictures on one sheet."""
    try:
        _require_out(out, (*contents, *styles))
        stylist = find_stylist(*(given[name] for name in ("local", "variant", "workload", "service", "url", "token")))
        try:
            rows = [
                [np.ones((size, size, 3), np.float32), *(square(read_picture(path).pixels, size) for path in styles)]
            ]
            looks = [Look((style_bytes(path),), strength=strength) for path in styles]
            with click.progressbar(contents, label="stylizing", show_pos=True, file=sys.stderr) as bar:
                for path in bar:
                    content = square(read_picture(path).pixels, size)
                    rows.append([content, *(stylist.one(content, look) for look in looks)])
        finally:
            stylist.close()
        click.echo(write_picture(Picture(sheet(rows)), out))
    except (StylizationError, OSError) as error:
        raise CliError(str(error)) from None


def _require_out(out: Path, read: Sequence[Path]) -> None:
    if out.suffix.lower() not in ENDINGS:
        raise BadSetting(f"--out {out}: ending {out.suffix!r}; accepted: {', '.join(ENDINGS)}")
    if out.resolve() in {path.resolve() for path in read}:
        raise BadSetting(f"--out {out}: is read and would be written; accepted: another file")
    require_writable(out.parent)


def square(picture: F32, size: int) -> F32:
    """The middle of a picture, [size, size, 3]."""
    side = min(picture.shape[:2])
    top, left = (picture.shape[0] - side) // 2, (picture.shape[1] - side) // 2
    pixels = (np.clip(picture[top : top + side, left : left + side], 0, 1) * 255 + 0.5).astype(np.uint8)
    return np.asarray(Image.fromarray(pixels).resize((size, size), Image.Resampling.LANCZOS), np.float32) / 255


def sheet(rows: list[list[F32]]) -> F32:
    """Pictures of the same size in rows, with white between them."""
    padded = [[np.pad(cell, ((0, _GAP), (0, _GAP), (0, 0)), constant_values=1.0) for cell in row] for row in rows]
    return np.concatenate([np.concatenate(row, axis=1) for row in padded])[:-_GAP, :-_GAP]
