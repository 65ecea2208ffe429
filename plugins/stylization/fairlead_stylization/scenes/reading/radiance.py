"""Trained radiance fields: checkpoints of nerf-pytorch (Mildenhall et al., ECCV 2020), baked to discs once.

Where the density crosses from nothing to something there is a surface; its colour is what the field shows to somebody
who looks straight at it. So the surface is found on a grid, coarse first and fine where it is not empty.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import BadCheckpoint, MissingExtra
from ..camera import Camera, turntable
from ..scene import Scene

F32 = NDArray[np.float32]
#: Half the side of the box that the synthetic scenes lie in, and their opacity from which there is a surface.
_HALF, _SURFACE = 1.5, 12.0
_COARSE = 72
_ACCEPTED = "an object within 1.5 of the origin, or a forward-facing scene with fx,fy,cx,cy of its camera"
_PART = 65536
#: More of the box's upper side is opaque in no object: its cameras, around and above it, look through there.
_SHUT = 0.5
_FORWARD = "`--intrinsics` fx,fy,cx,cy of its camera"


@dataclass(frozen=True, slots=True)
class Field:
    """A field's network: points and directions to densities and colours."""

    weights: Mapping[str, F32]
    place_octaves: int
    direction_octaves: int

    def density(self, points: F32) -> tuple[F32, F32]:
        """Densities [n], not negative, and what colours are made of [n, width]."""
        hidden = _linear(self.weights, "layer1", _octaves(points, self.place_octaves))
        index = 0
        while f"layers_xyz.{index}.weight" in self.weights:
            hidden = np.maximum(_linear(self.weights, f"layers_xyz.{index}", hidden), 0)
            index += 1
        found = np.maximum(_linear(self.weights, "fc_alpha", hidden)[:, 0], 0)
        return found, np.maximum(_linear(self.weights, "fc_feat", hidden), 0)

    def colours(self, features: F32, directions: F32) -> F32:
        """Colours [n, 3] for somebody who looks along directions [n, 3]."""
        hidden = np.concatenate([features, _octaves(directions, self.direction_octaves)], axis=1)
        hidden = np.maximum(_linear(self.weights, "layers_dir.0", hidden), 0)
        return 0.5 + 0.5 * np.tanh(0.5 * _linear(self.weights, "fc_rgb", hidden))


def read_radiance_field(
    path: Path, *, discs: int, progress: Callable[[float], None] = lambda share: None, seed: int = 0
) -> Scene:
    """Bake a checkpoint of nerf-pytorch: an object within a box of 3 around the origin, z upwards.

    Args:
        path: of the checkpoint.
        discs: at most.
        progress: is told the share that is done.
        seed: of which are taken if there are more.

    Raises:
        BadCheckpoint: it is none, holds values that are not finite, or shows nothing.
    """
    field = read_field(path)
    occupied, steps = _occupied(field, progress)
    if not len(occupied):
        raise BadCheckpoint(path, f"no density above a surface's in its box; accepted: {_ACCEPTED}")
    fine = _fineness(len(occupied), discs)
    points, colours, normals = _surface(field, occupied, steps, fine, progress)
    if not len(points):
        raise BadCheckpoint(path, f"no surface in its box; accepted: {_ACCEPTED}")
    kept = np.arange(len(points))
    if len(points) > discs:
        kept = np.sort(np.random.default_rng(seed).choice(kept, discs, replace=False))
    radius = 1.1 * 2 * _HALF / _COARSE / fine * np.sqrt(len(points) / len(kept))
    cameras = tuple(_synthetic_cameras())
    return Scene(
        points[kept], colours[kept], np.full(len(kept), radius, np.float32), normals[kept], cameras, (0.0, 0.0, 1.0),
        source=str(path), conversions=tuple(assumed(field)),
    )  # fmt: skip


def assumed(field: Field) -> Iterator[str]:
    """What was taken for granted about a field, in words: that it is of an object is written in none."""
    yield f"read as a radiance field of an object (a forward-facing one needs {_FORWARD})"
    yield "baked to what is seen looking straight at its surfaces"
    axis = np.linspace(-_HALF, _HALF, _COARSE, dtype=np.float32)
    upper = np.stack(np.meshgrid(axis, axis, np.float32([_HALF]), indexing="ij"), axis=-1).reshape(-1, 3)
    shut = float((field.density(upper)[0] > _SURFACE).mean())
    if shut > _SHUT:
        yield (f"WARNING: {shut:.0%} of its box's upper side are opaque, where an object's cameras look in: likely "
               f"a forward-facing scene, and the result is of no use; say so by {_FORWARD}")  # fmt: skip


def _synthetic_cameras() -> list[Camera]:
    """The way around an object that the synthetic data sets' test pictures take: 4 away, 30 degrees up."""
    focal = 0.6911112
    cameras = turntable(np.zeros(3, np.float32), 1.0, 12, up=np.float32([0, 0, 1]), elevation=0.5236,
                        size=(400, 400), field_of_view=focal)  # fmt: skip
    scale = 4.0 / float(np.linalg.norm(cameras[0].position))
    return [_further(camera, scale) for camera in cameras]


def _further(camera: Camera, scale: float) -> Camera:
    matrix = camera.world_to_camera.copy()
    matrix[:3, 3] *= scale
    return Camera(camera.focal, camera.centre, camera.size, matrix)


