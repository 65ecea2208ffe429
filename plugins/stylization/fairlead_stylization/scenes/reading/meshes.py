"""Meshes and clouds of points, as trimesh reads them: OBJ, glTF, PLY, STL, OFF; Gaussians as their PLY."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import BadPicture, MissingExtra
from ..scene import Mesh, Scene

F32 = NDArray[np.float32]
#: A band-0 spherical harmonic's value: what Gaussians' colours are stored by (Kerbl et al., 2023).
_HARMONIC = 0.28209479177387814
#: Radius of a mesh's discs beside that of a circle of their share of the area: what they leave open shows the far side.
_COVER = 1.6
#: Gaussians that let more through than this are fog.
_LEAST_OPACITY = 0.3
#: Cosine of the angle between a triangle and a corner's normal from which there is an edge.
_EDGE = 0.87
#: Tones of a backdrop.
_BACKDROP = 64
#: Steps of the sequence that fills a square most evenly (Roberts' R2: powers of the plastic number's inverse).
_EVEN = (0.7548776662466927, 0.5698402909980532)


def trimesh() -> ModuleType:
    """Return trimesh; raises MissingExtra where it is not installed."""
    try:
        import trimesh as found
    except ImportError as error:
        raise MissingExtra("Reading and writing 3D files", "scenes") from error
    return found


def read_mesh(path: Path, *, discs: int, seed: int = 0) -> Scene:
    """Read a mesh or a cloud of points.

    Args:
        path: of the file.
        discs: that a mesh is covered with; of more points than these, as many are taken.
        seed: of where they are.

    Raises:
        BadPicture: it cannot be read, or there is nothing in it.
    """
    library = trimesh()
    try:
        loaded = library.load(str(path), process=False)
        if isinstance(loaded, library.Scene):
            loaded = _joined(library, loaded, path)
    except BadPicture:
        raise
    except Exception as error:  # trimesh's readers raise what they like for damaged files
        raise BadPicture(f"{path}: cannot be read ({error}); accepted: {', '.join(ENDINGS)}") from error
    if isinstance(loaded, library.PointCloud) or not len(getattr(loaded, "faces", ())):
        return _points(loaded, path, discs, seed)
    return _covered(library, loaded, path, discs, seed)


ENDINGS = (".obj", ".glb", ".gltf", ".ply", ".stl", ".off")


def spacing(points: F32) -> F32:
    """Return radii [n] at which discs at points on surfaces cover them: from the mean distance to near ones.

    Distances are those to points of the same cell of a grid, whose cells hold a few: no tree of neighbours is needed
    for what only has to be right within a factor.
    """
    low, high = points.min(axis=0), points.max(axis=0)
    size = float((high - low).max()) or 1.0
    # So many cells that a surface's cell holds about 8.
    cells = max(1, int(np.sqrt(len(points) / 8)))
    place = np.minimum(((points - low) / size * cells).astype(np.int64), cells - 1)
    _, inverse, counts = np.unique(
        place[:, 0] * cells * cells + place[:, 1] * cells + place[:, 2], return_inverse=True, return_counts=True
    )
    # A cell's surface of about its side squared is shared by its points.
    return (size / cells / np.sqrt(counts[inverse]) * 0.75).astype(np.float32)


def _joined(library: ModuleType, scene: Any, path: Path) -> Any:
    parts = [part for part in scene.dump() if isinstance(part, (library.Trimesh, library.PointCloud))]
    if not parts:
        raise BadPicture(f"{path}: no mesh and no points in it; accepted: at least one")
    if len(parts) == 1:
        return parts[0]
    meshes = [part for part in parts if isinstance(part, library.Trimesh)]
    return library.util.concatenate(meshes) if meshes else parts[0]


def _points(loaded: Any, path: Path, discs: int, seed: int) -> Scene:
    raw = loaded.metadata.get("_ply_raw", {}).get("vertex", {}).get("data")
    points = np.asarray(loaded.vertices, np.float32)
    colours, radii, good = _gaussians(raw, points)
    if colours is None:
        stored = getattr(loaded, "colors", None)
        stored = loaded.visual.vertex_colors if stored is None or not len(stored) else stored
        if stored is None or len(stored) != len(points):
            raise BadPicture(f"{path}: points without colours; accepted: a colour for each")
        colours, good = np.asarray(stored, np.float32)[:, :3] / 255, np.ones(len(points), bool)
    good &= np.isfinite(points).all(axis=1) & np.isfinite(colours).all(axis=1)
    kept = _some(np.nonzero(good)[0], discs, seed)
    if not len(kept):
        raise BadPicture(f"{path}: no point that is finite and not transparent; accepted: at least one")
    points, colours = points[kept], np.clip(colours[kept], 0, 1).astype(np.float32)
    said = (f"{len(kept)} of {len(good)} points",) if len(kept) < len(good) else ()
    radii = spacing(points) if radii is None else np.maximum(radii[kept], spacing(points) * 0.5)
    return Scene(points, colours, radii.astype(np.float32), source=str(path), conversions=said)


def _gaussians(raw: Any, points: F32) -> tuple[F32 | None, F32 | None, NDArray[np.bool_]]:
    """Colours, radii and which are opaque, of a PLY of Gaussians; None where it is of something else."""
    names = getattr(getattr(raw, "dtype", None), "names", None) or ()
    if not {"f_dc_0", "f_dc_1", "f_dc_2", "opacity", "scale_0"} <= set(names):
        return None, None, np.ones(len(points), bool)
    colours = np.stack([raw[f"f_dc_{axis}"] for axis in range(3)], axis=1).astype(np.float32) * _HARMONIC + 0.5
    scales = np.sort(np.exp(np.stack([raw[f"scale_{axis}"] for axis in range(3)], axis=1).astype(np.float64)), axis=1)
    opacity = 1 / (1 + np.exp(-raw["opacity"].astype(np.float64)))
    # The two longer axes are those of a disc on the surface.
    return colours, np.sqrt(scales[:, 1] * scales[:, 2]).astype(np.float32), opacity >= _LEAST_OPACITY


def _covered(library: ModuleType, mesh: Any, path: Path, discs: int, seed: int) -> Scene:
    vertices = np.asarray(mesh.vertices, np.float32)
    if not np.isfinite(vertices).all():
        raise BadPicture(f"{path}: vertices that are not finite; accepted: finite ones")
    area = float(mesh.area)
    if not area > 0:
        raise BadPicture(f"{path}: its triangles have no area; accepted: at least one that has")
    faces, weights = _spread(np.asarray(mesh.area_faces, np.float64), discs, seed)
    points = (weights[..., None] * np.asarray(mesh.triangles, np.float32)[faces]).sum(axis=1)
    texture, places = _texture(mesh)
    colours = _colours(mesh, weights, faces, texture, places)
    bare = colours is None
    colours = _lit(mesh, weights, faces) if colours is None else colours
    normals = np.asarray(mesh.face_normals, np.float32)[faces]
    radius = np.sqrt(area / discs / np.pi) * _COVER
    kept = Mesh(vertices, np.asarray(mesh.faces, np.int32), places, texture, faces.astype(np.int32), weights)
    return Scene(
        points.astype(np.float32), colours, np.full(len(points), radius, np.float32),
        # Triangles of open or badly wound meshes show both sides.
        normals if _closed(mesh) else None,
        source=str(path), mesh=kept, conversions=("no colours: lit from above",) if bare else (),
        backdrop=_tones(colours) if bare else None,
    )  # fmt: skip


def _spread(areas: NDArray[np.float64], count: int, seed: int) -> tuple[NDArray[np.int64], F32]:
    """Triangles int64 [count] and barycentric places float32 [count, 3] that lie evenly on a surface.

    Every triangle has its share of the count, up to one, and within it places follow a sequence of low discrepancy:
    places drawn at random would leave open what others cover several times.
    """
    rng = np.random.default_rng(seed)
    ends = np.cumsum(areas)
    faces = np.searchsorted(ends, (np.arange(count) + rng.random()) / count * ends[-1], side="right")
    faces = np.minimum(faces, len(areas) - 1)
    starts = np.searchsorted(faces, np.arange(len(areas)))
    number = np.arange(count) - starts[faces]
    square = (rng.random((len(areas), 2))[faces] + number[:, None] * np.float64(_EVEN)) % 1
    # The square's upper half is folded onto the triangle.
    over = square.sum(axis=1) > 1
    square[over] = 1 - square[over]
    return faces, np.concatenate([1 - square.sum(axis=1, keepdims=True), square], axis=1).astype(np.float32)


def _closed(mesh: Any) -> bool:
    """Whether a mesh has an inside; files with places on a texture have vertices several times along its seams."""
    joined = mesh.copy()
    joined.merge_vertices(merge_tex=True, merge_norm=True)
    return bool(joined.is_watertight and joined.is_winding_consistent)


def _texture(mesh: Any) -> tuple[F32 | None, F32 | None]:
    places = getattr(mesh.visual, "uv", None)
    material = getattr(mesh.visual, "material", None)
    image = getattr(material, "baseColorTexture", None) or getattr(material, "image", None)
    if places is None or len(places) != len(mesh.vertices):
        return None, None
    # trimesh makes pictures of a few grey pixels for materials that have none.
    if image is None or max(image.size) < 4:
        return None, np.asarray(places, np.float32)
    return np.asarray(image.convert("RGB"), np.float32) / 255, np.asarray(places, np.float32)


def _colours(mesh: Any, weights: F32, faces: NDArray[np.int64], texture: F32 | None, places: F32 | None) -> F32 | None:
    """Discs' colours [discs, 3], of a texture or of vertices; None: the mesh has none."""
    if texture is not None and places is not None:
        at = (weights[..., None] * places[np.asarray(mesh.faces)[faces]]).sum(axis=1)
        return _sampled(texture, at)
    if mesh.visual.defined and mesh.visual.kind in ("vertex", "face"):
        stored = np.asarray(mesh.visual.vertex_colors, np.float32)[:, :3] / 255
        return (weights[..., None] * stored[np.asarray(mesh.faces)[faces]]).sum(axis=1).astype(np.float32)
    return None


