"""Scenes of every kind come in, with their colours; what is damaged or lacks a part is named."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fairlead_stylization.errors import BadCheckpoint, BadPicture
from fairlead_stylization.pictures import Picture, write_picture
from fairlead_stylization.scenes.pattern import fit_pattern
from fairlead_stylization.scenes.reading import read_scene
from fairlead_stylization.scenes.reading.depth_frames import Intrinsics, fused
from fairlead_stylization.scenes.reading.meshes import spacing
from fairlead_stylization.scenes.splatting import splat
from fairlead_stylization.scenes.stylizing import stylize_scene

DATA = os.environ.get("FAIRLEAD_DATA")
trimesh = pytest.importorskip("trimesh", reason="trimesh is not installed: scenes are not tested")


def test_a_textured_mesh_keeps_its_colours(tmp_path: Path) -> None:
    texture = np.zeros((8, 8, 3), np.uint8)
    texture[:4] = (255, 0, 0)
    texture[4:] = (0, 0, 255)
    mesh = trimesh.Trimesh([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], [[0, 1, 2], [0, 2, 3]], process=False)
    material = trimesh.visual.material.PBRMaterial(baseColorTexture=Image.fromarray(texture))
    mesh.visual = trimesh.visual.TextureVisuals([[0, 0], [1, 0], [1, 1], [0, 1]], material=material)
    mesh.export(tmp_path / "square.glb")
    scene = read_scene(tmp_path / "square.glb", discs=500)
    high = np.abs(scene.points[:, 1] - 0.75) < 0.15
    np.testing.assert_allclose(scene.colours[high], np.tile([1, 0, 0], (high.sum(), 1)), atol=0.02)
    low = np.abs(scene.points[:, 1] - 0.25) < 0.15
    np.testing.assert_allclose(scene.colours[low], np.tile([0, 0, 1], (low.sum(), 1)), atol=0.02)
    assert scene.mesh is not None and scene.mesh.texture is not None and len(scene.points) == 500


def test_a_mesh_without_colours_is_lit(tmp_path: Path) -> None:
    trimesh.creation.icosphere(subdivisions=2).export(tmp_path / "ball.obj")
    scene = read_scene(tmp_path / "ball.obj", discs=400)
    assert scene.conversions == ("no colours: lit from above",)
    top, bottom = scene.colours[scene.points[:, 1] > 0.8].mean(), scene.colours[scene.points[:, 1] < -0.8].mean()
    assert top > bottom + 0.1


def test_a_mesh_without_colours_is_no_shadow_to_a_stylizer(tmp_path: Path) -> None:
    trimesh.creation.icosphere(subdivisions=3).export(tmp_path / "ball.stl")
    scene = read_scene(tmp_path / "ball.stl", discs=20_000)

    def darker(picture: np.ndarray) -> np.ndarray:
        """A dark painting's tones: a mean of 0.25, a deviation of 0.15."""
        return np.clip(0.25 + 0.15 * (picture - picture.mean()) / picture.std(), 0, 1).astype(np.float32)

    made = stylize_scene(scene, darker, pattern=fit_pattern(scene, size=64)).scene
    tones = made.colours.mean(axis=1)
    # In front of white its mean was 0.18, and 98 % of it below 0.38.
    assert abs(tones.mean() - 0.25) < 0.05 and np.ptp(np.percentile(tones, [2, 98])) > 0.42
    assert np.corrcoef(tones, scene.colours[:, 0])[0, 1] > 0.95
    assert made.background == (1, 1, 1)


def test_light_varies_over_facets_but_not_over_edges(tmp_path: Path) -> None:
    trimesh.creation.icosphere(subdivisions=2).export(tmp_path / "ball.stl")
    ball = read_scene(tmp_path / "ball.stl", discs=4000)
    wanted = 0.35 + 0.55 * (ball.points @ np.float32([0.3, 0.8, 0.52]) * 0.5 + 0.5)
    np.testing.assert_allclose(ball.colours[:, 0], wanted, atol=0.01)
    trimesh.creation.box((2, 1, 1)).export(tmp_path / "box.stl")
    assert len(np.unique(read_scene(tmp_path / "box.stl", discs=4000).colours.round(4), axis=0)) == 6


def test_a_mesh_with_colours_has_its_background_behind_it(tmp_path: Path) -> None:
    ball = trimesh.creation.icosphere(subdivisions=1)
    ball.visual.vertex_colors = np.tile(np.uint8([200, 100, 50, 255]), (len(ball.vertices), 1))
    ball.export(tmp_path / "ball.ply")
    scene = read_scene(tmp_path / "ball.ply", discs=400)
    assert scene.backdrop is None and scene.conversions == ()
    np.testing.assert_array_equal(scene.behind((8, 4)), scene.background)


