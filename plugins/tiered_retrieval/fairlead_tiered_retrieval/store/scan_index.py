"""The exact index over the collection's own file of vectors: it keeps no copy of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..bitmap import grown, has, set_bits
from ..errors import TieredRetrievalError
from ..flat_index import FlatIndex
from ..index import Sizes
from .vector_file import VectorFile


class ScanIndex(FlatIndex):
    """As `FlatIndex`; the rows of added slots must be in the file already.

    Args:
        file: of the vectors.
    """

    def __init__(self, file: VectorFile) -> None:
        super().__init__(file.space, 0)
        self._file = file

    @property
    def _rows(self) -> NDArray:  # type: ignore[override]
        return self._file.rows

    @_rows.setter
    def _rows(self, rows: NDArray) -> None:
        """Rows are the file's."""

    def add(self, slots: NDArray[np.int64], vectors: NDArray | None = None) -> None:
        """Let slots be found, whose rows are in the file."""
        if not len(slots):
            return
        size = int(slots.max()) + 1
        if size > 8 * len(self._live):
            self._live = grown(self._live, max(size, 12 * len(self._live)))
        self._count += int(len(slots) - has(self._live, slots).sum())
        set_bits(self._live, slots, True)

    def sizes(self) -> Sizes:
        """Return what the index takes beside the file that is there anyway."""
        return Sizes(self._live.nbytes, self._count * self.space.bytes)

    def more_bytes(self, count: int) -> int:
        """Return what a larger bitmap takes."""
        return 2 * (len(self._live) + count // 8 + 1)

    def move(self, region: Any) -> None:
        """Refuse: the file is the collection's."""
        raise TieredRetrievalError(
            f"move to {region!r}: all vectors are compared, from the file; accepted: graph or lists"
        )
