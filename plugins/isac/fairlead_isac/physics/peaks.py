"""Detections of a map: one for each local maximum above the threshold."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .cfar import Cfar, checked_power, exceeds, noise_at

Float = NDArray[np.float64]
Bool = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Peak:
    """A detection: a local maximum above the threshold.

    Attributes:
        row, column: of the cell (range, velocity), refined by parabolas through the neighbours' decibels.
        power: of the cell.
        snr: power over the local noise, linear, less the noise itself.
    """

    row: float
    column: float
    power: float
    snr: float

    @property
    def cell(self) -> tuple[int, int]:
        """The cell of the map."""
        return round(self.row), round(self.column)


def peaks(power: ArrayLike, cfar: Cfar = Cfar(), most: int | None = None) -> list[Peak]:
    """Detections that are the greatest of their 3 x 3 neighbours, strongest first.

    Args:
        power: of a map, [ranges, velocities].
        cfar: the detector.
        most: keep at most so many.
    """
    power = checked_power(power, cfar)
    cells = np.argwhere(local_maxima(power))
    rows, columns = cells[exceeds(power, cfar, cells)].T
    strongest = np.argsort(-power[rows, columns], kind="stable")[:most]
    rows, columns = rows[strongest], columns[strongest]
    noise = noise_at(power, cfar, np.stack((rows, columns), axis=1))
    return [
        Peak(
            *refined_place(power, row, column),
            float(power[row, column]),
            max(float(power[row, column]) / level - 1, 0.0),
        )
        for row, column, level in zip(rows.tolist(), columns.tolist(), noise.tolist(), strict=True)
    ]


def local_maxima(power: Float) -> Bool:
    """Cells that none of their eight neighbours exceeds (velocities wrap around)."""
    tall = np.pad(power, ((1, 1), (0, 0)), constant_values=-np.inf)
    column = np.maximum(np.maximum(tall[:-2], tall[1:-1]), tall[2:])
    around = np.maximum(np.maximum(np.roll(column, 1, axis=1), column), np.roll(column, -1, axis=1))
    return power >= around


def refined_place(power: Float, row: int, column: int) -> tuple[float, float]:
    """Peak of the parabolas through the decibels of the cell and its neighbours, within half a cell."""
    count, width = power.shape
    up, down = power[max(row - 1, 0), column], power[min(row + 1, count - 1), column]
    left, right = power[row, column - 1], power[row, (column + 1) % width]
    middle = power[row, column]
    vertical = _offset(up, middle, down) if 0 < row < count - 1 else 0.0
    return row + vertical, column + (_offset(left, middle, right) if width > 2 else 0.0)


def _offset(before: float, middle: float, after: float) -> float:
    if min(before, middle, after) <= 0:
        return 0.0
    low, centre, high = math.log(before), math.log(middle), math.log(after)
    bend = low - 2 * centre + high
    return 0.0 if bend >= 0 else float(np.clip((low - high) / (2 * bend), -0.5, 0.5))
