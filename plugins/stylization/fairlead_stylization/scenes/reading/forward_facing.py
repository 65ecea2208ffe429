"""Forward-facing radiance fields, in normalized device coordinates (Mildenhall et al., ECCV 2020, appendix C).

The field is volume-rendered from where its cameras stood and from a little beside, and what rays end on becomes discs.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...errors import BadSetting
from ..camera import Camera, looking_at
from ..scene import Scene
from .depth_frames import Intrinsics
from .radiance import Field, read_field

F32 = NDArray[np.float32]
#: Rays of a view, samples of a ray, rays at once.
_RAYS, _SAMPLES, _PART = 24_000, 64, 1024
#: How far beside the middle views are taken, where the near plane is 1 away: what is hidden in the middle view shows.
_BESIDE = 0.2
#: Nothing is further away than this many near planes.
_FARTHEST = 40.0


def read_forward_facing(
    path: Path,
    numbers: Intrinsics,
    *,
    discs: int,
    progress: Callable[[float], None] = lambda share: None,
    seed: int = 0,
) -> Scene:
    """Bake a checkpoint of nerf-pytorch that was trained in normalized device coordinates, near plane at 1.

    Args:
        path: of the checkpoint.
        numbers: of the camera that it was trained with; the picture is twice the centre wide and high.
        discs: at most.
        progress: is told the share that is done.
        seed: of which are taken if there are more.

    Raises:
        BadCheckpoint: no checkpoint, or values that are not finite.
        BadSetting: a centre that is no middle of a picture.
    """
    field, camera = read_field(path), _middle(numbers)
    found: list[tuple[F32, F32, F32]] = []
    eyes = np.float32([[0, 0], [1, 0], [-1, 0], [0, 1], [0, -1]]) * _BESIDE
    for turn, eye in enumerate(eyes):
        view = _moved(camera, eye)
        depth, colours = _rendered(field, view, lambda share, turn=turn: progress((turn + share) / len(eyes)))
        points = view.unproject(_pixels(view), depth)
        new = np.ones(len(points), bool) if not turn else _hidden(points, camera, found[0][0])
        found.append((points[new], colours[new], 0.8 * depth[new] / min(camera.focal)))
    points, colours, radii = (np.concatenate(parts).astype(np.float32) for parts in zip(*found, strict=True))
    kept = np.arange(len(points))
    if len(points) > discs:
        kept = np.sort(np.random.default_rng(seed).choice(kept, discs, replace=False))
        radii = radii * np.float32(np.sqrt(len(points) / discs))
    cameras = tuple(_around(camera, float(np.median(found[0][0][:, 2]))))
    told = "a forward-facing radiance field, baked to what is seen from its cameras' middle and beside"
    return Scene(points[kept], colours[kept].clip(0, 1), radii[kept], None, cameras, source=str(path),
                 conversions=(told,))  # fmt: skip


def _middle(numbers: Intrinsics) -> Camera:
    """The camera in the world's origin, which looks along -z; smaller, so that it has not more rays than wanted."""
    width, height = (round(2 * centre) for centre in numbers.centre)
    if min(width, height) < 2:
        raise BadSetting(f"centre {numbers.centre}; accepted: the middle of the field's pictures, 1 and above")
    matrix = np.diag(np.float32([1, -1, -1, 1]))
    camera = Camera(numbers.focal, numbers.centre, (width, height), matrix)
    scale = min(1.0, (_RAYS / (width * height)) ** 0.5)
    return camera.resized(max(2, round(width * scale)), max(2, round(height * scale)))


def _moved(camera: Camera, eye: F32) -> Camera:
    matrix = camera.world_to_camera.copy()
    matrix[:2, 3] = -matrix[:2, :2] @ eye
    return Camera(camera.focal, camera.centre, camera.size, matrix)