def test_discs_lie_evenly_on_a_mesh(tmp_path: Path) -> None:
    trimesh.creation.box((2, 1, 1)).export(tmp_path / "box.ply")
    points = read_scene(tmp_path / "box.ply", discs=8000).points
    side = points[np.abs(points[:, 2] - 0.5) < 1e-5]
    assert len(side) == pytest.approx(8000 * 2 / 10, rel=0.01)
    cells = np.floor((side[:, :2] + [1, 0.5]) * 10).astype(int).clip(0, [19, 9])
    counts = np.bincount(cells[:, 0] * 10 + cells[:, 1], minlength=200)
    # At random, 8 in a cell would vary by 2.8.
    assert counts.std() < 1.7 and counts.min() >= 3


def test_seams_of_a_texture_do_not_open_a_mesh(tmp_path: Path) -> None:
    ball = trimesh.creation.icosphere(subdivisions=3)
    # Every triangle has vertices of its own, with places on a texture, as files have them along seams.
    parted = trimesh.Trimesh(
        ball.triangles.reshape(-1, 3), np.arange(3 * len(ball.faces)).reshape(-1, 3), process=False
    )
    places = np.random.default_rng(0).random((len(parted.vertices), 2))
    parted.visual = trimesh.visual.TextureVisuals(uv=places)
    parted.export(tmp_path / "parted.glb")
    scene = read_scene(tmp_path / "parted.glb", discs=60_000)
    assert scene.normals is not None
    # No view shows the far side, or what is behind the ball, through its middle.
    camera = scene.views(1, (96, 96))[0]
    view = splat(scene, camera)
    distance = np.linalg.norm(camera.position - scene.centre)
    assert view.depth[38:58, 38:58].max() < distance


def test_points_with_colours(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    points, colours = rng.random((300, 3)), rng.integers(0, 256, (300, 4), np.uint8)
    trimesh.PointCloud(points, colours).export(tmp_path / "points.ply")
    scene = read_scene(tmp_path / "points.ply")
    np.testing.assert_allclose(scene.points, points, atol=1e-5)
    np.testing.assert_allclose(scene.colours, colours[:, :3] / 255, atol=1e-5)
    assert read_scene(tmp_path / "points.ply", discs=50).conversions == ("50 of 300 points",)


def gaussians(path: Path, count: int = 64) -> None:
    """A PLY as trainers of Gaussian splatting write it."""
    names = ["x", "y", "z", "f_dc_0", "f_dc_1", "f_dc_2", "opacity", "scale_0", "scale_1", "scale_2",
             "rot_0", "rot_1", "rot_2", "rot_3"]  # fmt: skip
    rng = np.random.default_rng(1)
    rows = rng.random((count, len(names))).astype("<f4")
    rows[:, 3:6] = [1.0, 0.0, -1.0]
    rows[:, 6] = np.where(np.arange(count) % 2, 4.0, -4.0)
    rows[:, 7:10] = np.log([0.1, 0.05, 0.001])
    header = "ply\nformat binary_little_endian 1.0\n" + f"element vertex {count}\n"
    header += "".join(f"property float {name}\n" for name in names) + "end_header\n"
    path.write_bytes(header.encode() + rows.tobytes())


def test_gaussians_become_discs(tmp_path: Path) -> None:
    gaussians(tmp_path / "g.ply")
    scene = read_scene(tmp_path / "g.ply")
    assert len(scene.points) == 32  # the transparent half is fog
    np.testing.assert_allclose(scene.colours, np.tile([0.7821, 0.5, 0.2179], (32, 1)), atol=1e-3)
    assert scene.radii.min() >= np.sqrt(0.1 * 0.05) - 1e-4


def frames(folder: Path) -> None:
    """Two frames of a wall 2 before the camera, the second one from a little to the right."""
    for number, x in enumerate((0.0, 0.2)):
        picture = np.zeros((24, 32, 3), np.float32)
        picture[..., 0] = 0.8
        write_picture(Picture(picture), folder / "color" / f"{number}.png")
        (folder / "depth").mkdir(exist_ok=True)
        Image.fromarray(np.full((24, 32), 2000, np.uint16)).save(folder / "depth" / f"{number}.png")
        with (folder / "pose.txt").open("a") as file:
            file.write(f"{x} 0 0 0 0 0 1\n")


def test_depth_frames_are_joined(tmp_path: Path) -> None:
    frames(tmp_path)
    scene = read_scene(tmp_path, intrinsics=Intrinsics((32, 32), (16, 12)))
    np.testing.assert_allclose(scene.points[:, 2], 2.0, atol=1e-4)
    assert len(scene.points) < 2 * 24 * 32 and len(scene.cameras) == 2
    view = splat(scene, scene.cameras[0])
    assert view.seen[4:-4, 4:-4].all()
    np.testing.assert_allclose(view.render(scene.colours)[12, 16], [0.8, 0, 0], atol=0.01)


def test_frames_are_joined_as_finely_as_each_place_was_seen() -> None:
    def wall(depth: float) -> tuple[np.ndarray, np.ndarray]:
        rows, columns = np.mgrid[:100, :100].reshape(2, -1) - 50
        points = np.stack([columns, rows, np.full(10000, 100.0)], 1) * depth / 100
        return points.astype(np.float32), np.full(10000, 0.008 * depth, np.float32)

    (near, fine), (far, coarse) = wall(1.0), wall(8.0)
    again = far + np.float32([0.01, 0.01, 0])
    kept, radii = fused(np.concatenate([near, far, again]), np.concatenate([fine, coarse, coarse]), 10000)
    there = np.bincount(np.searchsorted([10000, 20000], kept, "right"), minlength=3)
    assert 5000 < len(kept) <= 10000
    # What was seen twice is told once; both walls have about as many discs.
    assert 0.6 < there[0] / (there[1] + there[2]) < 1.7
    assert np.median(radii[kept >= 10000]) == pytest.approx(8 * np.median(radii[kept < 10000]), rel=0.35)


def test_what_depth_frames_lack_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadPicture, match=r"focal lengths.*accepted: `--intrinsics` fx,fy,cx,cy"):
        read_scene(tmp_path)
    numbers = Intrinsics((32, 32), (16, 12))
    with pytest.raises(BadPicture, match="color: no such folder"):
        read_scene(tmp_path, intrinsics=numbers)
    frames(tmp_path)
    (tmp_path / "pose.txt").write_text("0 0 0 0 0 0 1\n")
    with pytest.raises(BadPicture, match="2 pictures, 2 depth maps, 1 poses"):
        read_scene(tmp_path, intrinsics=numbers)


