"""Rows of a cluster index in its region: how many bytes, packed or plain, a piece at a time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ..errors import TieredRetrievalError
from ..space import Space
from ..tiers.local import DramRegion
from ..tiers.packed import packed
from ..tiers.region import Region

_PIECE = 1 << 20


def memory_for(space: Space, rows: int) -> Region:
    """Main memory for so many rows."""
    return DramRegion("dram:", max(1, rows) * space.bytes)


def packed_for(region: Region, space: Space, vectors: NDArray) -> Region:
    """The region for packed rows, where these vectors (rows, or their bytes) can be."""

    def sample() -> NDArray:
        rows = vectors.reshape(-1).view(np.float32).reshape(-1, space.dim)
        return np.asarray(rows[spread(len(rows))])

    return packed(region, space.element, space.dim, sample)


def spread(count: int) -> NDArray[np.int64]:
    """So many of `count` places, from the first to the last, as a sample needs."""
    return np.unique(np.linspace(0, count - 1, min(count, 1000)).astype(np.int64))


def pieces(space: Space, size: int) -> Iterator[tuple[int, int]]:
    """Offsets and lengths of pieces of whole rows."""
    step = max(1, _PIECE // space.bytes) * space.bytes
    return ((start, min(step, size - start)) for start in range(0, size, step))


def check_region(region: Region, size: int) -> None:
    """Raise TieredRetrievalError where a region has fewer bytes."""
    if region.size < size:
        raise TieredRetrievalError(f"{region.url}: has {region.size} bytes; accepted: {size} and more for its vectors")
