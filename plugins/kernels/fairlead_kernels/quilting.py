"""Tiles of a picture, laid side by side so that each fades into its neighbours (image quilting without cuts).

Native where compiled; :mod:`fairlead_kernels.reference_quilting` is the same in NumPy and stands in otherwise.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels import reference_quilting
from fairlead_kernels.backend import extension

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]


def quilt(source: F32, tops: I32, lefts: I32, hop: int, fade: int, size: tuple[int, int] | None = None) -> F32:
    """Lay tiles.

    Args:
        source: float32 [height, width, 3], where tiles are taken from.
        tops, lefts: int32 [rows, columns], each tile's first pixel; a tile's side is ``hop + fade``.
        hop: pixels between two tiles.
        fade: pixels in which a tile fades linearly into its neighbour; even, at most ``hop``.
        size: height and width of the result; less than a hop smaller than all tiles, which they are where None.

    Returns:
        float32 [height, width, 3]; weights of tiles sum to 1 everywhere.

    Raises:
        ValueError: arrays of other shapes, or tiles that do not lie in the source.
    """
    if source.ndim != 3 or source.shape[2] != 3 or tops.ndim != 2 or tops.shape != lefts.shape:
        shapes = (source.shape, tops.shape, lefts.shape)
        raise ValueError(
            f"source, tops, lefts: shapes {shapes}; accepted: [height, width, 3] and [rows, columns] twice"
        )
    if hop < 1 or fade < 0 or fade % 2 or fade > hop:
        raise ValueError(f"hop {hop}, fade {fade}; accepted: an even fade of at most the hop")
    for name, starts, length in (("tops", tops, source.shape[0]), ("lefts", lefts, source.shape[1])):
        if starts.size and not (starts.min() >= 0 and starts.max() + hop + fade <= length):
            raise ValueError(f"{name} from {starts.min()} to {starts.max()}; accepted: 0 to {length - hop - fade}")
    most = tops.shape[0] * hop, tops.shape[1] * hop
    size = most if size is None else size
    if not all(whole - hop < side <= whole for side, whole in zip(size, most, strict=True)):
        raise ValueError(f"size {size}; accepted: {most}, or less than {hop} below")
    laid = np.empty((*size, 3), np.float32)
    arrays = np.ascontiguousarray(source, np.float32), *(np.ascontiguousarray(at, np.int32) for at in (tops, lefts))
    native = extension()
    (reference_quilting if native is None else native).quilt(*arrays, hop, fade, laid)
    return laid
