"""`fairlead style`: pictures, a video, frames or a 3D scene into a style."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import Progress

from fairlead_agent.cli.errors import CliError
from fairlead_agent.cli.names import workload_names

from ..client import RequestRefused
from ..errors import BadSetting, StylizationError
from ..pictures import read_picture, write_file, write_picture
from ..pictures.folders import READ, Listing, list_folder, passed_over
from ..pictures.reading import ACCEPTED
from ..pictures.writing import ENDINGS
from ..service.form import PLAIN
from .bars import progress_bars
from .leftovers import FrameRecord, remove_leftovers, surplus_results, surplus_views
from .looks import Look, Stylist, Wanted, find_stylist, read_bytes, slope_of, style_bytes
from .naming import Item, named
from .prompting import fitted_prompt

SCENES = (".obj", ".glb", ".gltf", ".ply", ".stl", ".off", ".npz", ".pth", ".pt", ".ckpt")
VIDEOS = (".mp4", ".mkv", ".mov", ".webm", ".avi")
#: Statuses of answers that are about one picture; the next one may be good.
OF_A_PICTURE = (400, 413, 415, 422)
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
@click.option("--format", "kind", default="png", show_default=True, type=click.Choice(["png", "jpeg", "webp"]),
              help="Of pictures that are written; jpeg has no transparency: it is laid over white.")  # fmt: skip
@click.option("--quality", default=92, show_default=True, type=click.IntRange(1, 100), help="Of jpeg and webp.")
@click.option("--frames", is_flag=True, help="A folder's pictures are frames of a video.")
@click.option("--steady", default=0.75, show_default=True, type=click.FloatRange(0, 0.99),
              help="How much of the frame before is kept, of videos.")  # fmt: skip
@click.option("--views", default=30, show_default=True, type=click.IntRange(1, 360), help="Of a scene.")
@click.option("--size", default=256, show_default=True, type=click.IntRange(32, 2048), help="Of a view, in pixels.")
@click.option("--prompt", "prompt_steps", default=0, show_default=True, type=click.IntRange(0, 1000),
              help="Steps of fitting a scene's visual prompt, for more of the style; needs PyTorch.")  # fmt: skip
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
            others = [*styles, *(given[name] for name in ("mask", "towards") if given[name] is not None)]
            items = named(_items(inputs, given["frames"]), given["out"], others, _ending(given))
            given["read"] = {path.resolve() for path in (*inputs, *others)}
            _run(stylist, items, _look(styles, given), given)
        finally:
            stylist.close()
    except (StylizationError, OSError) as error:
        nobody = isinstance(error, RequestRefused) and error.status == 0
        raise CliError(f"nobody answers: {error}" if nobody else str(error)) from None


def _ending(given: dict[str, Any]) -> str:
    return {"jpeg": ".jpg"}.get(given["kind"], f".{given['kind']}")


def _look(styles: tuple[Path, ...], given: dict[str, Any]) -> Look:
    weights = given["weights"]
    if weights and len(weights) != len(styles):
        raise BadSetting(
            f"--style-weight: {len(weights)} values; accepted: none, or one for each of {len(styles)} styles"
        )
    if weights and not (all(0 <= weight < math.inf for weight in weights) and any(weights)):
        told = ", ".join(f"{weight:g}" for weight in weights)
        raise BadSetting(f"--style-weight: {told}; accepted: numbers of 0 and above, not all 0")
    if len(styles) > 1 and (given["diverse"] > 1 or given["towards"] is not None or given["text"]):
        raise BadSetting(f"--style: {len(styles)} of them with --diverse, --towards or --text; accepted: one")
    mask = None if given["mask"] is None else read_bytes(given["mask"])
    return Look(tuple(style_bytes(path) for path in styles), weights, given["strength"], given["keep_colours"], mask)


def _run(stylist: Stylist, items: list[Item], look: Look, given: dict[str, Any]) -> None:
    console = Console()
    failed = []
    with progress_bars(console) as bar:
        task = bar.add_task("stylizing", total=len(items))
        for item in items:
            bar.update(task, description=f"stylizing {item.path.name}")
            try:
                for written in _KINDS[item.kind](stylist, item, look, given, bar):
                    console.print(str(written), soft_wrap=True, markup=False, highlight=False)
            except StylizationError as error:
                # One picture that cannot be read does not cost the others.
                lasting = isinstance(error, RequestRefused) and error.status not in OF_A_PICTURE
                if lasting:
                    raise
                failed.append(str(error) if str(item.path) in str(error) else f"{item.path}: {error}")
            bar.advance(task)
    if failed:
        raise CliError("\n".join(failed if len(items) == 1 else [f"{len(failed)} of {len(items)} failed:", *failed]))


def _items(inputs: tuple[Path, ...], frames: bool) -> Iterator[tuple[str, Path]]:
    for path in inputs:
        if path.is_dir():
            if (path / "color").is_dir() and (path / "depth").is_dir():
                yield "scene", path
            elif frames:
                _told(list_folder(path, ENDINGS))
                yield "video", path
            else:
                yield from (("picture", item) for item in _told(list_folder(path, READ)))
        elif path.suffix.lower() in SCENES:
            yield "scene", path
        else:
            yield "video" if path.suffix.lower() in VIDEOS else "picture", path


def _told(found: Listing) -> tuple[Path, ...]:
    """A folder's pictures; what is passed over is said."""
    if not found.paths:
        there = f" ({found.counted})" if found.others else ""
        raise BadSetting(
            f"{found.folder}: no picture in it{there}; accepted: a folder of pictures ({ACCEPTED}), frames or RGB-D"
        )
    for line in passed_over([found], ACCEPTED):
        click.echo(line, err=True)
    return found.paths


