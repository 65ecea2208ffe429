"""A map of recorded power over two axes, wherever it came from."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]


@dataclass(frozen=True)
class Axis:
    """What lies along one side of a map.

    Attributes:
        label: of the quantity.
        unit: its unit, empty for plain cells.
        values: ascending, one a cell.
    """

    label: str
    unit: str
    values: Float

    @property
    def step(self) -> float:
        """Between neighbouring cells."""
        return float((self.values[-1] - self.values[0]) / max(len(self.values) - 1, 1))

    @property
    def title(self) -> str:
        """Label and unit."""
        return f"{self.label} ({self.unit})" if self.unit else self.label

    def at(self, place: float) -> float:
        """Value at a fraction of a cell."""
        return float(self.values[0] + place * self.step)


@dataclass(frozen=True)
class Surface:
    """A map.

    Attributes:
        kind: ``range-Doppler``, ``micro-Doppler``, ``CSI`` (channel amplitudes over packets).
        name: for a title.
        power_db: [rows, columns], dB to a reference that the recording does not tell.
        rows, columns: the axes.
        padding: cells per resolution cell along both.
        notes: what was assumed, in words.
    """

    kind: str
    name: str
    power_db: Float
    rows: Axis
    columns: Axis
    padding: tuple[int, int] = (1, 1)
    notes: tuple[str, ...] = field(default=())

    @property
    def power(self) -> Float:
        """Linear, [rows, columns]."""
        return 10 ** (self.power_db / 10)
