"""A map of recorded power over two axes, wherever it came from."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..physics.range_doppler import Processing, RangeDopplerMap

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

    def cell(self, value: float) -> int:
        """The cell that holds a value."""
        return int(np.clip(round((value - self.values[0]) / self.step), 0, len(self.values) - 1))

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
        scale: what the decibels are of and over.
    """

    kind: str
    name: str
    power_db: Float
    rows: Axis
    columns: Axis
    padding: tuple[int, int] = (1, 1)
    notes: tuple[str, ...] = field(default=())
    scale: str = "Power (dB, reference unknown)"

    @property
    def power(self) -> Float:
        """Linear, [rows, columns]."""
        return 10 ** (self.power_db / 10)

    @classmethod
    def of_map(cls, mapped: RangeDopplerMap, name: str, processing: Processing, noise_watts: float = 1.0) -> Surface:
        """Return a map that was computed, in dB over the noise, for the same detections and pictures."""
        return cls(
            "range-Doppler",
            name,
            mapped.power_db - 10 * np.log10(noise_watts),
            Axis("Range", "m", mapped.ranges_m),
            Axis("Radial velocity", "m/s", mapped.velocities_m_per_s),
            processing.padding,
            scale="Power over the noise (dB)",
        )