def _picture(stylist: Stylist, item: Item, look: Look, given: dict[str, Any], bar: Progress) -> Iterator[Path]:
    out, path = given["out"], item.path
    picture, encoded = read_picture(path), read_bytes(path)
    for text in picture.conversions:
        click.echo(f"{path}: {text}", err=True)
    towards = None if given["towards"] is None else read_bytes(given["towards"])
    wanted = Wanted(given["diverse"], given["seed"], towards, given["text"], given["text_from"])
    if not wanted.searched:
        made = picture.with_pixels(stylist.one(encoded, look))
        yield write_picture(made, out / f"{item.name}{_ending(given)}", quality=given["quality"])
        return
    several, report = stylist.several(encoded, look, wanted)
    written = []
    for place, made in enumerate(several, 1):
        target = out / f"{item.name}-{place:02d}{_ending(given)}"
        written.append(target.name)
        yield write_picture(picture.with_pixels(made), target, quality=given["quality"])
    told = out / f"{item.name}-diversity.json"
    before = surplus_results(told, item.name, written)
    yield write_file(told, (json.dumps(report | {"results": written}, indent=2) + "\n").encode())
    remove_leftovers(before, given["read"])


def _video(stylist: Stylist, item: Item, look: Look, given: dict[str, Any], bar: Progress) -> Iterator[Path]:
    from ..video.consistency import Steadiness
    from ..video.stylizing import stylize_video

    _require_plain(given, "a video")
    path = item.path
    out = given["out"] / (item.name if path.is_dir() else f"{item.name}.mp4")
    record, frames = None, ()
    if path.is_dir():
        record, frames = FrameRecord(out, path), [f"{each.stem}.png" for each in list_folder(path, ENDINGS).paths]
        record.begin(frames)
    task = bar.add_task(f"frames of {path.name}", total=None)
    try:
        stylize_video(
            path, out, lambda frame: stylist.one(frame, look), steadiness=Steadiness(blend=given["steady"]),
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )  # fmt: skip
    finally:
        bar.remove_task(task)
    if record is not None:
        remove_leftovers(record.end(frames), given["read"])
    yield out


def _scene(stylist: Stylist, item: Item, look: Look, given: dict[str, Any], bar: Progress) -> Iterator[Path]:
    from ..scenes.export import write_scene, write_turntable
    from ..scenes.pattern import fit_pattern
    from ..scenes.reading import read_scene
    from ..scenes.stylizing import stylize_scene

    _require_plain(given, "a scene")
    if look.mask is not None:
        raise BadSetting("--mask: with a scene; accepted: with pictures and videos")
    path, size = item.path, given["size"]
    task = bar.add_task(f"reading {path.name}", total=1.0)
    try:
        scene = read_scene(
            path, intrinsics=_intrinsics(given["intrinsics"]), progress=lambda share: bar.update(task, completed=share)
        )
        for text in scene.conversions:
            click.echo(f"{path}: {text}", err=True)
        bar.update(task, description="fitting its pattern", completed=0, total=None)
        pattern = fit_pattern(scene, size=size)
        folder = given["out"] / item.name
        cameras = scene.views(given["views"], (size, size))
        prompt = None
        if given["prompt_steps"]:
            bar.update(task, description="fitting its prompt", total=given["prompt_steps"])
            prompt = fitted_prompt(stylist, look, scene, pattern, cameras, given["prompt_steps"],
                                   lambda step, _: bar.update(task, completed=step))  # fmt: skip
        bar.update(task, description="stylizing its pattern", completed=0, total=None)
        made = stylize_scene(
            scene, lambda atlas: stylist.one(atlas, look), pattern=pattern, prompt=prompt, slope=slope_of(look)
        ).scene
        bar.update(task, description="rendering views", total=len(cameras))
        before = surplus_views(folder, len(cameras))
        written = write_turntable(made, folder, cameras, progress=lambda done, _: bar.update(task, completed=done))
    finally:
        bar.remove_task(task)
    yield written[-1]
    yield write_scene(made, folder / ("scene.glb" if scene.mesh is not None else "scene.ply"))
    remove_leftovers(before, given["read"])


def _require_plain(given: dict[str, Any], what: str) -> None:
    for option, plain in (("diverse", 1), ("towards", None), ("text", "")):
        if given[option] != plain:
            raise BadSetting(f"--{option}: with {what}; accepted: with pictures")


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
