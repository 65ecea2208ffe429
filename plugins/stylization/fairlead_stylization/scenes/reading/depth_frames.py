"""Posed RGB-D frames of a folder: ``color/``, ``depth/``, ``pose.txt`` and the camera's numbers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ...errors import BadPicture
from ...pictures import read_picture
from ..camera import Camera
from ..scene import Scene

F32 = NDArray[np.float32]
_PICTURES = (".png", ".jpg", ".jpeg", ".pgm", ".ppm")


@dataclass(frozen=True, slots=True)
class Intrinsics:
    """A depth camera's numbers.

    Attributes:
        focal, centre: (x, y) in pixels.
        depth_unit: of the stored depths, in the poses' unit: 0.001 for millimetres.
    """

    focal: tuple[float, float]
    centre: tuple[float, float]
    depth_unit: float = 0.001


def read_depth_frames(folder: Path, intrinsics: Intrinsics | None, *, discs: int) -> Scene:
    """Read frames and join them to one scene.

    ``pose.txt`` has a line for each frame in the order of their names: x y z qx qy qz qw, camera to world.

    Raises:
        BadPicture: a part is missing, or does not fit the others.
    """
    if intrinsics is None:
        raise BadPicture(f"{folder}: the camera's focal lengths are not known; accepted: `--intrinsics` fx,fy,cx,cy")
    colour, depth = _listed(folder / "color"), _listed(folder / "depth")
    poses = _poses(folder / "pose.txt")
    if not len(colour) == len(depth) == len(poses):
        told = f"{len(colour)} pictures, {len(depth)} depth maps, {len(poses)} poses"
        raise BadPicture(f"{folder}: {told}; accepted: as many of each, at least one")
    frames = [_frame(*parts, intrinsics) for parts in zip(colour, depth, poses, strict=True)]
    points, colours, radii = (np.concatenate(parts) for parts in zip(*[frame[:3] for frame in frames], strict=True))
    kept, radii = fused(points, radii, discs)
    up = -np.mean([frame[3].world_to_camera[1, :3] for frame in frames], axis=0)
    return Scene(
        points[kept], colours[kept], radii, cameras=tuple(frame[3] for frame in frames),
        up=tuple(float(value) for value in up), background=(0.0, 0.0, 0.0), source=str(folder),
    )  # fmt: skip


def _frame(colour: Path, depth: Path, pose: NDArray[np.float64], numbers: Intrinsics) -> tuple[F32, F32, F32, Camera]:
    picture = read_picture(colour)
    far = _depth(depth) * np.float32(numbers.depth_unit)
    if far.shape != picture.pixels.shape[:2]:
        raise BadPicture(f"{depth}: {far.shape[1]}x{far.shape[0]}; accepted: {picture.width}x{picture.height}")
    camera = Camera(numbers.focal, numbers.centre, (picture.width, picture.height), _world_to_camera(pose))
    y, x = np.nonzero(far > 0)
    pixels = np.stack([x, y], axis=1).astype(np.float32) + 0.5
    points = camera.unproject(pixels, far[y, x])
    # A little more than half a pixel's diagonal at that depth: discs of neighbouring pixels touch.
    radii = (0.8 * far[y, x] / min(numbers.focal)).astype(np.float32)
    good = ~_edges(far)[y, x]
    return points[good], picture.pixels[y, x][good], radii[good], camera


def _depth(path: Path) -> F32:
    try:
        with Image.open(path) as image:
            return np.asarray(image, np.float32)
    except (OSError, ValueError) as error:
        raise BadPicture(f"{path}: cannot be read ({error}); accepted: a depth map of 16 bits") from error


def _edges(far: F32) -> NDArray[np.bool_]:
    """Where depth jumps by more than 5 %: such pixels mix what is before with what is behind."""
    jumps = np.zeros(far.shape, bool)
    for axis in (0, 1):
        near = np.minimum(np.roll(far, 1, axis), far)
        step = np.abs(np.diff(far, axis=axis, prepend=far.take([0], axis))) > 0.05 * near
        jumps |= step | np.roll(step, -1, axis)
    return jumps


def fused(points: F32, radii: F32, most: int) -> tuple[NDArray[np.int64], F32]:
    """Points that stand for all, at most so many, and their discs' radii: as fine everywhere as it was seen.

    Cells that a point has to itself are larger by one factor than its disc, in steps of a power of two: what was seen
    from near keeps its detail, and what was seen from far is not told twice.

    Args:
        points, radii: float32 [n, 3] and [n].
        most: points that are kept, at most; 1 or more.

    Returns:
        indices of what is kept, in their order, and float32 radii of these.
    """
    factor = 1.0
    kept, sides = _alone(points, radii, factor)
    while len(kept) > most:
        # Points lie on surfaces.
        factor *= max(1.02, float(np.sqrt(len(kept) / most)))
        kept, sides = _alone(points, radii, factor)
    return kept, np.maximum(radii[kept], np.float32(0.85) * sides)


def _alone(points: F32, radii: F32, factor: float) -> tuple[NDArray[np.int64], F32]:
    """Points that share no cell with a finer one, in their order, and the sides of their cells."""
    steps = np.floor(np.log2(np.maximum(radii, 1e-9))).astype(np.int64)
    kept = np.zeros(0, np.int64)
    sides = np.zeros(len(points), np.float32)
    for step in np.unique(steps):
        own = np.flatnonzero(steps == step)
        own = own[np.argsort(radii[own], kind="stable")]
        # The mean of what falls into the step.
        sides[own] = side = factor * 1.5 * 2.0 ** int(step)
        # Of a cell the first one is taken, and finer ones come first.
        among = np.concatenate([kept, own])
        _, first = np.unique(_cells(points[among], side), return_index=True)
        kept = np.concatenate([kept, among[first[first >= len(kept)]]])
    kept = np.sort(kept)
    return kept, sides[kept]


def _cells(points: F32, side: float) -> NDArray[np.int64]:
    """Numbers of the grid's cells that points lie in."""
    cells = np.floor(points / np.float32(side)).astype(np.int64)
    return (cells * np.array([73856093, 19349663, 83492791])).sum(axis=1)


def _listed(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise BadPicture(f"{folder}: no such folder; accepted: color/, depth/ and pose.txt beside each other")
    found = [path for path in folder.iterdir() if path.suffix.lower() in _PICTURES]
    return sorted(found, key=lambda path: (len(path.stem), path.stem))


def _poses(path: Path) -> NDArray[np.float64]:
    try:
        found = np.loadtxt(path, ndmin=2)
    except (OSError, ValueError) as error:
        raise BadPicture(f"{path}: cannot be read ({error}); accepted: lines x y z qx qy qz qw") from error
    if found.shape[1] != 7 or not np.isfinite(found).all():
        raise BadPicture(f"{path}: {found.shape[1]} columns; accepted: finite x y z qx qy qz qw")
    return found


def _world_to_camera(pose: NDArray[np.float64]) -> F32:
    x, y, z, w = pose[3:] / max(float(np.linalg.norm(pose[3:])), 1e-12)
    rotation = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
    matrix = np.eye(4, dtype=np.float32)
    matrix[:3, :3], matrix[:3, 3] = rotation.T, -rotation.T @ pose[:3]
    return matrix