def test_arrays_of_points_bring_cameras(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    view = np.eye(4, dtype=np.float32)
    view[2, 3] = 3
    arrays = {
        "means3d": rng.uniform(-1, 1, (500, 3)).astype(np.float32),
        "colors": rng.integers(0, 256, (500, 3), np.uint8),
    }
    arrays |= {"viewmats": view[None], "Ks": np.float32([[[40, 0, 20], [0, 40, 20], [0, 0, 1]]])}
    np.savez(tmp_path / "p.npz", **arrays, width=40, height=40)
    scene = read_scene(tmp_path / "p.npz")
    assert scene.cameras[0].size == (40, 40) and splat(scene, scene.cameras[0]).seen.mean() > 0.3
    np.savez(tmp_path / "q.npz", means3d=arrays["means3d"], colors=arrays["colors"][:9])
    with pytest.raises(BadPicture, match=r"q\.npz: colors: shape \(9, 3\)"):
        read_scene(tmp_path / "q.npz")


def test_radii_cover_a_surface() -> None:
    side = np.linspace(0, 1, 40)
    plane = np.stack([*(axis.ravel() for axis in np.meshgrid(side, side)), np.zeros(1600)], axis=1).astype(np.float32)
    assert 0.4 / 40 < np.median(spacing(plane)) < 3 / 40


@pytest.mark.parametrize("name", ["a.glb", "a.obj", "a.ply", "a.npz", "a.pth", "a.stl"])
def test_garbage_is_one_kind_of_error(name: str, tmp_path: Path) -> None:
    if name.endswith(".pth"):
        pytest.importorskip("torch", reason="torch is not installed: radiance fields are not tested")
    (tmp_path / name).write_bytes(np.random.default_rng(0).bytes(300))
    with pytest.raises((BadPicture, BadCheckpoint), match=rf"{name[:1]}\.{name[2:]}.*accepted") as refused:
        read_scene(tmp_path / name)
    assert "pickle" not in str(refused.value), "advice to read it unsafely"


def test_unknown_and_missing_paths(tmp_path: Path) -> None:
    with pytest.raises(BadPicture, match="no such file"):
        read_scene(tmp_path / "none.glb")
    (tmp_path / "a.xyz9").touch()
    with pytest.raises(BadPicture, match=r"ending '\.xyz9'"):
        read_scene(tmp_path / "a.xyz9")


def test_a_real_scene_of_points() -> None:
    if DATA is None:
        pytest.skip("FAIRLEAD_DATA is not set: real scenes are not there")
    scene = read_scene(Path(DATA) / "scenes/gsplat_garden/test_garden.npz", discs=40_000)
    view = splat(scene, scene.cameras[0].resized(64, 64))
    assert view.seen.mean() > 0.6
    assert view.render(scene.colours).std() > 0.1


def test_a_radiance_field_is_baked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed: radiance fields are not tested")
    from fairlead_stylization.scenes.reading import radiance

    # Dense where x is below 0.
    state = field(torch, axis=0, factor=-1.0, offset=0.0)
    torch.save({"fine": state}, tmp_path / "half.pth")
    monkeypatch.setattr(radiance, "_COARSE", 12)
    shares: list[float] = []
    scene = read_scene(tmp_path / "half.pth", discs=2000, progress=shares.append)
    np.testing.assert_allclose(scene.colours, np.tile([0.982, 0.5, 0.018], (len(scene.points), 1)), atol=1e-3)
    inner = np.abs(scene.points[:, 1:]).max(axis=1) < 1.2
    front = scene.points[inner & (scene.points[:, 0] > -1.2)]
    assert np.abs(front[:, 0]).max() < 0.2 and shares[-1] == 1.0


def test_what_a_field_is_taken_for_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed: radiance fields are not tested")
    from fairlead_stylization.scenes.reading import radiance

    monkeypatch.setattr(radiance, "_COARSE", 12)
    for name, factor in (("ground", -1.0), ("wall", 1.0)):  # dense below z = 0: something that lies there; above
        torch.save({"fine": field(torch, axis=2, factor=factor, offset=0.0)}, tmp_path / f"{name}.pth")
    ground, wall = (read_scene(tmp_path / f"{name}.pth", discs=500).conversions for name in ("ground", "wall"))
    assert "an object (a forward-facing one needs `--intrinsics` fx,fy,cx,cy" in ground[0] and ground == wall[:-1]
    assert "100% of its box's upper side are opaque" in wall[-1] and "likely a forward-facing scene" in wall[-1]


@pytest.mark.skipif(DATA is None, reason="FAIRLEAD_DATA is not set: trained fields are not there")
@pytest.mark.parametrize(("name", "forward"), [("chair", False), ("hotdog", False), ("drums", False), ("fern", True)])
def test_trained_fields_are_told_apart(name: str, forward: bool) -> None:
    pytest.importorskip("torch", reason="torch is not installed: radiance fields are not tested")
    from fairlead_stylization.scenes.reading.radiance import assumed, read_field

    told = list(assumed(read_field(Path(str(DATA)) / f"scenes/nerf_pretrained/{name}.pth")))
    assert forward == ("likely a forward-facing scene" in told[-1])


def field(torch, axis: int, factor: float, offset: float) -> dict[str, object]:
    """A field that is dense on one side of a plane and shows one colour: by hand, so that what must come is known."""
    width = 8
    state = {f"{name}.{kind}": torch.zeros(shape) for name, shape in
             {"layer1": (width, 9), "layers_xyz.0": (width, width), "fc_alpha": (1, width), "fc_feat": (width, width),
              "layers_dir.0": (width, width + 9), "fc_rgb": (3, width)}.items()
             for kind, shape in (("weight", shape), ("bias", shape[:1]))}  # fmt: skip
    state["layer1.weight"][0, axis], state["layer1.bias"][0] = factor, offset
    state["layers_xyz.0.weight"][0, 0] = 1.0
    state["fc_alpha.weight"][0, 0] = 400.0
    state["fc_rgb.bias"][:] = torch.tensor([4.0, 0.0, -4.0])
    return state


def test_a_forward_facing_field_is_baked_from_its_camera(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed: radiance fields are not tested")
    # A wall from z = 0.5 in normalized device coordinates on: 2 / (1 - 0.5) = 4 away.
    torch.save({"fine": field(torch, axis=2, factor=20.0, offset=-10.0)}, tmp_path / "wall.pth")
    shares: list[float] = []
    numbers = Intrinsics((20, 20), (12, 8))
    scene = read_scene(tmp_path / "wall.pth", intrinsics=numbers, progress=shares.append)
    np.testing.assert_allclose(scene.points[:, 2], -4, rtol=0.07)
    np.testing.assert_allclose(scene.colours, np.tile([0.982, 0.5, 0.018], (len(scene.points), 1)), atol=1e-2)
    first = scene.points[: 24 * 16]
    np.testing.assert_allclose(first[0, :2] / -first[0, 2], [-11.5 / 20, 7.5 / 20], rtol=1e-4)
    # Views beside the middle add only what it does not show, at their outer sides.
    assert len(first) < len(scene.points) < 1.5 * len(first) and shares[-1] == 1.0
    assert splat(scene, scene.cameras[0]).seen.mean() > 0.8
