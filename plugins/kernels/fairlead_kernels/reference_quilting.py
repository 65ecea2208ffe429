"""Tiles side by side in NumPy: the reference of the native way, and what stands in for it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]

#: Rows that are compared at once: bounds the matrix of distances.
AT_ONCE = 2048


def quilt(source: F32, tops: I32, lefts: I32, hop: int, fade: int, laid: F32) -> None:
    """See `fairlead_kernels.quilting.quilt`; fills ``laid``."""
    side, margin = hop + fade, fade // 2
    ramp = ((np.arange(fade) + 0.5) / max(fade, 1)).astype(np.float32)
    line = np.concatenate([ramp, np.ones(hop - fade, np.float32), ramp[::-1]])
    window = (line[:, None] * line)[..., None]
    height, width = tops.shape[0] * hop, tops.shape[1] * hop
    whole = np.zeros((height + fade, width + fade, 3), np.float32)
    for row, column in np.ndindex(*tops.shape):
        top, left = tops[row, column], lefts[row, column]
        tile = source[top : top + side, left : left + side]
        whole[row * hop : row * hop + side, column * hop : column * hop + side] += tile * window
    inside = whole[margin : margin + height, margin : margin + width]
    if margin:
        # At the borders there is no neighbour to fade into.
        rise = 1 / ramp[margin:, None, None]
        for turned in (inside, inside.transpose(1, 0, 2)):
            turned[:margin] *= rise
            turned[-margin:] *= rise[::-1]
    laid[...] = inside[: laid.shape[0], : laid.shape[1]]


def surroundings(cells: F32, rows: I32, columns: I32, edge: int, factor: float, found: F32) -> None:
    """See `fairlead_kernels.quilting.surroundings`; fills the first numbers of ``found``."""
    side = 2 * edge + 1
    padded = np.pad(cells, [(edge, edge), (edge, edge), (0, 0)], mode="edge").reshape(len(cells) + 2 * edge, -1)
    around = np.lib.stride_tricks.sliding_window_view(padded, (side, 3 * side))[:, ::3][rows[:, None], columns]
    flat = around.reshape(len(rows), len(columns), -1)
    np.multiply(flat, np.float32(factor), found[..., : flat.shape[2]])


def nearest(wanted: F32, wanted_kinds: I32, patches: F32, patch_kinds: I32, found: I32) -> None:
    """See `fairlead_kernels.quilting.nearest`; fills ``found``."""
    for kind in np.unique(wanted_kinds):
        tiles, places = np.flatnonzero(wanted_kinds == kind), np.flatnonzero(patch_kinds == kind)
        own = patches[places]
        lengths = np.einsum("nd,nd->n", own, own)
        for start in range(0, len(tiles), AT_ONCE):
            some = tiles[start : start + AT_ONCE]
            found[some] = places[(lengths - 2 * wanted[some] @ own.T).argmin(1)]