def _lit(mesh: Any, weights: F32, faces: NDArray[np.int64]) -> F32:
    """Greys [discs, 3] of a mesh under light from above: without, a style would have nothing to hold on to."""
    light = 0.35 + 0.55 * (_smooth(mesh, weights, faces) @ np.array([0.3, 0.8, 0.52]) * 0.5 + 0.5)
    return np.repeat(light[:, None], 3, axis=1).astype(np.float32)


def _smooth(mesh: Any, weights: F32, faces: NDArray[np.int64]) -> NDArray[np.float64]:
    """Normals [discs, 3] that vary over a triangle, but for its edges: facets would be painted as strokes."""
    # Most files of meshes without colours have every triangle's corners apart.
    joined = mesh.copy()
    joined.merge_vertices(merge_tex=True, merge_norm=True)
    flat = np.asarray(mesh.face_normals)[faces][:, None]
    corners = np.asarray(joined.vertex_normals)[np.asarray(joined.faces)[faces]]
    corners = np.where((corners * flat).sum(axis=2, keepdims=True) > _EDGE, corners, flat)
    normals = (weights[..., None] * corners).sum(axis=1)
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)


def _tones(colours: F32) -> F32:
    """What to hang behind a surface [n, 3] so that pictures of it have the tones of the surface itself, light below.

    A style's tones are given to those of a whole picture. In front of white a grey surface is all shadow: it would get
    the darkest that a style has, and the background all that is light.
    """
    shares = (np.arange(_BACKDROP) + 0.5) / _BACKDROP
    return np.quantile(colours, shares, axis=0).astype(np.float32)


def _sampled(texture: F32, places: F32) -> F32:
    """Bilinear samples of a texture [h, w, 3] at (u, v), v upwards, repeated beyond its borders."""
    height, width = texture.shape[:2]
    x, y = places[:, 0] * width - 0.5, (1 - places[:, 1]) * height - 0.5
    left, top = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
    across, down = (x - left)[:, None], (y - top)[:, None]
    corner = [[texture[(top + row) % height, (left + column) % width] for column in (0, 1)] for row in (0, 1)]
    upper = corner[0][0] * (1 - across) + corner[0][1] * across
    lower = corner[1][0] * (1 - across) + corner[1][1] * across
    return (upper * (1 - down) + lower * down).astype(np.float32)


def _some(index: NDArray[np.int64], most: int, seed: int) -> NDArray[np.int64]:
    if len(index) <= most:
        return index
    return np.sort(np.random.default_rng(seed).choice(index, most, replace=False))
