"""A scene as coloured discs on its surfaces: what every input is turned to."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..errors import BadPicture
from .camera import Camera, turntable

F32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Mesh:
    """Triangles with a texture, kept for export.

    Attributes:
        vertices: float32 [n, 3].
        faces: int32 [m, 3].
        places: float32 [n, 2], (u, v) of each vertex, v upwards; None: it has none.
        texture: float32 [height, width, 3]; None: it has none.
        disc_faces: int32 [discs], the triangle that each disc lies on.
        disc_weights: float32 [discs, 3], where on it: barycentric.
    """

    vertices: F32
    faces: NDArray[np.int32]
    places: F32 | None = None
    texture: F32 | None = None
    disc_faces: NDArray[np.int32] | None = None
    disc_weights: F32 | None = None


@dataclass(frozen=True, slots=True)
class Scene:
    """Discs (surfels) with colours.

    Attributes:
        points: float32 [n, 3].
        colours: float32 [n, 3] in [0, 1].
        radii: float32 [n], of the discs, in the scene's unit.
        normals: float32 [n, 3], outwards; None: not known.
        cameras: that the scene came with; none for meshes.
        up: [3], upwards in the world.
        background: colour where nothing is.
        backdrop: float32 [n, 3], from top to bottom, what is behind the surfaces in pictures that a stylizer is given;
            None: the background.
        source: where it came from, for messages.
        mesh: what the discs were sampled from.
        conversions: what was done that a user may not expect, in words.
    """

    points: F32
    colours: F32
    radii: F32
    normals: F32 | None = None
    cameras: tuple[Camera, ...] = ()
    up: tuple[float, float, float] = (0.0, 1.0, 0.0)
    background: tuple[float, float, float] = (1.0, 1.0, 1.0)
    backdrop: F32 | None = None
    source: str = "scene"
    mesh: Mesh | None = None
    conversions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        count = len(self.points)
        if count == 0:
            raise BadPicture(f"{self.source}: no point in it; accepted: a scene with one and more")
        for name, shape in (
            ("points", (count, 3)),
            ("colours", (count, 3)),
            ("radii", (count,)),
            ("normals", (count, 3)),
        ):
            values = getattr(self, name)
            if values is not None and (values.shape != shape or not np.isfinite(values).all()):
                raise BadPicture(f"{self.source}: {name} {values.shape}; accepted: finite values {list(shape)}")

    @property
    def centre(self) -> F32:
        """The middle of what most points span: [3]."""
        low, high = np.percentile(self.points, [2, 98], axis=0)
        return ((low + high) / 2).astype(np.float32)

    @property
    def radius(self) -> float:
        """Of a ball around the centre that holds 98 % of the points."""
        return float(np.percentile(np.linalg.norm(self.points - self.centre, axis=1), 98))

    def with_colours(self, colours: F32) -> Scene:
        """Return the same surfaces with other colours."""
        return replace(self, colours=np.clip(colours, 0, 1).astype(np.float32))

    def behind(self, size: tuple[int, int]) -> F32:
        """What a stylizer is given behind the surfaces, in a picture (width, height): [3], or [height, width, 3]."""
        if self.backdrop is None:
            return np.float32(self.background)
        rows = (np.arange(size[1]) + 0.5) / size[1] * len(self.backdrop) - 0.5
        known = np.arange(len(self.backdrop))
        down = np.stack([np.interp(rows, known, self.backdrop[:, channel]) for channel in range(3)], axis=1)
        return np.broadcast_to(down[:, None].astype(np.float32), (size[1], size[0], 3))

    def views(self, count: int, size: tuple[int, int]) -> list[Camera]:
        """Return cameras to look at the scene from.

        A scene without cameras is seen from all around; one that has them is seen along the way between them, as there
        may be nothing on its other side.
        """
        if not self.cameras:
            return turntable(self.centre, self.radius, count, up=np.float32(self.up), size=size)
        return _between([camera.resized(*size) for camera in self.cameras], count)


def _between(cameras: list[Camera], count: int) -> list[Camera]:
    """Cameras on the way along others, with as much between any two."""
    if len(cameras) == 1 or count == 1:
        return [cameras[0]] * count
    places = np.linspace(0, len(cameras) - 1, count)
    made = []
    for place in places:
        index = min(int(place), len(cameras) - 2)
        made.append(_mixed(cameras[index], cameras[index + 1], float(place) - index))
    return made


def _mixed(first: Camera, second: Camera, share: float) -> Camera:
    """A camera between two: positions by a line, rotations by the nearest to the mean of both."""
    rotation = (1 - share) * first.world_to_camera[:3, :3] + share * second.world_to_camera[:3, :3]
    left, _, right = np.linalg.svd(rotation.astype(np.float64))
    rotation = left @ np.diag([1, 1, np.sign(np.linalg.det(left @ right))]) @ right
    position = (1 - share) * first.position + share * second.position
    matrix = np.eye(4, dtype=np.float32)
    matrix[:3, :3], matrix[:3, 3] = rotation, -rotation @ position
    focal = tuple((1 - share) * a + share * b for a, b in zip(first.focal, second.focal, strict=True))
    return Camera((focal[0], focal[1]), first.centre, first.size, matrix)
