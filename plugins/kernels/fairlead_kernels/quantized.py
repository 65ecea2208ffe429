"""The Q8 weight format: groups of 32 columns share one float16 scale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels.checks import array_of

GROUP = 32


@dataclass(frozen=True, eq=False, slots=True)
class Q8Matrix:
    """An int8 matrix whose value at [r, c] is ``q[r, c] * scale[r, c // 32]``.

    Attributes:
        q: int8 [rows, columns], columns a multiple of 32. Read-only arrays (a memory map) are fine.
        scale: float16 [rows, columns / 32].

    Raises:
        ValueError: an array has the wrong type, shape or memory layout.
    """

    q: NDArray[np.int8]
    scale: NDArray[np.float16]

    def __post_init__(self) -> None:
        array_of("q", self.q, np.int8, (None, None))
        rows, columns = self.q.shape
        if columns % GROUP:
            raise ValueError(f"q: columns must be a multiple of {GROUP}, got {columns}")
        array_of("scale", self.scale, np.float16, (rows, columns // GROUP))

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.q.shape[0], self.q.shape[1]

    @property
    def nbytes(self) -> int:
        """Bytes of values and scales together: 34 for each 32 weights."""
        return self.q.nbytes + self.scale.nbytes

    def dequantize(self) -> NDArray[np.float32]:
        """Return the float32 [rows, columns] that this matrix stands for; every value is exact."""
        rows, columns = self.shape
        groups = self.q.reshape(rows, columns // GROUP, GROUP).astype(np.float32)
        return (groups * self.scale.astype(np.float32)[:, :, None]).reshape(rows, columns)

    def take(self, rows: NDArray[np.integer[Any]] | slice) -> Q8Matrix:
        """Return the chosen rows as a matrix of their own (a view where NumPy gives one)."""
        return Q8Matrix(np.ascontiguousarray(self.q[rows]), np.ascontiguousarray(self.scale[rows]))
