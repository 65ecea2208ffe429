"""Which reader a path is for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ...errors import BadPicture
from ..scene import Scene
from .depth_frames import Intrinsics, read_depth_frames
from .forward_facing import read_forward_facing
from .meshes import ENDINGS, read_mesh
from .point_arrays import read_point_arrays
from .radiance import read_radiance_field

#: Discs that a scene is made of, at most, if not said otherwise.
DISCS = 150_000
#: Of RGB-D frames, which look out from inside: each view sees a part of the scene only.
AROUND = 300_000
_FIELDS = (".pth", ".pt", ".ckpt")


def read_scene(
    path: Path,
    *,
    discs: int | None = None,
    intrinsics: Intrinsics | None = None,
    seed: int = 0,
    progress: Callable[[float], None] = lambda share: None,
) -> Scene:
    """Read a scene by its path's ending: a mesh or points, an .npz of points, a radiance field, or a folder of RGB-D.

    Args:
        path: of the file or folder.
        discs: at most; None: `DISCS`, of RGB-D frames `AROUND`.
        intrinsics: of the depth camera, needed for folders; of a forward-facing radiance field's camera.
        seed: of what is drawn.
        progress: is told the share that is done, by readers that take long.

    Raises:
        BadPicture, BadCheckpoint: it cannot be read; the message names the file and what is accepted.
        MissingExtra: a package that it needs is not installed.
    """
    discs = (AROUND if path.is_dir() else DISCS) if discs is None else discs
    if discs < 1:
        raise BadPicture(f"discs {discs}; accepted: 1 and above")
    if path.is_dir():
        return read_depth_frames(path, intrinsics, discs=discs)
    if not path.exists():
        raise BadPicture(f"{path}: no such file; accepted: a scene's file, or a folder of RGB-D frames")
    ending = path.suffix.lower()
    if ending in _FIELDS:
        if intrinsics is not None:
            return read_forward_facing(path, intrinsics, discs=discs, progress=progress, seed=seed)
        return read_radiance_field(path, discs=discs, progress=progress, seed=seed)
    if ending == ".npz":
        return read_point_arrays(path, discs=discs, seed=seed)
    if ending in ENDINGS:
        return read_mesh(path, discs=discs, seed=seed)
    accepted = ", ".join((*ENDINGS, ".npz", *_FIELDS))
    raise BadPicture(f"{path}: ending {ending!r}; accepted: {accepted}, or a folder of RGB-D frames")
