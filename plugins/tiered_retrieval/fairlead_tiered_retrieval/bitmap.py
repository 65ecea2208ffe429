"""Sets of slots as bitmaps: uint8 [bytes], slot s is bit ``s & 7``, counted from the lowest, of byte ``s >> 3``."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Bitmap = NDArray[np.uint8]


def bitmap_of(slots: NDArray[np.int64], size: int) -> Bitmap:
    """Return the set of some slots, with room for `size` slots."""
    flags = np.zeros(size, bool)
    flags[slots] = True
    return np.packbits(flags, bitorder="little")


def slots_of(bitmap: Bitmap) -> NDArray[np.int64]:
    """Return the slots of a set, ascending."""
    return np.flatnonzero(np.unpackbits(bitmap, bitorder="little"))


def number_in(bitmap: Bitmap) -> int:
    """Return how many slots are in a set."""
    return int(np.bitwise_count(bitmap).sum(dtype=np.int64))


def has(bitmap: Bitmap, slots: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return for each slot whether it is in the set; those beyond its end are not."""
    inside = (slots >= 0) & (slots < 8 * len(bitmap))
    at = np.where(inside, slots, 0)
    if not len(bitmap):
        return np.zeros(len(slots), bool)
    return inside & (bitmap[at >> 3] >> (at & 7).astype(np.uint8) & 1).astype(bool)


def set_bits(bitmap: Bitmap, slots: NDArray[np.int64], there: bool) -> None:
    """Put slots into a set in place, or take them out."""
    bits = np.left_shift(1, slots & 7).astype(np.uint8)
    if there:
        np.bitwise_or.at(bitmap, slots >> 3, bits)
    else:
        np.bitwise_and.at(bitmap, slots >> 3, ~bits)


def grown(bitmap: Bitmap, size: int) -> Bitmap:
    """Return a copy with room for `size` slots."""
    more = np.zeros(-(-size // 8), np.uint8)
    more[: len(bitmap)] = bitmap
    return more
