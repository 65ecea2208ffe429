"""Memory for weights that every token reads: in huge pages where the system gives them.

A matrix of a few megabytes lies in hundreds of small pages. At the end of each a processor stops fetching ahead, and
has to look up where the next one is; in huge pages (2 MiB) it reads on in a stream.
"""

from __future__ import annotations

import contextlib
import math
import mmap

import numpy as np
from numpy.typing import NDArray

#: Matrices of one model share pieces of this size; what of a piece is never written takes no memory.
PIECE_BYTES = 64 << 20
_HUGE_PAGE, _LINE = 2 << 20, 64


class WeightMemory:
    """Deals out arrays that start at a cache line. A piece is given back when the last array in it is gone.

    Attributes:
        piece_bytes: how much is asked of the system at a time; an array that is larger has a piece of its own.
    """

    def __init__(self, piece_bytes: int = PIECE_BYTES) -> None:
        self.piece_bytes = piece_bytes
        self._piece: NDArray[np.uint8] = np.empty(0, np.uint8)
        self._used = 0

    def empty(self, *shape: int) -> NDArray[np.uint8]:
        """Return uint8 of that shape, zeros until it is written."""
        size = math.prod(shape)
        if self._used + size > len(self._piece):
            self._piece, self._used = _piece(max(size, self.piece_bytes)), 0
        start = self._used
        self._used = -(-(start + size) // _LINE) * _LINE
        return self._piece[start : start + size].reshape(shape)

    def copy(self, array: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the same uint8 values in this memory."""
        made = self.empty(*array.shape)
        made[...] = array
        return made


def _piece(size: int) -> NDArray[np.uint8]:
    """Return ``size`` bytes from the start of a huge page on."""
    # Shared memory, the default, has huge pages on few systems.
    memory = mmap.mmap(-1, size + _HUGE_PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        # A kernel without huge pages refuses, and nothing is lost.
        with contextlib.suppress(OSError):
            memory.madvise(mmap.MADV_HUGEPAGE)
    whole = np.frombuffer(memory, np.uint8)
    start = -whole.ctypes.data % _HUGE_PAGE
    return whole[start : start + size]
