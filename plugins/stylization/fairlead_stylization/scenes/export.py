"""Stylized scenes as files: pictures from all around, coloured points, meshes with a new texture."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import BadPicture
from ..pictures import Picture, write_file, write_picture
from .camera import Camera
from .pattern import closed, spread_inwards
from .reading.meshes import trimesh
from .scene import Mesh, Scene
from .splatting import splat

F32 = NDArray[np.float32]
TEXTURE_SIDE = 1024


def write_turntable(
    scene: Scene,
    folder: Path,
    cameras: Sequence[Camera],
    *,
    supersampling: int = 2,
    frame_ms: int = 60,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Path]:
    """Write a view of each camera as PNG, and all of them as ``turntable.gif``.

    Args:
        scene: with the colours that are to be seen.
        folder: is made if it is not there.
        cameras: of the views.
        supersampling: pixels on a side that are rendered for one that is written.
        frame_ms: of the GIF.
        progress: is told the views that are done, and how many there are.
    """
    views = []
    for number, camera in enumerate(cameras):
        views.append(rendered(scene, camera, supersampling))
        progress(number + 1, len(cameras))
    paths = [write_picture(Picture(view), folder / f"{number:03d}.png") for number, view in enumerate(views)]
    frames = [Image.fromarray((np.clip(view, 0, 1) * 255 + 0.5).astype(np.uint8)) for view in views]
    turning = io.BytesIO()
    frames[0].save(turning, "GIF", save_all=True, append_images=frames[1:], duration=frame_ms, loop=0)
    return [*paths, write_file(folder / "turntable.gif", turning.getvalue())]


def rendered(scene: Scene, camera: Camera, supersampling: int = 2) -> F32:
    """A view of a scene, float32 [height, width, 3]: rendered larger and made smaller by means."""
    width, height = camera.size
    large = camera.resized(width * supersampling, height * supersampling)
    view = closed(splat(scene, large), scene.colours, scene.background)
    return view.reshape(height, supersampling, width, supersampling, 3).mean(axis=(1, 3))


def write_scene(scene: Scene, path: Path) -> Path:
    """Write a scene as PLY or glTF (.glb): a mesh keeps its triangles and gets a texture, all else is points.

    Raises:
        BadPicture: another ending, or a path that cannot be written.
    """
    if path.suffix.lower() not in (".ply", ".glb"):
        raise BadPicture(f"{path}: ending {path.suffix!r}; accepted: .ply, .glb")
    made = _mesh(scene, scene.mesh) if scene.mesh is not None else _points(scene)
    return write_file(path, made.export(file_type=path.suffix.lower()[1:]))


def baked_texture(mesh: Mesh, colours: F32, side: int = TEXTURE_SIDE) -> F32:
    """A texture float32 [side, side, 3] with the discs' colours at their places; the rest is filled from around."""
    assert mesh.places is not None and mesh.disc_faces is not None and mesh.disc_weights is not None
    at = (mesh.disc_weights[..., None] * mesh.places[mesh.faces[mesh.disc_faces]]).sum(axis=1)
    x = np.clip((at[:, 0] % 1) * side, 0, side - 1).astype(np.int64)
    y = np.clip((1 - at[:, 1] % 1) * side, 0, side - 1).astype(np.int64)
    place = y * side + x
    count = np.bincount(place, minlength=side * side).reshape(side, side)
    sums = [np.bincount(place, colours[:, channel], minlength=side * side) for channel in range(3)]
    texture = np.stack(sums, axis=1).reshape(side, side, 3) / np.maximum(count, 1)[..., None]
    return spread_inwards(texture.astype(np.float32), count > 0)


def _points(scene: Scene) -> Any:
    return trimesh().PointCloud(scene.points, _bytes(scene.colours))


def _mesh(scene: Scene, mesh: Mesh) -> Any:
    library = trimesh()
    made = library.Trimesh(mesh.vertices, mesh.faces, process=False)
    if mesh.places is None:
        made.visual = library.visual.ColorVisuals(made, vertex_colors=_bytes(_at_vertices(mesh, scene.colours)))
        return made
    # As fine as the discs are: beyond that there is only what is filled in.
    side = int(np.clip(2 ** round(np.log2(np.sqrt(len(scene.points)) * 1.5)), 64, TEXTURE_SIDE))
    image = Image.fromarray(_bytes(baked_texture(mesh, scene.colours, side)))
    material = library.visual.material.PBRMaterial(baseColorTexture=image, metallicFactor=0.0, roughnessFactor=1.0)
    made.visual = library.visual.TextureVisuals(mesh.places, material=material)
    return made


def _at_vertices(mesh: Mesh, colours: F32) -> F32:
    """Means of the discs around each vertex; a vertex without any takes the mean of all."""
    assert mesh.disc_faces is not None and mesh.disc_weights is not None
    corners = mesh.faces[mesh.disc_faces]
    total = np.bincount(corners.ravel(), mesh.disc_weights.ravel(), minlength=len(mesh.vertices))
    weighted = mesh.disc_weights[..., None] * colours[:, None]
    sums = [
        np.bincount(corners.ravel(), weighted[..., channel].ravel(), minlength=len(mesh.vertices))
        for channel in range(3)
    ]
    means = np.stack(sums, axis=1) / np.maximum(total, 1e-9)[:, None]
    return np.where(total[:, None] > 1e-6, means, colours.mean(axis=0)).astype(np.float32)


def _bytes(values: F32) -> NDArray[np.uint8]:
    return (np.clip(values, 0, 1) * 255 + 0.5).astype(np.uint8)
