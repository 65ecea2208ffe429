"""3D scenes in a style: ``python -m benchmarks.stylization_scenes --vgg PATH``.

For each scene and style: how far views disagree about what they both show (warped RMSE, adjacent views and seven
apart), beside the unstylized scene, per-view stylization and, for meshes with places on a texture, stylizing that one;
style loss and fine detail beside the 2D stylizer's; how fast views are rendered once the scene is baked. What a
renderer without any fault would have with the 2D stylizer's own detail is told too: a warp blurs detail, which counts
as disagreement.

The scenes and pictures are those of FAIRLEAD_DATA. None of the scenes was used in training; styles are of a split.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.options import Options, parse
from benchmarks.results_file import Row, not_measured, row
from benchmarks.stylizing.chosen import add_choice, chosen, described
from benchmarks.stylizing.resampling import left_by_warping
from fairlead_stylization.networks.running import shipped_slope, shipped_stylizer, student_file
from fairlead_stylization.pictures import Picture, read_picture, write_picture
from fairlead_stylization.quality.similarity import high_frequency_energy
from fairlead_stylization.scenes.consistency import consistency
from fairlead_stylization.scenes.export import baked_texture
from fairlead_stylization.scenes.pattern import fit_pattern
from fairlead_stylization.scenes.reading import read_scene
from fairlead_stylization.scenes.reading.depth_frames import Intrinsics
from fairlead_stylization.scenes.scene import Scene
from fairlead_stylization.scenes.splatting import Splats, splat
from fairlead_stylization.scenes.stylizing import stylize_scene
from fairlead_stylization.stylizer import NetworkStylizer, Style

F32 = NDArray[np.float32]
VIEWS, SIDE = 30, 256
#: Of the 2D stylizer's high-frequency energy: views with less do not count.
LEAST_DETAIL = 0.9
AGREE = "warped RMSE, short and long range, at most 1.15x that of the unstylized scene"
STYLE = "counted only at <= 1.1x the 2D stylizer's style loss and >= 0.9x its high-frequency energy"
SPEED = "30 views of 256 px in <= 3 s after baking"
SCENES: dict[str, tuple[str, Intrinsics | None]] = {
    "office (RGB-D)": ("scenes/rgbd_office", Intrinsics((518, 519), (325.5, 253.5))),
    "garden (points)": ("scenes/gsplat_garden/test_garden.npz", None),
    "chair (radiance field)": ("scenes/nerf_pretrained/chair.pth", None),
    "cow (mesh)": ("scenes/mesh_spot/spot.zip", None),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure."""
    more = argparse.ArgumentParser(add_help=False)
    more.add_argument("--vgg", type=Path, help="VGG-19 (vgg_normalised) to relu3_1, which judges.")
    more.add_argument("--variant", default="edge", choices=["edge", "quality"])
    add_choice(more)
    more.add_argument("--picture", type=Path, help="Where to draw plain, per-view and baked views.")
    options = parse("stylization_scenes", __doc__, repeats=3, quick=1, arguments=arguments, more=more)
    data = os.environ.get("FAIRLEAD_DATA")
    if data is None or options.more.vgg is None or not student_file(options.more.variant).is_file():
        why = "FAIRLEAD_DATA, --vgg or the shipped weights are missing"
        missing = (("warped RMSE", "of 1", f"{AGREE}; {STYLE}"), (f"{VIEWS} views after baking", "s", SPEED))
        options.finish({}, [not_measured("scenes", metric, unit, promise, why) for metric, unit, promise in missing])
        return
    scenes = list(SCENES.items())[: 1 if options.quick else None]
    styles = chosen(options.more, Path(data) / "images", "style")[: 1 if options.quick else 2]
    rows: list[Row] = []
    drawn: list[list[F32]] = []
    for name, (path, numbers) in scenes:
        rows += measured(options, name, _read(Path(data) / path, numbers), styles, drawn)
    if options.more.picture is not None:
        write_picture(Picture(np.concatenate([np.concatenate(line, axis=1) for line in drawn])), options.more.picture)
    conditions = {"views": VIEWS, "side": SIDE, "variant": options.more.variant, "prompt": "none", "threads": 2,
                  **described(options.more, styles)}  # fmt: skip
    options.finish(conditions, rows)