def _occupied(field: Field, progress: Callable[[float], None]) -> tuple[F32, float]:
    """Corners [n, 3] of coarse cells that hold something or touch such a cell, and their side."""
    step = 2 * _HALF / _COARSE
    axis = np.arange(_COARSE, dtype=np.float32) * step - _HALF + step / 2
    grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
    density = np.concatenate([field.density(part)[0] for part in _parts(grid, progress, 0.0, 0.4)])
    filled = np.pad((density > 0.25 * _SURFACE).reshape((_COARSE,) * 3), 1)
    touched = np.zeros_like(filled)
    for axis_number in range(3):
        for shift in (-1, 1):
            touched |= np.roll(filled, shift, axis_number)
    near = (filled | touched)[1:-1, 1:-1, 1:-1]
    # Cells wholly inside have no surface.
    inside = np.ones_like(filled)
    for axis_number in range(3):
        for shift in (-1, 1):
            inside &= np.roll(filled, shift, axis_number)
    near &= ~(inside & filled)[1:-1, 1:-1, 1:-1]
    return grid.reshape(_COARSE, _COARSE, _COARSE, 3)[near] - np.float32(step / 2), step


def _fineness(cells: int, discs: int) -> int:
    """Fine cells on a side of a coarse one, such that a surface through all of them has about so many discs."""
    return int(np.clip(np.sqrt(2.5 * discs / max(1, cells)), 2, 4))


def _surface(
    field: Field, corners: F32, step: float, fine: int, progress: Callable[[float], None]
) -> tuple[F32, F32, F32]:
    offsets = (np.arange(fine, dtype=np.float32) + 0.5) * (step / fine)
    inner = np.stack(np.meshgrid(offsets, offsets, offsets, indexing="ij"), axis=-1).reshape(-1, 3)
    found: list[tuple[F32, F32, F32]] = []
    side = np.float32(step / fine)
    count = max(1, _PART // len(inner))
    for first in range(0, len(corners), count):
        points = (corners[first : first + count, None] + inner).reshape(-1, 3)
        density, _ = field.density(points)
        at = points[density > _SURFACE]
        if len(at):
            found.append(_shown(field, at, side))
        progress(0.4 + 0.6 * min(1.0, (first + count) / len(corners)))
    if not found:
        return (np.zeros((0, 3), np.float32),) * 3
    points, colours, normals = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return points, colours, normals


def _shown(field: Field, points: F32, side: np.float32) -> tuple[F32, F32, F32]:
    """Of filled fine cells those with an empty neighbour, their colours and normals."""
    slope = np.zeros_like(points)
    least = np.full(len(points), np.inf, np.float32)
    for axis in range(3):
        for sign in (-1, 1):
            moved = points.copy()
            moved[:, axis] += sign * side
            density = field.density(moved)[0]
            least = np.minimum(least, density)
            slope[:, axis] += sign * np.log1p(density)
    length = np.linalg.norm(slope, axis=1)
    shown = (least <= _SURFACE) & (length > 1e-6)
    points, normals = points[shown], -slope[shown] / length[shown, None]
    _, features = field.density(points)
    return points, field.colours(features, -normals).astype(np.float32), normals.astype(np.float32)


def _parts(points: F32, progress: Callable[[float], None], first: float, last: float) -> Iterator[F32]:
    for start in range(0, len(points), _PART):
        yield points[start : start + _PART]
        progress(first + (last - first) * min(1.0, (start + _PART) / len(points)))


def _octaves(values: F32, octaves: int) -> F32:
    """[n, 3] to [n, 3 + 6 octaves]: the values, and sines and cosines of them times 1, 2, 4, ..."""
    parts = [values]
    for octave in range(octaves):
        parts += [np.sin(values * np.float32(2**octave)), np.cos(values * np.float32(2**octave))]
    return np.concatenate(parts, axis=1)


def _linear(weights: Mapping[str, F32], name: str, values: F32) -> F32:
    return values @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def read_field(path: Path) -> Field:
    """Read a checkpoint's network; raises BadCheckpoint where it is none, and MissingExtra without torch."""
    try:
        import torch
    except ImportError as error:
        raise MissingExtra("Reading radiance fields", "torch") from error
    try:
        stored: Any = torch.load(path, map_location="cpu", weights_only=True)
        tensors = stored.get("fine") or stored.get("coarse") or stored["model_fine_state_dict"]
        weights = {name: value.float().numpy() for name, value in tensors.items()}
    except Exception as error:  # unpickling raises what it likes, and advises to read such files unsafely
        raise BadCheckpoint(path, "is no file of tensors alone; accepted: a checkpoint of nerf-pytorch") from error
    for name in ("layer1", "fc_alpha", "fc_feat", "fc_rgb", "layers_dir.0"):
        if f"{name}.weight" not in weights or f"{name}.bias" not in weights:
            raise BadCheckpoint(path, f"{name}: missing; accepted: a checkpoint of nerf-pytorch")
    for name, value in weights.items():
        if not np.isfinite(value).all():
            raise BadCheckpoint(path, f"{name}: values that are not finite; accepted: finite ones")
    octaves = (weights["layer1.weight"].shape[1] - 3) // 6
    width = weights["fc_feat.weight"].shape[0]
    return Field(weights, octaves, (weights["layers_dir.0.weight"].shape[1] - width - 3) // 6)
