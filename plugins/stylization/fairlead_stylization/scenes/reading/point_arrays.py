"""Coloured points with cameras in an .npz: ``means3d``, ``colors``, ``viewmats``, ``Ks``, ``width``, ``height``."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from ...errors import BadPicture
from ..camera import Camera
from ..scene import Scene
from .meshes import spacing

_NEEDED = ("means3d", "colors")
_CAMERAS = ("viewmats", "Ks", "width", "height")


def read_point_arrays(path: Path, *, discs: int, seed: int = 0) -> Scene:
    """Read points, as gsplat and others store them; cameras are taken where they are there.

    Raises:
        BadPicture: an array is missing or has another shape.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        # What NumPy says of bytes that are none of its own is how to read them unsafely.
        told = error.strerror if isinstance(error, OSError) and error.strerror else "no archive of arrays"
        raise BadPicture(f"{path}: cannot be read ({told}); accepted: an .npz with {', '.join(_NEEDED)}") from error
    for name in _NEEDED:
        found = arrays.get(name)
        if found is None or found.ndim != 2 or found.shape[1] != 3 or len(found) != len(arrays["means3d"]):
            told = "missing" if found is None else f"shape {found.shape}"
            raise BadPicture(f"{path}: {name}: {told}; accepted: [n, 3]")
    points = arrays["means3d"].astype(np.float32)
    colours = arrays["colors"].astype(np.float32) / (255 if arrays["colors"].dtype == np.uint8 else 1)
    good = np.nonzero(np.isfinite(points).all(axis=1) & np.isfinite(colours).all(axis=1))[0]
    if len(good) > discs:
        good = np.sort(np.random.default_rng(seed).choice(good, discs, replace=False))
    cameras = _cameras(path, arrays) if set(_CAMERAS) <= arrays.keys() else ()
    if not len(good):
        raise BadPicture(f"{path}: no point that is finite; accepted: at least one")
    points = points[good]
    up = -np.mean([camera.world_to_camera[1, :3] for camera in cameras], axis=0) if cameras else np.array([0, 1, 0])
    said = (f"{len(good)} of {len(colours)} points",) if len(good) < len(colours) else ()
    return Scene(
        points, np.clip(colours[good], 0, 1), _radii(points, cameras), cameras=cameras,
        up=tuple(float(value) for value in up), background=(0.0, 0.0, 0.0), source=str(path), conversions=said,
    )  # fmt: skip


def _radii(points: np.ndarray, cameras: tuple[Camera, ...]) -> np.ndarray:
    """By the grid's spacing; where cameras are known, such that the points that they see cover their pixels."""
    radii = spacing(points)
    if not cameras:
        return radii
    found = np.full(len(points), np.inf, np.float32)
    for camera in cameras:
        pixels, depth = camera.project(points)
        seen = (depth > 0) & (pixels > 0).all(axis=1) & (pixels < camera.size).all(axis=1)
        share = np.sqrt(camera.size[0] * camera.size[1] / max(1, int(seen.sum())))
        found[seen] = np.minimum(found[seen], 1.8 * share * depth[seen] / max(camera.focal))
    return np.where(np.isfinite(found), np.minimum(found, 4 * radii), radii).astype(np.float32)


def _cameras(path: Path, arrays: dict[str, np.ndarray]) -> tuple[Camera, ...]:
    views, numbers = arrays["viewmats"], arrays["Ks"]
    if views.ndim != 3 or views.shape[1:] != (4, 4) or numbers.shape != (len(views), 3, 3):
        raise BadPicture(f"{path}: viewmats {views.shape}, Ks {numbers.shape}; accepted: [n, 4, 4] and [n, 3, 3]")
    size = (int(arrays["width"]), int(arrays["height"]))
    return tuple(
        Camera((float(k[0, 0]), float(k[1, 1])), (float(k[0, 2]), float(k[1, 2])), size, view.astype(np.float32))
        for view, k in zip(views, numbers, strict=True)
    )
