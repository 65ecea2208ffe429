"""Segments of pages as arrays: views, so that writing to them writes the pages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arena.formats import PageLayout

Pages = NDArray[np.uint8]
"""[pages, page_bytes]."""
FLOATS = {16: np.float16, 32: np.float32}


@dataclass(frozen=True, slots=True)
class Segments:
    """All pages of an arena, read as pages of one format. First axes of every array: [pages, tokens]."""

    keys: NDArray[Any]
    """Packed codes uint8 or floats; last axis: bytes or elements of a vector."""
    key_meta: NDArray[np.float16] | None
    values: NDArray[Any]
    value_meta: NDArray[np.float16] | None
    scores: NDArray[np.float16]
    positions: NDArray[np.int32]


def segments(pages: Pages, layout: PageLayout) -> Segments:
    """Read pages [pages, page_bytes] as pages of a layout."""
    width = layout.head_dim

    def view(start: int, kind: type, *shape: int) -> NDArray[Any]:
        size = layout.tokens * int(np.prod(shape, dtype=int)) * np.dtype(kind).itemsize
        return pages[:, start : start + size].view(kind).reshape(len(pages), layout.tokens, *shape, copy=False)

    def vectors(start: int, meta: int, bits: int) -> tuple[NDArray[Any], NDArray[np.float16] | None]:
        if bits in FLOATS:
            return view(start, FLOATS[bits], width), None
        return view(start, np.uint8, width * bits // 8), view(meta, np.float16, 2)

    keys, key_meta = vectors(layout.keys, layout.key_meta, layout.format.key_bits)
    values, value_meta = vectors(layout.values, layout.value_meta, layout.format.value_bits)
    return Segments(
        keys=keys,
        key_meta=key_meta,
        values=values,
        value_meta=value_meta,
        scores=view(layout.scores, np.float16),
        positions=view(layout.positions, np.int32),
    )
