"""Rows of float32 that lie packed, without loss, in a tier that is read by copies.

An embedding's mantissas are noise, but the exponents of a row are near one another: 5 bits each instead of 8.
:mod:`fairlead_kernels.reference_packed_floats` has the layout in NumPy.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels.backend import extension
from fairlead_kernels.reference_packed_floats import packable, stride
from fairlead_kernels.vector_tiers import Tier

__all__ = ["RowPacking", "packable", "stride"]

U8 = NDArray[np.uint8]


class RowPacking:
    """How the rows of one region are packed, and those in memory that cannot be. Needs the compiled kernels.

    Args:
        dim: floats of a row.
    """

    def __init__(self, dim: int) -> None:
        module = extension()
        if module is None or not self.saves(dim):
            raise ValueError(f"packing of rows of {dim} floats: needs compiled kernels, and rows that take less packed")
        self.dim, self.row_bytes, self.stride = dim, 4 * dim, stride(dim)
        self._module: Any = module
        self._spilled: Any = module.SpilledRows()

    @staticmethod
    def saves(dim: int) -> bool:
        """Whether rows of `dim` floats take less packed."""
        return 0 < stride(dim) < 4 * dim

    @property
    def spilled(self) -> int:
        """Rows that are kept in memory as they are."""
        return self._spilled.count

    def pack(self, first: int, rows: U8) -> U8:
        """Pack rows, uint8 [n, row_bytes], that go to place `first` and those behind; return uint8 [n, stride]."""
        out = np.empty((len(rows), self.stride), np.uint8)
        self._spilled.pack(first, np.ascontiguousarray(rows), out)
        return out

    def unpack(self, first: int, packed: U8) -> U8:
        """Return rows, uint8 [n, row_bytes], that lie at place `first` and behind it, from uint8 [n, stride]."""
        out = np.empty((len(packed), self.row_bytes), np.uint8)
        self._spilled.unpack(first, np.ascontiguousarray(packed), out)
        return out

    def tier(self, inner: Tier) -> Tier:
        """Return a tier of plain rows, read and written whole, over a native one that has them packed."""
        return self._module.packed_tier(inner, self.dim, self._spilled)