def _read(path: Path, numbers: Intrinsics | None) -> Scene:
    """A scene; the mesh with the texture that lies beside it in its archive and is not named in it."""
    if path.suffix != ".zip":
        return read_scene(path, intrinsics=numbers)
    with tempfile.TemporaryDirectory() as name, zipfile.ZipFile(path) as archive:
        folder = Path(name)
        (folder / "skin.png").write_bytes(archive.read("spot/spot_texture.png"))
        (folder / "skin.mtl").write_text("newmtl skin\nKd 1 1 1\nmap_Kd skin.png\n")
        mesh = archive.read("spot/spot_triangulated.obj").decode()
        (folder / "mesh.obj").write_text(f"mtllib skin.mtl\nusemtl skin\n{mesh}")
        return read_scene(folder / "mesh.obj")


def measured(options: Options, name: str, scene: Scene, styles: Sequence[Path], drawn: list[list[F32]]) -> list[Row]:
    """Rows of a scene."""
    from fairlead_stylization.checkpoints.vgg import read_vgg
    from fairlead_stylization.quality.perceptual import Judge

    judge = Judge(read_vgg(options.more.vgg))
    stylizer = shipped_stylizer(options.more.variant, 2)
    digest = stylizer.weights_digest
    cameras = scene.views(VIEWS, (SIDE, SIDE))
    splats = [splat(scene, camera) for camera in cameras]
    depths = [view.depth for view in splats]
    pattern = fit_pattern(scene, size=SIDE)
    found: dict[str, list[tuple[float, ...]]] = {}
    offsets = np.random.default_rng(options.seed).random((12, 2))
    least: list[float] = []
    for path in styles:
        look = read_picture(path).pixels
        code, wanted = Style(stylizer.encode_style(look)), judge.look(look)
        baked = stylize_scene(
            scene, lambda atlas, code=code: stylizer.stylize(atlas, [code]), pattern=pattern,
            slope=shipped_slope([(look, 1.0)]),
        ).scene  # fmt: skip
        plain = [view.render(scene.colours, scene.background) for view in splats]
        whole = [stylizer.stylize(view, [code]) for view in plain]
        each = [_masked(picture, view, seen) for picture, view, seen in zip(whole, plain, splats, strict=True)]
        every = max(1, VIEWS // 6)
        some = zip(whole[::every], splats[::every], strict=True)
        least.append(float(np.mean([left_by_warping(picture, view.seen, offsets) for picture, view in some])))
        ours = [view.render(baked.colours, scene.background) for view in splats]
        drawn += [[views[at] for at in range(0, VIEWS, VIEWS // 5)] for views in (plain, each, ours)]
        kinds = {"unstylized": plain, "per view": each, "baked": ours}
        texture = _textured(scene, stylizer, code)
        if texture is not None:
            kinds["texture"] = [view.render(texture, scene.background) for view in splats]
        for kind, views in kinds.items():
            agree = (consistency(views, cameras, depths, 1), consistency(views, cameras, depths, 7))
            some = views[::every]
            loss = float(np.mean([judge.style(view, wanted) for view in some]))
            energy = float(np.mean([high_frequency_energy(view) for view in some]))
            lost = float(np.mean(list(map(judge.content, some, plain[::every]))))
            found.setdefault(kind, []).append((*agree, loss, energy, lost))
    assert stylizer.weights_digest == digest
    return [*_rows(name, found), *_faultless(name, found, least), _speed(options, name, scene)]


def _textured(scene: Scene, stylizer: NetworkStylizer, code: Style) -> F32 | None:
    """Discs' colours from the mesh's own texture, stylized as a picture; None where it has no places on one."""
    mesh = scene.mesh
    if mesh is None or mesh.places is None or mesh.disc_faces is None or mesh.disc_weights is None:
        return None
    texture = stylizer.stylize(baked_texture(mesh, scene.colours, 512), [code])
    at = (mesh.disc_weights[..., None] * mesh.places[mesh.faces[mesh.disc_faces]]).sum(axis=1) % 1
    return texture[((1 - at[:, 1]) * 511).astype(int), (at[:, 0] * 511).astype(int)]


def _masked(picture: F32, plain: F32, view: Splats) -> F32:
    """A stylized view whose background stays, as it does for ours."""
    return np.where(view.seen[..., None], picture, plain)


def _rows(name: str, found: dict[str, list[tuple[float, ...]]]) -> list[Row]:
    means = {kind: np.mean(values, axis=0) for kind, values in found.items()}
    rows = []
    style = means["baked"][2] / means["per view"][2]
    detail = means["baked"][3] / means["per view"][3]
    note = (
        f"at {style:.2f}x the 2D stylizer's style loss and {detail:.2f}x its high-frequency energy; weights unchanged"
    )
    counted = style <= 1.1 and detail >= LEAST_DETAIL
    for place, reach in ((0, "adjacent views"), (1, "7 views apart")):
        plain = float(means["unstylized"][place])
        if not np.isfinite(plain):
            rows.append(not_measured(name, f"warped RMSE, {reach}", "of 1", AGREE, "no pair of views shares anything"))
            continue
        for kind in [kind for kind in found if kind != "unstylized"]:
            ours = [value[place] for value in found[kind]]
            base = [value[place] for value in found["unstylized"]]
            ratio = float(np.mean(ours) / np.mean(base))
            holds = bool(ratio <= 1.15 and counted) if kind == "baked" else None
            promise = f"{AGREE}; {STYLE}" if kind == "baked" else None
            told = f"{ratio:.2f}x; {note}" if kind == "baked" else f"{ratio:.2f}x"
            metric = f"warped RMSE, {reach}, {kind}, against the unstylized scene"
            item = row(name, metric, "of 1", ours, base, promise=promise, note=told)
            rows.append(Row(**{**_fields(item), "holds": holds}))
    # Views that have lost what they showed agree well: the promise does not ask for it, a user sees it first.
    lost = {kind: [value[4] for value in found[kind]] for kind in ("baked", "per view")}
    rows.append(row(name, "content loss of views, beside the 2D stylizer's", "loss", lost["baked"], lost["per view"]))
    return rows


def _faultless(name: str, found: dict[str, list[tuple[float, ...]]], least: list[float]) -> Iterator[Row]:
    """What warps leave of the 2D stylizer's own pictures at the least detail that counts."""
    for place, reach in ((0, "adjacent views"), (1, "7 views apart")):
        plain = [value[place] for value in found["unstylized"]]
        if not np.isfinite(plain).all():
            continue
        ours = [LEAST_DETAIL**0.5 * value for value in least]
        metric = (
            f"warped RMSE, {reach}, a faultless renderer of the 2D stylizer's pictures, against the unstylized scene"
        )
        note = f"{np.mean(ours) / np.mean(plain):.2f}x at {LEAST_DETAIL}x its high-frequency energy"
        yield row(name, metric, "of 1", ours, plain, note=note)


def _speed(options: Options, name: str, scene: Scene) -> Row:
    spent = []
    for turn in range(options.repeats):
        cameras = scene.views(VIEWS + turn, (SIDE, SIDE))[:VIEWS]
        began = time.perf_counter()
        for camera in cameras:
            splat(scene, camera).render(scene.colours, scene.background)
        spent.append(time.perf_counter() - began)
    return row(
        name, f"{VIEWS} views of {SIDE} px after baking, cameras not seen before", "s", spent, limit=3.0, promise=SPEED
    )


def _fields(item: Row) -> dict[str, object]:
    return {name: getattr(item, name) for name in Row.__slots__}


if __name__ == "__main__":
    main()
