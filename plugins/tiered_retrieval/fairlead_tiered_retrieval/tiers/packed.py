"""Rows of float32 that lie packed, without loss, in a region that is read by copies."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels.backend import extension
from fairlead_kernels.packed_floats import RowPacking, packable
from fairlead_kernels.vector_tiers import Tier

from .region import Region, as_bytes

#: Fewer dimensions are not packed; nor are vectors of which more cannot be.
LEAST_DIM, MOST_SPILLED = 16, 0.01
_PIECE = 1 << 16
Bytes = TypeVar("Bytes", int, NDArray[np.int64])


class PackedRegion(Region):
    """The bytes of plain rows, `size` of them, in a region that has them packed; they are read and written whole.

    Rows that cannot be packed (many exponents far below the largest, infinity, NaN) are kept in this process's memory.

    Args:
        inner: has the packed rows; belongs to this object.
        dim: floats of a row.
    """

    def __init__(self, inner: Region, dim: int) -> None:
        self._packing = RowPacking(dim)
        self._inner = inner
        super().__init__(inner.url, inner.kind, inner.size // self._packing.stride * self._packing.row_bytes)
        self.piece = max(1, _PIECE // self._packing.row_bytes) * self._packing.row_bytes

    @property
    def spilled_bytes(self) -> int:
        """Of rows in memory."""
        return self._packing.spilled * self._packing.row_bytes

    def packed_bytes(self, plain: Bytes) -> Bytes:
        """Return what whole rows of so many bytes take in the inner region."""
        return plain // self._packing.row_bytes * self._packing.stride

    def open_native(self) -> Tier:
        """Return a tier object for one searching thread."""
        return self._packing.tier(self._inner.open_native())

    def write(self, offset: int, data: NDArray[np.uint8] | bytes | memoryview) -> None:
        """Write whole rows, by the inner region's own way of writing.

        Raises:
            ValueError: rows that are not whole.
            IndexError: they leave the region.
            TierError: as for reads, and where there is no room (a full disk).
        """
        flat = np.frombuffer(data, np.uint8) if not isinstance(data, np.ndarray) else as_bytes(data)
        row = self._packing.row_bytes
        if offset % row or len(flat) % row:
            raise ValueError(f"{self.url}: {len(flat)} bytes at offset {offset}: rows of {row} bytes are written whole")
        if offset + len(flat) > self.size:
            raise IndexError(f"{self.url}: {len(flat)} bytes at offset {offset} leave the region of {self.size} bytes")
        first = offset // row
        self._inner.write(first * self._packing.stride, self._packing.pack(first, flat.reshape(-1, row)))

    def close(self) -> None:
        """Give the inner region back."""
        super().close()
        self._inner.close()


def packed(region: Region, element: str, dim: int, sample: Callable[[], NDArray[np.float32]]) -> Region:
    """Return the region for packed rows where that is possible and takes less, else as it is.

    What the processor loads in place stays plain.

    Args:
        region: for rows of vectors.
        element: of the vectors.
        dim: of the vectors.
        sample: some of them, float32 [n, dim]; asked for last.
    """
    if element != "float32" or dim < LEAST_DIM or not RowPacking.saves(dim) or extension() is None:
        return region
    if isinstance(region, PackedRegion) or region.open_native().direct:
        return region
    some = sample()
    if len(some) and packable(some).mean() < 1 - MOST_SPILLED:
        return region
    return PackedRegion(region, dim)


def in_tier(region: Region, plain: Bytes) -> Bytes:
    """Return what whole rows of so many bytes take in the region's tier."""
    return region.packed_bytes(plain) if isinstance(region, PackedRegion) else plain


def in_memory(region: Region) -> int:
    """Return the bytes of rows that are kept in this process's memory instead."""
    return region.spilled_bytes if isinstance(region, PackedRegion) else 0
