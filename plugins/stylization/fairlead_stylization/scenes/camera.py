"""Pinhole cameras: x to the right, y down, z away from the camera (as OpenCV has it)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import BadSetting

F32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Camera:
    """Where a picture is taken from.

    Attributes:
        focal: (x, y) in pixels.
        centre: (x, y) in pixels, of the optical axis.
        size: (width, height) in pixels.
        world_to_camera: float32 [4, 4], rigid.
    """

    focal: tuple[float, float]
    centre: tuple[float, float]
    size: tuple[int, int]
    world_to_camera: F32

    def __post_init__(self) -> None:
        if self.world_to_camera.shape != (4, 4) or not np.isfinite(self.world_to_camera).all():
            raise BadSetting(f"world_to_camera {self.world_to_camera.shape}; accepted: finite [4, 4]")
        if min(self.size) < 1 or min(self.focal) <= 0:
            raise BadSetting(f"size {self.size}, focal {self.focal}; accepted: 1 pixel and above, focal above 0")

    @property
    def position(self) -> F32:
        """Of the camera in the world: [3]."""
        rotation, shift = self.world_to_camera[:3, :3], self.world_to_camera[:3, 3]
        return (-rotation.T @ shift).astype(np.float32)

    def project(self, points: F32) -> tuple[F32, F32]:
        """Return pixels [n, 2] (the first pixel's middle is 0.5, 0.5) and depths [n] of points [n, 3].

        Points that are not before the camera have depths of 0 and below, and pixels that mean nothing.
        """
        local = self.world_to_camera[:3, :3] @ points.T + self.world_to_camera[:3, 3:]
        depth = local[2]
        safe = np.where(depth > 1e-9, depth, 1.0)
        pixels = np.empty((len(points), 2), np.result_type(local, np.float32))
        # One axis after the other: NumPy is slow at rows of two.
        for axis in (0, 1):
            pixels[:, axis] = local[axis] / safe * np.float32(self.focal[axis]) + np.float32(self.centre[axis])
        return pixels, depth

    def unproject(self, pixels: F32, depth: F32) -> F32:
        """Return points [n, 3] in the world of pixels [n, 2] at depths [n]."""
        rays = (pixels - np.float32(self.centre)) / np.float32(self.focal)
        local = np.concatenate([rays, np.ones((len(rays), 1), np.float32)], axis=1) * depth[:, None]
        rotation, shift = self.world_to_camera[:3, :3], self.world_to_camera[:3, 3]
        return ((local - shift) @ rotation).astype(np.float32)

    def resized(self, width: int, height: int) -> Camera:
        """Return the camera with pictures of another size; what it sees is the same, or more on one axis."""
        scale = min(width / self.size[0], height / self.size[1])
        centre = ((self.centre[0] - self.size[0] / 2) * scale + width / 2,
                  (self.centre[1] - self.size[1] / 2) * scale + height / 2)  # fmt: skip
        return Camera((self.focal[0] * scale, self.focal[1] * scale), centre, (width, height), self.world_to_camera)


def looking_at(eye: F32, target: F32, up: F32, *, size: tuple[int, int], field_of_view: float = 0.7) -> Camera:
    """Return a camera at ``eye`` that looks at ``target``, ``up`` being upwards in its picture.

    Args:
        eye, target, up: [3].
        size: (width, height) in pixels.
        field_of_view: of the shorter side, in radians.
    """
    forward = _unit(np.asarray(target, np.float64) - eye)
    right = np.cross(forward, np.asarray(up, np.float64))
    if np.linalg.norm(right) < 1e-6:  # looking along `up`: any other direction will do
        right = np.cross(forward, np.roll(np.asarray(up, np.float64), 1) + 1e-3)
    right = _unit(right)
    matrix = np.eye(4)
    matrix[:3, :3] = np.stack([right, np.cross(forward, right), forward])
    matrix[:3, 3] = -matrix[:3, :3] @ np.asarray(eye, np.float64)
    focal = 0.5 * min(size) / np.tan(field_of_view / 2)
    return Camera((focal, focal), (size[0] / 2, size[1] / 2), size, matrix.astype(np.float32))


def turntable(
    centre: F32, radius: float, count: int, *, up: F32, elevation: float = 0.35, size: tuple[int, int] = (256, 256),
    field_of_view: float = 0.7,
) -> list[Camera]:  # fmt: skip
    """Return cameras on a circle around a centre, each looking at it.

    Args:
        centre: [3].
        radius: of the ball that has to be seen whole.
        count: of cameras, evenly around.
        up: [3], the circle's axis.
        elevation: above the circle's plane, in radians.
        size, field_of_view: of each camera.
    """
    up = _unit(np.asarray(up, np.float64))
    across = _unit(np.cross(up, [1.0, 0, 0] if abs(up[0]) < 0.9 else [0, 1.0, 0]))
    other = np.cross(up, across)
    distance = 1.05 * radius / np.sin(field_of_view / 2)
    cameras = []
    for turn in np.arange(count) * 2 * np.pi / max(1, count):
        around = np.cos(turn) * across + np.sin(turn) * other
        eye = centre + distance * (np.cos(elevation) * around + np.sin(elevation) * up)
        cameras.append(looking_at(eye.astype(np.float32), centre, up, size=size, field_of_view=field_of_view))
    return cameras


def _unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    return vector / max(float(np.linalg.norm(vector)), 1e-12)
