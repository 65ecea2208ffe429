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


def surroundings(cells: F32, rows: I32, columns: I32, edge: int, factor: float, found: F32) -> None:
    """Fill the first numbers of each place with the cells around it.

    Args:
        cells: float32 [height, width, 3].
        rows, columns: int32 [n] and [m], places among the cells.
        edge: how far cells are looked at; those beyond the borders are as the outermost.
        factor: what colours are multiplied by.
        found: float32 [n, m, D], gets 3 (2 edge + 1)^2 numbers of each place, row by row.

    Raises:
        ValueError: arrays of other shapes.
    """
    native = extension()
    do = (reference_quilting if native is None else native).surroundings
    at = (np.ascontiguousarray(places, np.int32) for places in (rows, columns))
    do(np.ascontiguousarray(cells, np.float32), *at, edge, factor, found)


def nearest(wanted: F32, wanted_kinds: I32, patches: F32, patch_kinds: I32) -> I32:
    """Find what fits best.

    Args:
        wanted: float32 [m, D].
        wanted_kinds: int32 [m].
        patches: float32 [n, D].
        patch_kinds: int32 [n], 0 or more; each kind that is wanted is there.

    Returns:
        int32 [m], of each row that is wanted the patch of its kind at the smallest distance.

    Raises:
        ValueError: arrays of other shapes, or a kind of which there is no patch.
    """
    kinds = wanted_kinds.shape, patch_kinds.shape
    if wanted.ndim != 2 or patches.ndim != 2 or kinds != ((len(wanted),), (len(patches),)):
        raise ValueError(f"wanted {wanted.shape}, patches {patches.shape}, kinds {kinds}; accepted: [m, D], [n, D]")
    found = np.empty(len(wanted), np.int32)
    arrays = wanted, wanted_kinds, patches, patch_kinds
    kept = (np.ascontiguousarray(one, np.float32 if one.ndim == 2 else np.int32) for one in arrays)
    native = extension()
    (reference_quilting if native is None else native).nearest(*kept, found)
    return found
