"""`fairlead style`: pictures, a video, frames or a 3D scene into a style."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from fairlead_agent.cli.errors import CliError
from fairlead_agent.cli.names import workload_names

from ..client import RequestRefused
from ..errors import BadSetting, StylizationError
from ..pictures import read_picture, write_picture
from ..pictures.writing import ENDINGS
from ..service.form import PLAIN
from .looks import Look, Stylist, Wanted, find_stylist, read_bytes

SCENES = (".obj", ".glb", ".gltf", ".ply", ".stl", ".off", ".npz", ".pth", ".pt", ".ckpt")
VIDEOS = (".mp4", ".mkv", ".mov", ".webm", ".avi")
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
HELP = """Put pictures, a video or a 3D scene into a style.

\b
fairlead style photo.jpg --style painting.jpg --strength 0.7 -o out/
fairlead style photo.jpg --style painting.jpg --diverse 4 -o out/    four different results
fairlead style photo.jpg --style painting.jpg --text "a stormy sea" --clip clip-vit-base-patch32/ --local -o out/
fairlead style holiday/ --style a.jpg --style b.jpg -o out/          all pictures of a folder, in a mixture
fairlead style clip.mp4 --style painting.jpg -o out/                 steady from frame to frame
fairlead style scene.glb --style painting.jpg -o out/                views from all around, and the scene
"""


@click.command(help=HELP)
@click.argument("inputs", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--style", "styles", multiple=True, required=True, type=FILE, help="A picture; several are mixed.")
@click.option("--style-weight", "weights", multiple=True, type=float, help="Of each style, in their order.")
@click.option("--strength", default=1.0, show_default=True, type=click.FloatRange(0, 1), help="0: the picture itself.")
@click.option("--mask", type=FILE, help="White where to stylize.")
@click.option("--keep-colours", is_flag=True, help="Take the style's textures, not its colours.")
@click.option("--diverse", default=1, show_default=True, type=click.IntRange(1, 64), help="Different results of each.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Of different results.")
@click.option("--towards", type=FILE, help="A picture that results shall come nearer to.")
@click.option("--text", default="", help="What results shall come nearer to, in words; needs a CLIP.")
@click.option("--text-from", default=PLAIN, show_default=True, help="What they are to begin with.")
@click.option("--clip", type=click.Path(exists=True, file_okay=False, path_type=Path),
              help="Folder of a CLIP as Hugging Face writes it, with --local; a workload has its own.")  # fmt: skip
@click.option(
    "--out", "-o", default=Path("styled"), show_default=True, type=click.Path(file_okay=False, path_type=Path)
)
@click.option("--frames", is_flag=True, help="A folder's pictures are frames of a video.")
@click.option("--steady", default=0.75, show_default=True, type=click.FloatRange(0, 0.99),
              help="How much of the frame before is kept, of videos.")  # fmt: skip
@click.option("--views", default=30, show_default=True, type=click.IntRange(1, 360), help="Of a scene.")
@click.option("--size", default=256, show_default=True, type=click.IntRange(32, 2048), help="Of a view, in pixels.")
@click.option("--intrinsics", help="fx,fy,cx,cy of RGB-D frames, or of a forward-facing field's camera.")
@click.option("--local", is_flag=True, help="In this process, without a fleet.")
@click.option(
    "--variant", default="edge", show_default=True, type=click.Choice(["edge", "quality"]), help="With --local."
)
@click.option("--workload", "-w", shell_complete=workload_names, help="Default: the only one of this plugin.")
@click.option("--service", help="Address of a service without a gateway.")
@click.option("--url", help="The control plane's address [env: FAIRLEAD_URL].")
@click.option("--token", help="An access token [env: FAIRLEAD_TOKEN].")
def style(inputs: tuple[Path, ...], styles: tuple[Path, ...], **given: Any) -> None:
    """Run the command."""
    try:
        connection = (
            given["local"],
            given["variant"],
            *(given[name] for name in ("workload", "service", "url", "token", "clip")),
        )
        if given["clip"] is not None and not given["local"]:
            raise BadSetting("--clip: without --local; accepted: with it, or `clip` in the workload's config")
        stylist = find_stylist(*connection)
        try:
            _run(stylist, inputs, _look(styles, given), given)
        finally:
            stylist.close()
    except (StylizationError, OSError) as error:
        nobody = isinstance(error, RequestRefused) and error.status == 0
        raise CliError(f"nobody answers: {error}" if nobody else str(error)) from None


def _look(styles: tuple[Path, ...], given: dict[str, Any]) -> Look:
    weights = given["weights"]
    if weights and len(weights) != len(styles):
        raise BadSetting(
            f"--style-weight: {len(weights)} values; accepted: none, or one for each of {len(styles)} styles"
        )
    mask = None if given["mask"] is None else read_bytes(given["mask"])
    return Look(tuple(read_bytes(path) for path in styles), weights, given["strength"], given["keep_colours"], mask)


def _run(stylist: Stylist, inputs: tuple[Path, ...], look: Look, given: dict[str, Any]) -> None:
    console = Console()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    failed = []
    with Progress(*columns, console=console, transient=True) as bar:
        items = list(_items(inputs, given["frames"]))
        task = bar.add_task("stylizing", total=len(items))
        for kind, path in items:
            try:
                for written in _KINDS[kind](stylist, path, look, given, bar):
                    console.print(str(written), soft_wrap=True)
            except StylizationError as error:
                # One picture that cannot be read does not cost the others.
                if len(items) == 1 or isinstance(error, RequestRefused):
                    raise
                failed.append(str(error))
            bar.advance(task)
    if failed:
        raise CliError("\n".join([f"{len(failed)} of {len(items)} failed:", *failed]))


def _items(inputs: tuple[Path, ...], frames: bool) -> Iterator[tuple[str, Path]]:
    for path in inputs:
        if path.is_dir():
            if (path / "color").is_dir() and (path / "depth").is_dir():
                yield "scene", path
            elif frames:
                yield "video", path
            else:
                found = sorted(item for item in path.iterdir() if item.suffix.lower() in (*ENDINGS, ".gif"))
                if not found:
                    raise BadSetting(f"{path}: no picture in it; accepted: a folder of pictures, frames or RGB-D")
                yield from (("picture", item) for item in found)
        elif path.suffix.lower() in SCENES:
            yield "scene", path
        else:
            yield "video" if path.suffix.lower() in VIDEOS else "picture", path


def _picture(stylist: Stylist, path: Path, look: Look, given: dict[str, Any], bar: Progress) -> Iterator[Path]:
    out, count = given["out"], given["diverse"]
    picture = read_picture(path)
    for text in picture.conversions:
        bar.console.print(f"{path}: {text}", style="dim", soft_wrap=True)
    towards = None if given["towards"] is None else read_bytes(given["towards"])
    wanted = Wanted(count, given["seed"], towards, given["text"], given["text_from"])
    if not wanted.searched:
        made = stylist.one(picture.pixels, look)
        yield write_picture(picture.with_pixels(made), out / f"{path.stem}.png")
        return
    several, report = stylist.several(read_bytes(path), look, wanted)
    for place, made in enumerate(several, 1):
        yield write_picture(picture.with_pixels(made), out / f"{path.stem}-{place:02d}.png")
    (out / f"{path.stem}-diversity.json").write_text(json.dumps(report, indent=2) + "\n")
    yield out / f"{path.stem}-diversity.json"


def _video(stylist: Stylist, path: Path, look: Look, given: dict[str, Any], bar: Progress) -> Iterator[Path]:
    from ..video.consistency import Steadiness
    from ..video.stylizing import stylize_video

    out = given["out"] / (path.name if path.is_dir() else f"{path.stem}.mp4")
    task = bar.add_task(f"frames of {path.name}", total=None)
    stylize_video(
        path, out, lambda frame: stylist.one(frame, look), steadiness=Steadiness(blend=given["steady"]),
        progress=lambda done, total: bar.update(task, completed=done, total=total),
    )  # fmt: skip
    bar.remove_task(task)
    yield out


def _scene(stylist: Stylist, path: Path, look: Look, given: dict[str, Any], bar: Progress) -> Iterator[Path]:
    from ..scenes.export import write_scene, write_turntable
    from ..scenes.pattern import fit_pattern
    from ..scenes.reading import read_scene
    from ..scenes.stylizing import stylize_scene

    if look.mask is not None:
        raise BadSetting("--mask: with a scene; accepted: with pictures alone")
    task = bar.add_task(f"reading {path.name}", total=1.0)
    scene = read_scene(
        path, intrinsics=_intrinsics(given["intrinsics"]), progress=lambda share: bar.update(task, completed=share)
    )
    for text in scene.conversions:
        bar.console.print(f"{path}: {text}", style="dim", soft_wrap=True)
    bar.update(task, description="fitting its pattern", completed=0)
    pattern = fit_pattern(scene, size=given["size"])
    made = stylize_scene(scene, lambda atlas: stylist.one(atlas, look), pattern=pattern).scene
    folder = given["out"] / path.stem
    cameras = scene.views(given["views"], (given["size"], given["size"]))
    bar.update(task, description="rendering views", total=len(cameras))
    written = write_turntable(made, folder, cameras, progress=lambda done, _: bar.update(task, completed=done))
    bar.remove_task(task)
    yield written[-1]
    yield write_scene(made, folder / ("scene.glb" if scene.mesh is not None else "scene.ply"))


def _intrinsics(text: str | None) -> Any:
    from ..scenes.reading.depth_frames import Intrinsics

    if text is None:
        return None
    try:
        fx, fy, cx, cy = (float(part) for part in text.split(","))
    except ValueError:
        raise BadSetting(f"--intrinsics {text!r}; accepted: fx,fy,cx,cy in pixels") from None
    return Intrinsics((fx, fy), (cx, cy))


_KINDS = {"picture": _picture, "video": _video, "scene": _scene}