def _around(camera: Camera, middle: float) -> list[Camera]:
    """On a circle about the middle, all looking at what is half-way."""
    turns = np.linspace(0, 2 * np.pi, 13)
    eyes = np.stack([_BESIDE * np.cos(turns), 0.6 * _BESIDE * np.sin(turns), 0 * turns], axis=1).astype(np.float32)
    target, up = np.float32([0, 0, middle]), np.float32([0, 1, 0])
    matrices = [looking_at(eye, target, up, size=camera.size).world_to_camera for eye in eyes]
    return [Camera(camera.focal, camera.centre, camera.size, matrix) for matrix in matrices]


def _pixels(camera: Camera) -> F32:
    y, x = np.mgrid[: camera.size[1], : camera.size[0]]
    return np.stack([x.ravel(), y.ravel()], axis=1).astype(np.float32) + 0.5


def _hidden(points: F32, camera: Camera, shown: F32) -> NDArray[np.bool_]:
    """Which points the middle view does not show: outside of it, or behind what it shows, by more than 5 %."""
    pixels, depth = camera.project(points)
    x, y = (np.floor(pixels[:, axis]).astype(int) for axis in (0, 1))
    inside = (x >= 0) & (y >= 0) & (x < camera.size[0]) & (y < camera.size[1])
    front = -shown[:, 2].reshape(camera.size[1], camera.size[0])
    seen = front[np.clip(y, 0, camera.size[1] - 1), np.clip(x, 0, camera.size[0] - 1)]
    return ~inside | (depth > 1.05 * seen)


def _rendered(field: Field, camera: Camera, progress: Callable[[float], None]) -> tuple[F32, F32]:
    """Depths [n] and colours [n, 3] of a view's pixels."""
    rays = camera.unproject(_pixels(camera), np.ones(camera.size[0] * camera.size[1], np.float32)) - camera.position
    found = []
    for start in range(0, len(rays), _PART):
        found.append(_ended(field, camera, rays[start : start + _PART]))
        progress(min(1.0, (start + _PART) / len(rays)))
    depth, colours = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return depth.astype(np.float32), colours.astype(np.float32)


def _ended(field: Field, camera: Camera, rays: F32) -> tuple[F32, F32]:
    """Where rays [n, 3] (z of -1) from a camera end, and what they show."""
    scale = 2 * np.float32(camera.focal) / np.float32(camera.size)
    origin = camera.position[:2] + rays[:, :2]
    # On the near plane, z = -1: the first point of a ray; at infinity, only its direction counts.
    first = np.concatenate([scale * origin, np.full((len(rays), 1), -1, np.float32)], axis=1)
    way = np.concatenate([scale * (rays[:, :2] - origin), np.full((len(rays), 1), 2, np.float32)], axis=1)
    share = ((np.arange(_SAMPLES, dtype=np.float32) + 0.5) / _SAMPLES)[None, :, None]
    points = (first[:, None] + share * way[:, None]).reshape(-1, 3).astype(np.float32)
    density, features = field.density(points)
    looking = np.repeat(rays / np.linalg.norm(rays, axis=1, keepdims=True), _SAMPLES, axis=0)
    colours = field.colours(features, looking).reshape(len(rays), _SAMPLES, 3)
    lengths = np.linalg.norm(way, axis=1)[:, None] / _SAMPLES * np.ones(_SAMPLES, np.float32)
    lengths[:, -1] = 1e10
    passed = np.cumsum(density.reshape(len(rays), _SAMPLES) * lengths, axis=1)
    clear = np.exp(-np.pad(passed, ((0, 0), (1, 0))))
    weights = clear[:, :-1] - clear[:, 1:]
    place = share[0, np.argmax(clear[:, 1:] < 0.5, axis=1), 0]
    place = np.where(clear[:, -1] < 0.5, place, 1.0)
    return np.minimum(1 / np.maximum(1 - place, 1e-6), _FARTHEST), (weights[..., None] * colours).sum(axis=1)
