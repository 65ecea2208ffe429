"""What repeats every second pixel of a picture that was drawn by twos, taken away.

Native where compiled; :mod:`fairlead_kernels.reference_lattice` is the same in NumPy and stands in otherwise.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels import reference_lattice
from fairlead_kernels.backend import extension

F32 = NDArray[np.float32]


def remove_lattice(picture: F32, like: F32, cell: int = 8, target: F32 | None = None, margin: int = 0) -> None:
    """Take away what repeats every second pixel of a picture and not of another; clip to [0, 1].

    Layers that draw 2 x 2 pixels at once give each of the four a value of its own, which shows as a faint lattice, and
    as a strong one beside edges. Two parts of the difference of both pictures are taken away. Of stripes, the means of
    the four phases over cells, less those of all phases, linear between the cells' centres: lines and grain have means
    of nothing and stay. Checkerboards go wherever they are, by fourth differences along both axes: pictures hardly have
    so high a frequency along both at once.

    Args:
        picture: float32 [height, width, 3], even sides, contiguous.
        like: of the same shape: a lattice that it has itself stays.
        cell: places of 2 x 2 pixels a side.
        target: float32 [h, w, 3], gets the picture's rows and columns from the margin on; None: in place.
        margin: in pixels.

    Raises:
        ValueError: arrays of other shapes.
    """
    shapes = (picture.shape, like.shape)
    if picture.ndim != 3 or picture.shape[2] != 3 or shapes[0] != shapes[1] or any(side % 2 for side in shapes[0][:2]):
        raise ValueError(f"picture, like: shapes {shapes}; accepted: [height, width, 3] twice, even sides")
    if cell < 1:
        raise ValueError(f"cell {cell}; accepted: 1 and above")
    target = picture if target is None else target
    if any(inner + margin > side for inner, side in zip(target.shape[:2], picture.shape[:2], strict=True)):
        raise ValueError(f"target: shape {target.shape}, margin {margin}; accepted: what lies in {picture.shape}")
    source = picture.copy() if np.shares_memory(picture, target) else picture
    native = extension()
    do = reference_lattice if native is None else native
    do.remove_lattice(source, np.ascontiguousarray(like), cell, target, margin)
